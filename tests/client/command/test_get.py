"""`hwentropy get` against a scripted daemon, in this process and in real ones."""

import base64
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hwentropy.command.cli import run
from hwentropy.command.get import PIECE
from hwentropy.command.progress import WAITING, SlowDisplay
from hwentropy.command.size import parse_size
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import (
    Refusal,
    ReplyFlag,
    Request,
    RequestFlag,
    Status,
    encode_reply,
)
from support.fake_server import FakeDaemon, Peer
from support.terminal import in_terminal

ROOT = Path(__file__).parents[3]


def get(daemon: FakeDaemon, *arguments: str) -> int:
    """Run the command in this process."""
    return run(["--runtime-dir", str(daemon.directory), "get", *arguments])


def command(daemon: FakeDaemon, *arguments: str) -> list[str]:
    """The command line of a real process."""
    return [
        sys.executable,
        "-m",
        "hwentropy",
        "--runtime-dir",
        str(daemon.directory),
        *arguments,
    ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find the packages in the tree."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'client'}:{ROOT / 'core'}")


@pytest.mark.parametrize("size", [1, 32, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5])
def test_each_encoding_delivers_the_bytes(
    size: int, daemon: FakeDaemon, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Raw, hex and base64 give exactly what was handed out, over any number of pieces."""
    assert get(daemon, str(size)) == 0
    assert capfdbinary.readouterr() == (bytes(daemon.handed_out), b"")
    daemon.handed_out.clear()
    assert get(daemon, str(size), "--hex") == 0
    assert capfdbinary.readouterr().out == daemon.handed_out.hex().encode() + b"\n"
    daemon.handed_out.clear()
    assert get(daemon, str(size), "--base64") == 0
    assert capfdbinary.readouterr().out == base64.b64encode(daemon.handed_out) + b"\n"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("64K", 65536),
        ("64k", 65536),
        ("1M", 1 << 20),
        ("1GiB", 1 << 30),
        ("2T", 2 << 40),
        ("10kB", 10_000),
        ("3 MB", 3_000_000),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_head_reads_them(text: str, size: int) -> None:
    """K and KiB are powers of 1,024, kB of 1,000."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "0K", "-1", "1.5M", "M", "", "1X", "1e3", "٣", "9" * 20])
def test_what_is_no_size_is_a_usage_error(
    text: str, daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a sentence; the daemon is not asked."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
    assert get(daemon, "--", text) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert not daemon.connections


def test_options_reach_the_daemon(
    daemon: FakeDaemon, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`--no-wait` and `--prediction-resistance` become the request's flags."""
    assert get(daemon, "8", "--no-wait", "--prediction-resistance") == 0
    request = daemon.requests[0][1]
    assert isinstance(request, Request)
    assert request.flags == RequestFlag.DONT_BLOCK | RequestFlag.PREDICTION_RESISTANCE
    assert capfdbinary.readouterr().out == daemon.handed_out


def test_output_appears_complete_and_private(daemon: FakeDaemon, tmp_path: Path) -> None:
    """The file has mode 0600, replaces an older one, and leaves nothing else behind."""
    target = tmp_path / "out" / "key"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o644)
    assert get(daemon, "5M", "--output", str(target)) == 0
    assert target.read_bytes() == daemon.handed_out
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_output_leaves_the_old_file(
    daemon: FakeDaemon, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Refused half-way: the old content stays, and no temporary file."""

    def second_refused(peer: Any, request: Any) -> None:
        refused = len(daemon.requests) > 1
        peer.send(
            encode_reply(Status.FAILED_CLOSED, request.tag) if refused else peer.reply(request)
        )

    daemon.handler = second_refused
    target = tmp_path / "out" / "key"
    target.parent.mkdir()
    target.write_text("old")
    assert get(daemon, "5M", "--output", str(target)) == 1
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    assert "hwentropy sources" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["directory", "link", "device"])
def test_output_replaces_nothing_but_files(
    kind: str, daemon: FakeDaemon, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A directory, a link or a device is refused with exit code 2 before anything is read."""
    target = tmp_path / "target"
    if kind == "directory":
        target.mkdir()
    elif kind == "link":
        target.symlink_to("elsewhere")
    else:
        target = Path("/dev/null")
    assert get(daemon, "5", "--output", str(target)) == 2
    wanted = "name a file, such as" if kind == "directory" else "not a regular file"
    assert wanted in capfd.readouterr().err
    assert not daemon.requests


def test_output_to_nowhere_is_a_sentence(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """A directory that is not there."""
    assert get(daemon, "5", "--output", "/nowhere/at/all") == 2
    assert capfd.readouterr().err == (
        "hwentropy: cannot create a file in /nowhere/at: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.NOT_SEEDED, "not seeded yet; try again later, or leave --no-wait out"),
        (Status.FAILED_CLOSED, "no source to trust"),
        (Status.OVER_QUOTA, "over its quota"),
    ],
)
def test_a_refusal_is_exit_code_1(
    status: Status,
    words: str,
    daemon: FakeDaemon,
    capfd: pytest.CaptureFixture[str],
    pauses: list[float],
) -> None:
    """One sentence on standard error and nothing on standard output."""
    daemon.handler = lambda peer, request: peer.send(encode_reply(status, request.tag))
    assert get(daemon, "5", "--hex") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("hwentropy: ")
    assert err.count("\n") == 1


def test_a_refusal_half_way_says_how_far_it_came(
    daemon: FakeDaemon, capfdbinary: pytest.CaptureFixture[bytes], pauses: list[float]
) -> None:
    """What was written stays written, and the exit code and the sentence say it is short."""

    def later_refused(peer: Any, request: Any) -> None:
        refused = len(daemon.requests) > PIECE // MAX_READ
        peer.send(
            encode_reply(Status.OVER_QUOTA, request.tag) if refused else peer.reply(request)
        )

    daemon.handler = later_refused
    assert get(daemon, str(2 * PIECE)) == 1
    out, err = capfdbinary.readouterr()
    assert out == daemon.handed_out
    assert f"after {PIECE} of {2 * PIECE} bytes: ".encode() in err


def test_served_while_degraded_is_a_warning(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """The bytes come, exit code 0, and standard error warns."""
    daemon.handler = lambda peer, request: peer.send(
        peer.reply(request, ReplyFlag.DEGRADED)  # type: ignore[arg-type]
    )
    assert get(daemon, "5", "--hex") == 0
    out, err = capfd.readouterr()
    assert out == daemon.handed_out.hex() + "\n"
    assert "degraded: too few healthy sources" in err


def test_prediction_resistance_without_a_live_source_is_a_warning(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """The bytes come, exit code 0, and standard error says what they are worth."""

    def answer(peer: Peer, request: Request | Refusal) -> None:
        assert isinstance(request, Request)
        asked = request.flags & RequestFlag.PREDICTION_RESISTANCE
        peer.send(peer.reply(request, ReplyFlag.NOT_LIVE if asked else 0))

    daemon.handler = answer
    assert get(daemon, "5", "--hex", "--prediction-resistance") == 0
    out, err = capfd.readouterr()
    assert out == daemon.handed_out.hex() + "\n"
    assert err.startswith("hwentropy: warning: prediction resistance was met by generators")
    assert get(daemon, "5", "--hex") == 0
    assert capfd.readouterr().err == ""


def test_a_terminal_is_told_what_it_waits_for(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first bytes, whose own progress a terminal does not get; never after."""
    shown: list[tuple[str, bool, int]] = []

    class Noted(SlowDisplay):
        def __init__(self, what: str, total: int | None = None, *, wanted: bool) -> None:
            shown.append((what, wanted, len(daemon.requests)))
            super().__init__(what, total, wanted=wanted)

    monkeypatch.setattr("hwentropy.command.get.SlowDisplay", Noted)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert get(daemon, str(2 * PIECE), "--hex") == 0
    assert [one for one in shown if one[1]] == [(WAITING, True, 0)]
    assert capfd.readouterr().out == daemon.handed_out.hex() + "\n"


def test_a_daemon_too_slow_is_exit_code_1(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--timeout` ends the wait with a sentence."""
    daemon.handler = lambda _peer, _request: None
    assert get(daemon, "5", "--hex", "--timeout", "0.05") == 1
    assert "did not answer within 0.05 s" in capfd.readouterr().err


def test_no_daemon_is_exit_code_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence with the remedy."""
    assert run(["--runtime-dir", str(tmp_path), "get", "5", "--hex"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        f"hwentropy: no daemon answers at {tmp_path}/entropy.sock; start it with "
        "`systemctl start hwentropyd` or `hwentropyd`\n"
    )


@pytest.mark.usefixtures("environment")
def test_a_closed_pipe_ends_it_quietly(daemon: FakeDaemon) -> None:
    """As other programs do: by SIGPIPE, without a word."""
    with subprocess.Popen(
        command(daemon, "get", "1T"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(os.read(process.stdout.fileno(), 10)) == 10
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == -signal.SIGPIPE


@pytest.mark.usefixtures("environment")
def test_a_full_disk_is_a_sentence(daemon: FakeDaemon) -> None:
    """An output that takes no more is exit code 2, not a traceback."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(daemon, "get", "5M"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "hwentropy: cannot write the output: No space left on device\n"


@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_it_quietly(daemon: FakeDaemon) -> None:
    """By SIGINT, without a traceback."""
    with subprocess.Popen(
        command(daemon, "get", "1T"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stderr.read().strip() == b""


@pytest.mark.usefixtures("environment")
def test_a_terminal_is_not_garbled(daemon: FakeDaemon) -> None:
    """No raw bytes on a terminal unless told; the refusal names the ways out."""
    code, shown = in_terminal(command(daemon, "get", "16"))
    assert code == 2
    assert b"--hex" in shown
    assert b"--raw" in shown
    assert not daemon.requests
    assert in_terminal(command(daemon, "get", "16", "--hex"))[0] == 0
    daemon.handed_out.clear()
    code, shown = in_terminal(command(daemon, "get", "16", "--raw"))
    assert code == 0
    # The terminal turns a newline into two characters, so count the others.
    assert shown.replace(b"\r\n", b"\n") == daemon.handed_out.replace(b"\r\n", b"\n")
