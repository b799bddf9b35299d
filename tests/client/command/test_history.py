"""`hwentropy history`: what it lists, and what it says of a log that was tampered with."""

import errno
import json
import os
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy.command.cli import run
from hwentropy_core.attestation import Clock
from hwentropy_core.seed_log import Head, KeptHead, append, encode_head
from support import control_replies as replies
from support.fake_server import FakeDaemon
from support.p256 import PEM, attestation

SEEDS: list[tuple[str, dict[str, object]]] = [
    ("start", {"version": "0.1.0", "boot_id": ""}),
    (
        "seed",
        {
            "generation": 1,
            "cause": "first",
            "sources": {
                "os": {"bits": 256.0, "alarms": {}},
                "tpm2": {"bits": 0.0, "alarms": {"hang": 2}},
                "cpu": {"bits": 0.0, "alarms": {}},
            },
        },
    ),
    ("gap", {"lost": 3, "reason": "No space left on device"}),
    (
        "seed",
        {
            "generation": 5,
            "cause": "new_group",
            "sources": {"tpm2": {"bits": 320.0, "alarms": {}}},
        },
    ),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of an hour, signed at its end."""
    directory = tmp_path / "state"
    directory.mkdir()
    head, lines = Head(), bytearray()
    for minute, (kind, fields) in enumerate(SEEDS):
        line, head = append(
            head, kind, {"time": f"2026-11-20T18:{minute:02}:00+00:00", **fields}
        )
        lines += line
    quote = attestation(head.statement(), Clock(1000, 1, 0))
    signature = {
        "time": "2026-11-20T18:30:00+00:00",
        "key": quote.key.hex(),
        "attested": quote.attested.hex(),
        "signature": quote.signature.hex(),
    }
    line, head = append(head, "signature", signature)
    (directory / "seeds-000000000000.log").write_bytes(lines + line)
    (directory / "seeds.head").write_bytes(encode_head(KeptHead(0, head)))
    return directory


def history(log: Path, *arguments: str) -> int:
    return run(["history", "--directory", str(log), *arguments])


def test_it_lists_what_each_seed_was_made_of(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line a record; of a seed the sources that gave to it or raised an alarm."""
    assert history(log) == 0
    assert capfd.readouterr().out.splitlines() == [
        "2026-11-20T18:00:00+00:00 start of version 0.1.0",
        "2026-11-20T18:01:00+00:00 seed 1 (first): os 256 bits, tpm2 0 bits (2 hang)",
        "2026-11-20T18:02:00+00:00 3 records missing: No space left on device",
        "2026-11-20T18:03:00+00:00 seed 5 (new group): tpm2 320 bits",
        "2026-11-20T18:30:00+00:00 signature",
    ]


def test_one_source_and_a_time_choose(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only seeds that the source had to do with, and only what is later."""
    assert history(log, "--source", "tpm2", "--since", "2026-11-20T18:02+00:00") == 0
    assert capfd.readouterr().out == (
        "2026-11-20T18:03:00+00:00 seed 5 (new group): tpm2 320 bits\n"
    )
    assert history(log, "--source", "tpm2", "--since", "1s") == 0
    assert capfd.readouterr().out == ""


def test_json_is_a_record_a_line(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As they stand in the log."""
    assert history(log, "--json", "--source", "os") == 0
    [record] = map(json.loads, capfd.readouterr().out.splitlines())
    assert record["sources"]["os"] == {"bits": 256.0, "alarms": {}}


def test_a_whole_log_verifies(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With what it says of itself."""
    assert history(log, "--verify") == 0
    assert capfd.readouterr().out.splitlines() == [
        "records 0 to 4 follow from each other",
        "note: record 2 says: 3 records could not be written (No space left on device)",
    ]


def test_the_key_that_it_exports_verifies_it(
    log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a copy, without a daemon or a TPM."""
    assert history(log, "--export-key") == 0
    exported = capfd.readouterr().out
    assert exported.encode() == PEM
    key = tmp_path / "key.pem"
    key.write_text(exported)
    assert history(log, "--verify", "--key", str(key)) == 0
    assert "signed by the key: up to record 3" in capfd.readouterr().out


def test_a_changed_log_ends_with_1(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And says where it shows."""
    [path] = log.glob("*.log")
    path.write_bytes(path.read_bytes().replace(b'"lost":3', b'"lost":0'))
    assert history(log, "--verify") == 1
    out = capfd.readouterr().out
    assert out.startswith("NOT AS IT WAS WRITTEN: record 3 does not follow from record 2")
    assert history(log, "--verify", "--json") == 1
    told = json.loads(capfd.readouterr().out)
    assert (told["whole"], told["records"]) == (False, 3)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--since", "yesterday"], "neither a length such as 2h or 3d nor a time"),
        (["--since", "9999999d"], "neither a length such as 2h or 3d nor a time"),
        (["--since", "999999999w"], "neither a length such as 2h or 3d nor a time"),
        (["--key", "/dev/null"], "--key goes with --verify"),
        (["--verify", "--key", __file__], "is no public key on P-256"),
        (["--verify", "--since", "1h"], "--since and --source choose what is listed"),
        (["--export-key", "--source", "os"], "--since and --source choose what is listed"),
    ],
)
def test_a_wrong_use_is_one_sentence(
    arguments: list[str], what: str, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the exit code for it."""
    assert history(log, *arguments) == 2
    assert what in capfd.readouterr().err


def test_a_directory_without_a_log_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what to do."""
    assert history(tmp_path) == 1
    assert "there is no seed log in" in capfd.readouterr().err


def test_a_directory_that_may_not_be_read_is_told(
    log: Path, mocker: MockerFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log may be there, for all that this user can see."""
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    mocker.patch("os.listdir", side_effect=denied)
    mocker.patch("os.scandir", side_effect=denied)
    assert history(log) == 1
    assert "cannot be read (Permission denied)" in capfd.readouterr().err


def test_a_directory_below_one_that_may_not_be_entered_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mocker: MockerFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As with the HOME of somebody else, which `sudo -u` can leave behind."""
    monkeypatch.setenv("HWENTROPY_STATE_DIR", str(tmp_path))
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    mocker.patch("os.stat", side_effect=denied)
    mocker.patch("os.listdir", side_effect=denied)
    mocker.patch("os.scandir", side_effect=denied)
    assert run(["--runtime-dir", str(tmp_path), "history"]) == 1
    assert f"{tmp_path} cannot be read (Permission denied)" in capfd.readouterr().err


def test_a_log_without_a_signature_says_when_there_is_one(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A TPM may be there, and nothing be signed yet."""
    [path] = log.glob("*.log")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert history(log, "--export-key") == 1
    assert "the first signature follows the first 60 records" in capfd.readouterr().err


def test_it_asks_the_daemon_where_the_log_is(
    log: Path, daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where nothing else is said."""
    reply = replies.status(replies.source("os"))
    kept = {"directory": str(log), "records": 5, "problem": ""}
    reply["status"]["seed_log"] = kept
    daemon.control["Status"] = reply
    assert run(["--runtime-dir", str(daemon.directory), "history", "--verify"]) == 0
    kept["directory"] = ""
    assert run(["--runtime-dir", str(daemon.directory), "history", "--verify"]) == 2
    assert "keeps no seed log" in capfd.readouterr().err


def test_what_stands_in_a_record_cannot_control_a_terminal(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log may come from anywhere; a line that is no record is passed over."""
    [path] = log.glob("*.log")
    path.write_bytes(
        path.read_bytes().replace(b'"tpm2"', b'"\\u001b[31m"')
        + b"no record\n"
        + b'{"kind":7}\n'
    )
    assert history(log) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5


def test_what_is_no_file_is_not_waited_for(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A FIFO as the head or a segment, a link to a device that never ends."""
    (log / "seeds.head").unlink()
    os.mkfifo(log / "seeds.head")
    os.mkfifo(log / "seeds-000000000099.log")
    (log / "seeds-000000000100.log").symlink_to("/dev/zero")
    assert history(log, "--verify") == 1
    assert "seeds.head is missing or not readable" in capfd.readouterr().out
