"""The kind `tpm2` on a real TPM: swtpm."""

import errno
import importlib.util
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.memory import wipe
from hwentropy_sources.contract import STARTUP_SAMPLES, SourceAbsent, SourceError
from hwentropy_sources.discovery import TpmDevice
from hwentropy_sources.health import HealthTests
from hwentropy_sources.health.repeats import KEY_BYTES
from hwentropy_sources.registry import source_class
from hwentropy_sources.tpm2.source import CLAIM, Tpm2, Tpm2Config
from support.needed import needs
from support.swtpm import SoftwareTpm, missing_swtpm

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).parents[2]

MISSING = missing_swtpm() or (
    "" if importlib.util.find_spec("tpm2_pytss") else "tpm2-pytss is not installed"
)
needs_tpm = needs(MISSING)

both_sessions = pytest.mark.parametrize("session", ["plain", "encrypted"])


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A TPM of its own for each test that breaks it."""
    with SoftwareTpm(tmp_path / "tpm") as started:
        yield started


@pytest.fixture(scope="module")
def shared_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """A TPM for the tests that leave it as it was."""
    with SoftwareTpm(tmp_path_factory.mktemp("tpm")) as started:
        yield started


@pytest.fixture
def opened() -> Iterator[list[Tpm2]]:
    """Sources put in here are closed after the test."""
    sources: list[Tpm2] = []
    yield sources
    for source in sources:
        source.close()


def make(tcti: str, session: str = "encrypted") -> Tpm2:
    return Tpm2(Tpm2Config(tcti=tcti, session="plain" if session == "plain" else "encrypted"))


def run_python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(str(REPOSITORY / root) for root in ("core", "sources"))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def loaded_sessions(tcti: str) -> int:
    """HMAC sessions loaded on a TPM, asked for past our own code."""
    counted = run_python(
        "import tpm2_pytss as tss\n"
        f"with tss.ESAPI({tcti!r}) as esapi:\n"
        "    _, data = esapi.get_capability(tss.TPM2_CAP.HANDLES, 0x02000000, 64)\n"
        "    print(len(data.data.handles))\n"
    )
    return int(counted.stdout)


@needs_tpm
@both_sessions
def test_every_length_is_exact(
    shared_tpm: SoftwareTpm, opened: list[Tpm2], session: str
) -> None:
    """Reads of 1 to 300 samples give as many bytes, though the TPM gives 64 at most."""
    source = make(shared_tpm.tcti, session)
    opened.append(source)
    source.open()
    for samples in range(1, 301):
        assert len(source.read(samples, 5.0)) == samples


@needs_tpm
@both_sessions
def test_reads_do_not_repeat(shared_tpm: SoftwareTpm, opened: list[Tpm2], session: str) -> None:
    """No 16-byte block comes twice in one read or two, nor after opening again."""
    source = make(shared_tpm.tcti, session)
    opened.append(source)
    blocks: Counter[bytes] = Counter()
    for _ in range(2):
        source.open()
        for _ in range(2):
            data = bytes(source.read(STARTUP_SAMPLES, 5.0))
            blocks.update(data[at : at + 16] for at in range(0, len(data), 16))
    assert blocks.total() == 4 * STARTUP_SAMPLES // 16
    assert max(blocks.values()) == 1


@needs_tpm
@both_sessions
def test_it_passes_the_health_tests(
    shared_tpm: SoftwareTpm, opened: list[Tpm2], session: str
) -> None:
    """A startup test's worth of samples raises no alarm at the claimed entropy."""
    source = make(shared_tpm.tcti, session)
    opened.append(source)
    source.open()
    tests = HealthTests(source.describe().claim, bytes(KEY_BYTES))
    assert tests.feed(source.read(STARTUP_SAMPLES, 5.0)) is None


@needs_tpm
@both_sessions
def test_it_says_which_tpm_it_is(
    shared_tpm: SoftwareTpm, opened: list[Tpm2], session: str
) -> None:
    """Maker, model, firmware, way and session are facts; swtpm is called software."""
    source = make(shared_tpm.tcti, session)
    opened.append(source)
    source.open()
    description = source.describe()
    facts = dict(description.facts)
    assert facts.pop("firmware").count(".") == 3
    assert facts == {
        "tcti": shared_tpm.tcti,
        "session": session,
        "manufacturer": "IBM",
        "vendor": "SW   TPM",
        "software": "yes",
    }
    assert description.group == f"tpm:{shared_tpm.tcti}"
    assert description.claim is CLAIM
    assert (CLAIM.bits_per_sample, CLAIM.min_entropy, CLAIM.whitened) == (8, 4.0, True)
    assert (CLAIM.strength, CLAIM.live, CLAIM.renewal_seconds) == (256, False, None)


