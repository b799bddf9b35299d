"""The kind `hwrng`: the real device where there is one, and every fault at its calls.

The faults go in at `os.readv` and `os.open`; the descriptor is a real character
device, /dev/zero (1:5), which stands for the kernel's hwrng.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.discovery import find_hwrng
from hwentropy_sources.hwrng import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    READ_BYTES,
    HardwareRng,
    HwrngConfig,
    hwrng_claim,
    hwrng_group,
)
from hwentropy_sources.kernel import getrandom
from hwentropy_sources.kernel.getrandom import OsRandom
from support.umockdev import run_with_devices

STAND_IN = Path("/dev/zero")
STAND_IN_NUMBER = "1:5"


class Machine:
    """A /sys with one hardware RNG, and a clock that moves when somebody sleeps."""

    def __init__(self, root: Path) -> None:
        self.sysfs = root
        self.now = 0.0
        self.slept: list[float] = []
        self.set("rng_current", "virtio_rng.0")
        self.set("rng_quality", "1024")

    def set(self, name: str, value: str) -> None:
        """Write an attribute as the kernel shows it."""
        (self.sysfs / name).write_text(f"{value}\n")

    def sleep(self, seconds: float) -> None:
        """Jump."""
        self.slept.append(seconds)
        self.now += seconds

    def source(
        self, path: Path | None = STAND_IN, config: HwrngConfig | None = None
    ) -> HardwareRng:
        """A source on this machine, whose device discovery finds at `path`."""
        return HardwareRng(
            config,
            find=lambda: path,
            sysfs=self.sysfs,
            number=STAND_IN_NUMBER,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a virtio-rng of full quality."""
    return Machine(tmp_path)


def open_fds() -> set[str]:
    """The descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def device(answers: Iterable[bytes | OSError]) -> Callable[[int, list[memoryview]], int]:
    """A readv(2) that gives these answers, one a call."""
    coming = iter(answers)

    def readv(_fd: int, buffers: list[memoryview]) -> int:
        answer = next(coming)
        if isinstance(answer, OSError):
            raise answer
        buffers[0][: len(answer)] = answer
        return len(answer)

    return readv


# ---- what it is worth, and whose it is ---------------------------------------


@pytest.mark.parametrize(
    ("current", "group"),
    [
        ("tpm-rng-0", "tpm0"),
        ("tpm-rng-12", "tpm12"),
        ("virtio_rng.0", "hwrng:virtio_rng.0"),
        ("tpm-rng-x", "hwrng:tpm-rng-x"),
        ("my-tpm-rng-0", "hwrng:my-tpm-rng-0"),
        (None, "hwrng"),
        ("", "hwrng"),
    ],
)
def test_the_group_follows_the_device(current: str | None, group: str) -> None:
    """A TPM is the TPM's group, whichever way it is read."""
    assert hwrng_group(current) == group


@pytest.mark.parametrize(
    ("quality", "bits"),
    [
        (None, 1.0),
        (0, 1.0),
        (1025, 1.0),
        (1, 8 / 1024),
        (128, 1.0),
        (256, 2.0),
        (512, 4.0),
        (700, 4.0),
        (1023, 4.0),
        (1024, 1.0),
    ],
)
def test_the_claim_follows_the_quality(quality: int | None, bits: float) -> None:
    """8 * quality / 1024, at most 4; 1 where nobody said anything, and 1024 is nothing said."""
    claim = hwrng_claim(quality)
    assert (claim.bits_per_sample, claim.min_entropy) == (8, bits)
    assert "rng_quality" in claim.provenance


@pytest.mark.parametrize(
    ("current", "strength"),
    [
        ("virtio_rng.0", 256),
        ("tpm-rng-0", 256),
        ("tpm-rng-12", 256),
        ("intel-rng", None),
        ("my-tpm-rng-0", None),
        (None, None),
    ],
)
def test_a_known_generator_is_not_live(current: str | None, strength: int | None) -> None:
    """A virtio-rng is its host's generator, a TPM's has one: the rest is taken for noise."""
    claim = hwrng_claim(512, current)
    assert claim.strength == strength
    assert claim.live is (strength is None)
    assert bool(claim.renewal) is not claim.live


