"""The seed recorder: nothing waits for it, and the log never passes over what it lacks."""

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy.history import SeedLogReader, load_key
from hwentropy_core.attestation import Attestation, Clock
from hwentropy_core.seed_log import Record
from hwentropyd.operating import seed_recorder
from hwentropyd.operating.seed_log import SeedLog
from hwentropyd.operating.seed_recorder import (
    QUEUE_RECORDS,
    SIGN_SECONDS,
    Attest,
    SeedRecorder,
    SeedWriter,
)
from support.p256 import PEM, attestation

LARGE = 1 << 30
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
#: Seconds for a thread on a busy machine.
PATIENCE = 20.0


class Tpm:
    """Signs at the time of the machine's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.failure = ""
        self.asked = 0

    def attest(self, statement: bytes, done: Callable[[Attestation | None, str], None]) -> None:
        self.asked += 1
        if self.failure:
            done(None, self.failure)
        else:
            done(attestation(statement, Clock(round(self.now * 1000), 1, 0)), "")


def a_writer(
    directory: Path, tpm: Tpm, attest: Attest | None, sign_records: int = 3
) -> SeedWriter:
    writer = SeedWriter(
        SeedLog(directory, LARGE),
        attest,
        sign_records,
        monotonic=lambda: tpm.now,
    )
    writer.open()
    return writer


def kinds(directory: Path) -> list[str]:
    return [record["kind"] for record in SeedLogReader(directory).records()]


def test_every_so_many_records_are_signed(tmp_path: Path) -> None:
    """And the whole verifies by the key, up to the last signature."""
    tpm = Tpm()
    writer = a_writer(tmp_path, tpm, tpm.attest)
    for generation in range(7):
        tpm.now += SIGN_SECONDS
        writer.write("seed", {"generation": generation})
    writer.close()
    assert kinds(tmp_path) == [*["seed"] * 3, "signature"] * 2 + ["seed"]
    verdict = SeedLogReader(tmp_path).verify(load_key(PEM))
    assert (verdict.problems, verdict.records, verdict.signed) == ([], 9, 7)


def test_signatures_are_a_minute_apart_at_least(tmp_path: Path) -> None:
    """However many records there are, a TPM has other things to do."""
    tpm = Tpm()
    writer = a_writer(tmp_path, tpm, tpm.attest)
    for generation in range(100):
        tpm.now += SIGN_SECONDS / 50
        writer.write("seed", {"generation": generation})
    writer.close()
    assert tpm.asked == 2


def test_a_daemon_that_is_restarted_often_signs_all_the_same(tmp_path: Path) -> None:
    """Records of the daemon before count, a minute after the start."""
    tpm = Tpm()
    for _ in range(3):
        writer = a_writer(tmp_path, tpm, tpm.attest)
        writer.write("start", {})
        tpm.now += SIGN_SECONDS
        writer.write("seed", {})
        writer.close()
    assert kinds(tmp_path) == [
        *["start", "seed"] * 2,
        "signature",
        "start",
        "seed",
        "signature",
    ]
    assert SeedLogReader(tmp_path).verify(load_key(PEM)).signed == 7


def test_a_log_that_is_signed_anew_later_shows_when(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """Who has the TPM sign a changed log in a minute cannot have it say that it took hours."""
    tpm = Tpm()
    clock = mocker.patch("time.time")
    writer = SeedWriter(
        SeedLog(tmp_path, LARGE),
        tpm.attest,
        1,
        monotonic=lambda: tpm.now,
    )
    writer.open()
    for _ in range(2):
        tpm.now += SIGN_SECONDS
        clock.return_value = 1_700_000_000 + 60 * tpm.now
        writer.write("seed", {})
    writer.close()
    assert SeedLogReader(tmp_path).verify().problems == []
    problems = SeedLogReader(tmp_path).verify(load_key(PEM)).problems
    assert problems == ["the signature in record 3 does not hold"]


def test_a_tpm_that_does_not_sign_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The records come all the same, and the signature once it can be had."""
    tpm = Tpm()
    tpm.failure = "TPM_RC_AUTH_FAIL"
    writer = a_writer(tmp_path, tpm, tpm.attest, sign_records=1)
    for _ in range(3):
        tpm.now += SIGN_SECONDS
        writer.write("seed", {})
    assert writer.problem == "it is not signed: TPM_RC_AUTH_FAIL"
    tpm.failure = ""
    tpm.now += SIGN_SECONDS
    writer.write("seed", {})
    writer.close()
    assert kinds(tmp_path) == ["seed"] * 4 + ["signature"]
    assert writer.problem == ""