@needs_tpm
@pytest.mark.parametrize(("session", "readable"), [("plain", True), ("encrypted", False)])
def test_what_is_on_the_bus(
    shared_tpm: SoftwareTpm,
    opened: list[Tpm2],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    session: str,
    readable: bool,
) -> None:
    """A recorder on the bus sees the bytes of a plain session and not of an encrypted one."""
    recording = tmp_path / "bus.pcap"
    monkeypatch.setenv("TCTI_PCAP_FILE", str(recording))
    source = make(f"pcap:{shared_tpm.tcti}", session)
    opened.append(source)
    source.open()
    data = bytes(source.read(64, 5.0))
    source.close()
    seen = recording.read_bytes()
    assert b"\x00\x00\x01\x7b" in seen, "TPM_CC_GetRandom was not recorded"
    # A part, not only the whole: an answer may be split over records.
    assert (data[:8] in seen) is readable
    assert (data[-8:] in seen) is readable


@needs_tpm
@both_sessions
def test_a_killed_tpm_fails_and_one_that_is_back_works(
    tpm: SoftwareTpm, opened: list[Tpm2], session: str
) -> None:
    """Reads fail with a reason, opening says that nothing is there, and then all is well."""
    source = make(tpm.tcti, session)
    opened.append(source)
    source.open()
    tpm.kill()
    with pytest.raises(SourceError, match="no answer got through") as failed:
        source.read(32, 5.0)
    assert failed.value.remedy
    source.close()
    with pytest.raises(SourceAbsent, match="cannot reach a TPM") as absent:
        source.open()
    assert tpm.tcti in absent.value.reason
    tpm.restart()
    source.open()
    assert len(source.read(100, 5.0)) == 100


@needs_tpm
def test_a_reset_ends_the_session_and_the_reason_says_so(
    tpm: SoftwareTpm, opened: list[Tpm2]
) -> None:
    """A TPM that was reset under an encrypted session no longer knows it."""
    source = make(tpm.tcti)
    opened.append(source)
    source.open()
    tpm.restart()
    with pytest.raises(SourceError, match="TPM_RC_REFERENCE_S0") as failed:
        source.read(32, 5.0)
    assert "reset" in failed.value.remedy
    source.open()
    assert len(source.read(32, 5.0)) == 32


@needs_tpm
@both_sessions
def test_a_stopped_tpm_holds_up_nobody_else(
    tpm: SoftwareTpm, shared_tpm: SoftwareTpm, opened: list[Tpm2], session: str
) -> None:
    """Its reader blocks with the GIL released, another TPM goes on; continued, it returns."""
    stopped, other = make(tpm.tcti, session), make(shared_tpm.tcti, session)
    opened += [stopped, other]
    stopped.open()
    other.open()
    read: list[bytearray] = []
    reader = threading.Thread(target=lambda: read.append(stopped.read(32, 5.0)), daemon=True)
    tpm.stop()
    try:
        reader.start()
        for _ in range(20):
            assert len(other.read(64, 5.0)) == 64
        assert reader.is_alive()
        assert not read
    finally:
        tpm.cont()
    reader.join(30)
    assert [len(data) for data in read] == [32]


@needs_tpm
def test_nothing_is_left_on_the_tpm(tpm: SoftwareTpm) -> None:
    """`close` ends the session: a TPM without a resource manager stays empty."""
    source = make(tpm.tcti)
    for _ in range(5):  # three would fill it
        source.open()
        source.read(8, 5.0)
        source.close()
    assert loaded_sessions(tpm.tcti) == 0