def test_open_says_what_is_behind_the_device(machine: Machine) -> None:
    """rng_current and rng_quality in the facts, and the group and H from them."""
    machine.set("rng_current", "tpm-rng-0")
    machine.set("rng_quality", "256")
    source = machine.source()
    assert source.describe().group == "hwrng"
    source.open()
    description = source.describe()
    source.close()
    assert description.group == "tpm0"
    assert description.claim.min_entropy == 2.0
    assert description.facts == {
        "device": "/dev/zero",
        "rng_current": "tpm-rng-0",
        "rng_quality": "256",
        "quality": "stated",
    }
    assert description.claim.strength == 256


def test_full_quality_is_a_default_and_shown_as_one(machine: Machine) -> None:
    """Linux from 6.2 on shows 1024 where a driver said nothing: an eighth, and it says why."""
    source = machine.source()
    source.open()
    description = source.describe()
    source.close()
    assert (description.claim.min_entropy, description.facts["quality"]) == (1.0, "default")
    assert "1024, its default" in description.claim.provenance


def test_a_kernel_without_rng_quality_gives_the_least(machine: Machine) -> None:
    """Linux before 6.2 says nothing of quality."""
    (machine.sysfs / "rng_quality").unlink()
    source = machine.source()
    source.open()
    assert source.describe().claim.min_entropy == 1.0
    source.close()


def test_another_device_is_not_what_sysfs_speaks_of(machine: Machine) -> None:
    """A configured device of another number takes neither group nor quality from /sys."""
    machine.set("rng_current", "tpm-rng-0")
    source = machine.source(config=HwrngConfig(path="/dev/full"))
    source.open()
    assert source.describe().group == "hwrng"
    assert source.describe().claim.min_entropy == 1.0
    assert len(source.read(8, 1.0)) == 8
    source.close()


def kernel_node(tmp_path: Path, how: str) -> Path:
    """A path that leads to the kernel's generator."""
    path = tmp_path / "rng"
    match how:
        case "a link":
            path.symlink_to("/dev/urandom")
        case "a link to a link":
            (tmp_path / "between").symlink_to("/dev/random")
            path.symlink_to("between")
        case "a node of its own":
            try:
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 9))
                os.close(os.open(path, os.O_RDONLY))
            except PermissionError:
                pytest.skip("device nodes can be made by root, and not on every file system")
        case _:
            return Path(how)
    return path


@pytest.mark.parametrize(
    "how",
    ["/dev/urandom", "/dev/random", "a link", "a link to a link", "a node of its own"],
)
def test_the_kernels_generator_is_what_it_is(
    how: str, machine: Machine, tmp_path: Path
) -> None:
    """Whatever path leads to 1:8 or 1:9, it is `os` a second time: one group, one claim."""
    path = kernel_node(tmp_path, how)
    source = machine.source(config=HwrngConfig(path=str(path)))
    source.open()
    description, os_says = source.describe(), OsRandom().describe()
    assert description.group == os_says.group == "kernel-crng"
    assert description.claim == os_says.claim
    assert description.facts["device"] == str(path)
    assert len(source.read(100, 1.0)) == 100
    source.close()


def test_a_hwrng_that_is_the_kernels_generator_is_what_it_is(machine: Machine) -> None:
    """/dev/urandom under the name of /dev/hwrng, as in a container: found, and known."""
    source = machine.source(Path("/dev/urandom"))
    source.open()
    assert source.describe().group == OsRandom().describe().group
    source.close()


def test_a_node_of_the_hwrng_elsewhere_is_the_hwrng(machine: Machine, tmp_path: Path) -> None:
    """10:183 by any path takes group and quality from /sys."""
    machine.set("rng_current", "tpm-rng-0")
    link = tmp_path / "rng"
    link.symlink_to(STAND_IN)
    source = machine.source(config=HwrngConfig(path=str(link)))
    source.open()
    assert source.describe().group == "tpm0"
    source.close()


def test_the_kernels_generator_is_waited_for(mocker: MockerFixture, machine: Machine) -> None:
    """/dev/urandom gives bytes before it is initialised: not here."""
    mocker.patch.object(getrandom, "getrandom_into", side_effect=BlockingIOError)
    before = open_fds()
    with pytest.raises(SourceError, match="not initialised"):
        machine.source(Path("/dev/urandom")).open()
    assert open_fds() == before


def test_a_device_that_is_no_longer_the_kernels_is_another_one(
    machine: Machine, tmp_path: Path
) -> None:
    """What `path` leads to may change between two opens."""
    link = tmp_path / "rng"
    link.symlink_to("/dev/urandom")
    source = machine.source(config=HwrngConfig(path=str(link)))
    source.open()
    link.unlink()
    link.symlink_to("/dev/full")
    source.open()
    assert source.describe().group == "hwrng"
    source.close()