def test_what_a_full_disk_lost_is_said_once_there_is_room(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """The first record after it says how many are missing, and why."""
    writer = a_writer(tmp_path, Tpm(), None)
    writer.write("seed", {"generation": 1})
    full = mocker.patch.object(SeedLog, "append", side_effect=NO_SPACE)
    for generation in (2, 3):
        writer.write("seed", {"generation": generation})
    assert writer.problem == "No space left on device"
    mocker.stop(full)
    writer.write("seed", {"generation": 4})
    writer.close()
    records: list[Record] = list(SeedLogReader(tmp_path).records())
    assert [record["kind"] for record in records] == ["seed", "gap", "seed"]
    assert (records[1]["lost"], records[1]["reason"]) == (2, "No space left on device")
    assert not SeedLogReader(tmp_path).verify().problems


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, mocker: MockerFixture) -> None:
    """What the queue has no room for is counted, and said when the disk goes on."""
    hangs, goes_on = threading.Event(), threading.Event()
    real = SeedLog.sync

    def sync(log: SeedLog) -> None:
        hangs.set()
        assert goes_on.wait(PATIENCE)
        real(log)

    mocker.patch.object(SeedLog, "sync", sync)
    writer = SeedWriter(SeedLog(tmp_path, LARGE), None, 60)
    recorder = SeedRecorder(str(tmp_path), writer)
    recorder.start()
    recorder.note("seed", {})
    assert hangs.wait(PATIENCE)
    for _ in range(QUEUE_RECORDS + 5):
        recorder.note("seed", {})
    goes_on.set()
    end = time.monotonic() + PATIENCE
    while recorder.status().records < QUEUE_RECORDS:
        assert time.monotonic() < end
        threading.Event().wait(0.001)
    recorder.note("stop", {})
    recorder.stop(PATIENCE)
    records = list(SeedLogReader(tmp_path).records())
    assert [record["kind"] for record in records[-3:]] == ["seed", "gap", "stop"]
    assert (len(records), records[-2]["lost"]) == (1 + QUEUE_RECORDS + 2, 5)


def test_a_directory_that_is_not_there_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon goes on without a log, and its status says so."""
    directory = tmp_path / "gone"
    recorder = SeedRecorder(str(directory), SeedWriter(SeedLog(directory, LARGE), None, 60))
    recorder.start()
    recorder.note("seed", {})
    recorder.stop(PATIENCE)
    assert "there is no history of seeds; make it writable, or name another" in caplog.text
    assert recorder.status().problem == "cannot be written to (No such file or directory)"


def test_a_tpm_that_lies_about_its_key_ends_no_log(tmp_path: Path) -> None:
    """A signature that fits into no line is told of, and the records go on."""
    tpm = Tpm()

    def lie(_: bytes, done: Callable[[Attestation | None, str], None]) -> None:
        done(Attestation(bytes(1 << 15), b"", b""), "")

    writer = a_writer(tmp_path, tpm, lie, sign_records=1)
    writer.write("seed", {"generation": 1})
    assert "is the most" in writer.problem
    writer.write("seed", {"generation": 2})
    writer.close()
    assert kinds(tmp_path) == ["seed", "seed"]


def test_two_daemons_do_not_share_a_log(tmp_path: Path) -> None:
    """The second says so, and leaves it alone."""
    first = a_writer(tmp_path, Tpm(), None)
    with pytest.raises(OSError, match="another daemon keeps its log there"):
        a_writer(tmp_path, Tpm(), None)
    first.close()


def test_a_tpm_that_hangs_is_not_waited_for_forever(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """The records go on after SIGN_PATIENCE."""
    mocker.patch.object(seed_recorder, "SIGN_PATIENCE", 0.0)
    writer = a_writer(tmp_path, Tpm(), lambda _statement, _done: None, sign_records=1)
    writer.write("seed", {})
    assert "did not answer" in writer.problem
    writer.close()