@needs_tpm
def test_a_tpm_full_of_a_killed_daemons_sessions_is_usable(
    tpm: SoftwareTpm, opened: list[Tpm2]
) -> None:
    """Daemons that were killed leave a session each, and still the next one starts."""
    killed = (
        "import os, signal\n"
        "from hwentropy_sources.tpm2.source import Tpm2, Tpm2Config\n"
        f"source = Tpm2(Tpm2Config(tcti={tpm.tcti!r}))\n"
        "source.open()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(3):
        assert run_python(killed).returncode == -9
    assert loaded_sessions(tpm.tcti) == 3
    source = make(tpm.tcti)
    opened.append(source)
    source.open()
    assert len(source.read(32, 5.0)) == 32
    assert loaded_sessions(tpm.tcti) == 1


@needs_tpm
def test_opening_leaks_no_file(tpm: SoftwareTpm) -> None:
    """Neither opening and closing nor opening in vain keeps a descriptor."""
    source = make(tpm.tcti)
    source.open()
    source.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        source.open()
        source.close()
    tpm.kill()
    for _ in range(5):
        with pytest.raises(SourceAbsent):
            source.open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@needs_tpm
def test_libtss2_is_silent_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own log stays off stderr by default, and TSS2_LOG set by the user is kept."""
    failing = (
        "from hwentropy_sources.contract import SourceAbsent\n"
        "from hwentropy_sources.tpm2.source import Tpm2, Tpm2Config\n"
        "try:\n"
        "    Tpm2(Tpm2Config(tcti='swtpm:path=/nonexistent/sock')).open()\n"
        "except SourceAbsent:\n"
        "    print('absent')\n"
    )
    monkeypatch.delenv("TSS2_LOG", raising=False)
    quiet = run_python(failing)
    assert (quiet.stdout, quiet.stderr) == ("absent\n", "")
    wanted = run_python(failing, TSS2_LOG="all+ERROR")
    assert wanted.stdout == "absent\n"
    assert "ERROR" in wanted.stderr


@needs_tpm
def test_an_unknown_transport_is_absent_with_the_remedy() -> None:
    """A `tcti` that libtss2 has no library for names the key and an example."""
    with pytest.raises(SourceAbsent, match="cannot load this transport") as absent:
        make("nosuch:thing").open()
    assert "`tcti`" in absent.value.remedy


def test_without_a_device_the_library_is_not_loaded() -> None:
    """No TPM: absent with the remedy, and tpm2-pytss costs no memory."""
    result = run_python(
        "import sys\n"
        "from hwentropy_sources.contract import SourceAbsent\n"
        "from hwentropy_sources.tpm2.source import Tpm2\n"
        "try:\n"
        "    Tpm2(find=lambda: []).open()\n"
        "except SourceAbsent as absent:\n"
        "    print(absent.reason, '|', absent.remedy, '|', 'tpm2_pytss' in sys.modules)\n"
    )
    reason, remedy, loaded = result.stdout.strip().split(" | ")
    assert reason == "the kernel lists no TPM 2.0 (subsystem tpmrm)"
    assert "tpm_crb or tpm_tis" in remedy
    assert loaded == "False"


def test_without_tpm2_pytss_it_is_absent(mocker: MockerFixture) -> None:
    """The library missing is a reason with the two things to install."""
    mocker.patch.dict(sys.modules, {"tpm2_pytss": None})
    sys.modules.pop("hwentropy_sources.tpm2.session", None)
    with pytest.raises(SourceAbsent, match="tpm2-pytss is not installed") as absent:
        make("swtpm:path=/nonexistent").open()
    assert absent.value.remedy == "install libtss2-dev and pip install hwentropy[tpm]"


@pytest.mark.parametrize(
    ("number", "error", "words", "remedy"),
    [
        (errno.EACCES, SourceAbsent, "no permission on /dev/tpmrm7", "tss"),
        (errno.EPERM, SourceAbsent, "no permission on /dev/tpmrm7", "DeviceAllow="),
        (errno.ENOENT, SourceAbsent, "there is no TPM at /dev/tpmrm7", "firmware"),
        (errno.ENODEV, SourceAbsent, "there is no TPM at /dev/tpmrm7", "firmware"),
        (
            errno.EBUSY,
            SourceError,
            "cannot open /dev/tpmrm7: Device or resource busy",
            "tpmrmN",
        ),
        (errno.EIO, SourceError, "cannot open /dev/tpmrm7: Input/output error", ""),
    ],
)
def test_a_device_that_cannot_be_opened_says_why(
    mocker: MockerFixture, number: int, error: type[SourceError], words: str, remedy: str
) -> None:
    """Each cause has its sentence and, where there is one, its remedy."""
    mocker.patch("os.open", side_effect=OSError(number, os.strerror(number)))
    device = TpmDevice(Path("/dev/tpmrm7"), "tpmrm7", "MSFT0101:00", 7)
    source = Tpm2(find=lambda: [device])
    with pytest.raises(SourceError, match=words) as failed:
        source.open()
    assert type(failed.value) is error
    assert remedy in failed.value.remedy
    assert source.describe().group == "tpm7"


def test_a_device_file_that_is_not_there_is_absent() -> None:
    """Whatever its name, a device without a file is not on this machine."""
    with pytest.raises(SourceAbsent, match="there is no TPM at /nonexistent/serial"):
        make("device:/nonexistent/serial").open()


def test_reading_what_is_not_open_is_an_error() -> None:
    """Before `open` and after `close` there is nothing to read; `close` may come any time."""
    source = make("swtpm:path=/nonexistent")
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read(1, 1.0)
    assert source.describe().facts == {
        "tcti": "swtpm:path=/nonexistent",
        "session": "encrypted",
    }


def test_the_registry_knows_it() -> None:
    """`kind = "tpm2"` is this class, with its two keys."""
    assert source_class("tpm2") is Tpm2
    assert set(Tpm2Config.__struct_fields__) >= {"tcti", "session"}


@needs_tpm
def test_what_is_read_can_be_wiped(shared_tpm: SoftwareTpm, opened: list[Tpm2]) -> None:
    """Samples come in a buffer that the reader can overwrite."""
    source = make(shared_tpm.tcti)
    opened.append(source)
    source.open()
    data = source.read(32, 5.0)
    wipe(data)
    assert data == bytes(32)