def test_an_unknown_device_is_not_counted_beside_the_tpm(machine: Machine) -> None:
    """Without rng_current it might be the TPM: absent, unless the operator names a group."""
    (machine.sysfs / "rng_current").unlink()
    with pytest.raises(SourceAbsent, match="does not say which device"):
        machine.source().open()
    source = machine.source(config=HwrngConfig(group="mine"))
    source.open()
    source.close()


# ---- the real device ---------------------------------------------------------


def test_the_real_device_reads() -> None:
    """The kernel's own device, or skipped with the source's own reason."""
    source = HardwareRng()
    try:
        source.open()
    except SourceAbsent as absent:
        pytest.skip(str(absent))
    taken = source.read(READ_BYTES + 1, 10.0)
    assert len(taken) == READ_BYTES + 1
    assert len(set(taken)) > 16
    description = source.describe()
    source.close()
    assert description.facts["device"] == str(find_hwrng())
    assert description.group == hwrng_group(description.facts["rng_current"])


def test_it_finds_the_device_of_another_machine(tmp_path: Path) -> None:
    """Under umockdev: found through pyudev, and the TPM's group from that /sys."""
    devices = (
        "P: /devices/virtual/misc/hw_random\nN: hwrng\nE: DEVNAME=/dev/hwrng\n"
        "E: SUBSYSTEM=misc\nA: rng_current=tpm-rng-0\\n\nA: rng_quality=1024\\n\n\n"
    )
    script = (
        "import os; from hwentropy_sources.hwrng import HardwareRng;"
        "at = os.fstat(os.open('/dev/hwrng', os.O_RDONLY)).st_rdev;"
        "source = HardwareRng(number=f'{os.major(at)}:{os.minor(at)}');"
        "source.open(); print(source.describe().group)"
    )
    assert run_with_devices(devices, script, tmp_path).strip() == "tpm0"


# ---- faults of a read --------------------------------------------------------


def test_reads_are_small_and_put_together(mocker: MockerFixture, machine: Machine) -> None:
    """Never more than the kernel's buffer at a time; short answers add up in order."""
    source = machine.source()
    source.open()
    parts = [bytes([1]) * 64, bytes([2]) * 3, bytes([3]) * 33]
    readv = mocker.patch.object(os, "readv", side_effect=device(parts))
    taken = source.read(100, 1.0)
    assert taken == b"".join(parts)
    assert [len(call.args[1][0]) for call in readv.call_args_list] == [64, 36, 33]
    mocker.stopall()
    source.close()


def test_it_waits_while_the_device_has_nothing(mocker: MockerFixture, machine: Machine) -> None:
    """EAGAIN is waited out in pauses that grow to their limit and start again after bytes."""
    source = machine.source()
    source.open()
    nothing = BlockingIOError()
    answers: list[bytes | OSError] = [*repeat(nothing, 6), b"abcd", nothing, b"efgh"]
    mocker.patch.object(os, "readv", side_effect=device(answers))
    assert source.read(8, 5.0) == b"abcdefgh"
    mocker.stopall()
    source.close()
    grown = [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(6)]
    assert machine.slept == [*grown, FIRST_PAUSE]


def test_a_silent_device_costs_its_timeout(mocker: MockerFixture, machine: Machine) -> None:
    """Nothing but EAGAIN ends at the timeout, with what came counted and not shown."""
    source = machine.source()
    source.open()
    answers: Iterable[bytes | OSError] = chain[bytes | OSError](
        [b"secret"], repeat(BlockingIOError())
    )
    mocker.patch.object(os, "readv", side_effect=device(answers))
    with pytest.raises(SourceError, match=r"gave 6 of 32 bytes within 0\.3 s") as raised:
        source.read(32, 0.3)
    mocker.stopall()
    source.close()
    assert sum(machine.slept) == pytest.approx(0.3)
    assert "secret" not in repr(raised.value)


def test_a_device_that_trickles_costs_its_timeout_too(
    mocker: MockerFixture, machine: Machine
) -> None:
    """One byte a tenth of a second is not waited for without end."""
    source = machine.source()
    source.open()

    def trickle(_fd: int, _buffers: object) -> int:
        machine.now += 0.1
        return 1

    mocker.patch.object(os, "readv", side_effect=trickle)
    with pytest.raises(SourceError, match="of 64 bytes within 1 s"):
        source.read(64, 1.0)
    mocker.stopall()
    source.close()
    assert machine.now <= 1.2


@pytest.mark.parametrize(
    ("fault", "raised", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), SourceError, "Input/output error"),
        (OSError(errno.ETIMEDOUT, "timed out"), SourceError, "timed out"),
        (OSError(errno.ENODEV, "No such device"), SourceAbsent, "no hardware RNG behind"),
        (OSError(errno.ENXIO, "No such device"), SourceAbsent, "no hardware RNG behind"),
        (b"", SourceError, "at its end"),
    ],
)
def test_a_read_that_fails_says_how(
    mocker: MockerFixture,
    machine: Machine,
    fault: bytes | OSError,
    raised: type[SourceError],
    told: str,
) -> None:
    """An error of the device is SourceError, a device that went SourceAbsent."""
    source = machine.source()
    source.open()
    mocker.patch.object(os, "readv", side_effect=device([fault]))
    with pytest.raises(SourceError, match=told) as caught:
        source.read(8, 1.0)
    mocker.stopall()
    source.close()
    assert type(caught.value) is raised


def test_a_switched_device_is_noticed(machine: Machine) -> None:
    """The kernel moves to the TPM: the samples go, and the next open has its group."""
    source = machine.source()
    source.open()
    source.read(8, 1.0)
    machine.set("rng_current", "tpm-rng-0")
    with pytest.raises(SourceError, match=r"from virtio_rng\.0 to tpm-rng-0") as raised:
        source.read(8, 1.0)
    assert not isinstance(raised.value, SourceAbsent)
    source.close()
    source.open()
    assert source.describe().group == "tpm0"
    source.close()


def test_a_device_taken_away_while_open_is_absent(machine: Machine) -> None:
    """rng_current turns to none: what was read is not handed out."""
    source = machine.source()
    source.open()
    machine.set("rng_current", "none")
    with pytest.raises(SourceAbsent, match="no hardware RNG behind"):
        source.read(8, 1.0)
    source.close()


# ---- faults of an open -------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "raised", "told"),
    [
        (PermissionError(errno.EACCES, "x"), SourceAbsent, "udev rule"),
        (PermissionError(errno.EPERM, "x"), SourceAbsent, "DeviceAllow"),
        (FileNotFoundError(errno.ENOENT, "x"), SourceAbsent, "driver"),
        (OSError(errno.ENODEV, "x"), SourceAbsent, "rng_available"),
        (OSError(errno.ENXIO, "x"), SourceAbsent, "rng_available"),
        (OSError(errno.EMFILE, "Too many open files"), SourceError, "Too many open files"),
    ],
)
def test_an_open_that_fails_says_what_to_do(
    mocker: MockerFixture,
    machine: Machine,
    fault: OSError,
    raised: type[SourceError],
    told: str,
) -> None:
    """Not permitted, not there and broken are told apart, each with its remedy."""
    mocker.patch("hwentropy_sources.hwrng.os.open", side_effect=fault)
    with pytest.raises(SourceError, match=told) as caught:
        machine.source().open()
    assert type(caught.value) is raised


def test_a_machine_without_the_device_is_absent(machine: Machine) -> None:
    """Discovery finds nothing: which driver to load."""
    with pytest.raises(SourceAbsent, match="no hardware RNG that the kernel knows") as raised:
        machine.source(path=None).open()
    assert "virtio_rng" in raised.value.remedy


def test_no_current_device_is_absent_and_leaks_nothing(machine: Machine) -> None:
    """rng_current none: refused at open, with the descriptor closed."""
    machine.set("rng_current", "none")
    before = open_fds()
    with pytest.raises(SourceAbsent, match="no hardware RNG behind"):
        machine.source().open()
    assert open_fds() == before


def test_a_file_is_not_a_device(machine: Machine, tmp_path: Path) -> None:
    """A regular file would give the same bytes at every open: refused."""
    recording = tmp_path / "recording"
    recording.write_bytes(bytes(64))
    before = open_fds()
    with pytest.raises(SourceError, match="not a character device"):
        machine.source(config=HwrngConfig(path=str(recording))).open()
    assert open_fds() == before


def test_a_fifo_does_not_hang_it(machine: Machine, tmp_path: Path) -> None:
    """Opened non-blocking, and refused."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(SourceError, match="not a character device"):
        machine.source(config=HwrngConfig(path=str(fifo))).open()
