"""`hwentropy status`, `sources`, `reseed`, `test`, `completion` and the global options."""

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hwentropy.command import layout
from hwentropy.command.cli import run
from hwentropy.command.progress import SlowDisplay
from support import control_replies as replies
from support.fake_server import FakeDaemon
from support.script import environment
from support.terminal import in_terminal

ROOT = Path(__file__).parents[3]


def hwentropy(daemon: FakeDaemon, *arguments: str) -> int:
    """Run the command in this process."""
    return run(["--runtime-dir", str(daemon.directory), *arguments])


def test_status_shows_who_was_refused(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each user, by name where there is one, with what was refused it; it is no failure."""
    none = {"operator": False, "connections": 3, "unread_bytes": 1 << 20}
    none |= {"refused_connections": 0, "over_quota": 0, "not_permitted": 0}
    users = [
        {"uid": 33, "cgroup": "system.slice/nginx.service", **none, "over_quota": 7},
        {"uid": None, "cgroup": "machine.slice/machine-web.scope", **none, "over_quota": 1},
        {"uid": 1000, "cgroup": "", **none},
        {"uid": 0, "cgroup": "", **none, "refused_connections": 2, "not_permitted": 1},
        {"uid": 4_000_000_000, "cgroup": "", **none, "not_permitted": 4},
    ]
    daemon.control["Status"] = replies.status(replies.source("os"), users=users)
    assert hwentropy(daemon, "status") == 0
    shown = [line for line in capfd.readouterr().out.splitlines() if "refused" in line]
    assert [" ".join(line.split()) for line in shown] == [
        "refused uid 33 in system.slice/nginx.service: 7 over its rates",
        "refused control group machine.slice/machine-web.scope: 1 over its rates",
        "refused uid 0 (root): 2 over its share of connections, 1 not permitted",
        "refused uid 4000000000: 4 not permitted",
    ]


@pytest.mark.parametrize(
    ("state", "sources", "code"),
    [
        ("ok", ["healthy"], 0),
        ("ok", ["healthy", "absent"], 0),
        ("ok", ["healthy", "starting"], 0),
        ("ok", ["healthy", "suspect"], 1),
        ("ok", ["healthy", "failed"], 1),
        ("degraded", ["absent"], 1),
        ("failed", ["failed"], 1),
        ("starting", ["starting"], 1),
    ],
)
def test_status_ends_as_the_health_is(
    state: str,
    sources: list[str],
    code: int,
    daemon: FakeDaemon,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """0 while the service is ok and no source suspect or failed; the text says the same."""
    listed = [replies.source(f"s{i}", each) for i, each in enumerate(sources)]
    daemon.control["Status"] = replies.status(*listed, state=state)
    assert hwentropy(daemon, "status") == code
    lines = dict(
        line.split("  ", 1) for line in capfd.readouterr().out.splitlines() if "  " in line
    )
    assert lines["state"].strip() == state
    assert lines[f"{sources[-1]} sources"].strip().endswith(f"s{len(sources) - 1}")
    assert hwentropy(daemon, "status", "--json") == code


def test_status_shows_the_rest(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> None:
    """Generation, seed time, workers, policy, version, uptime, sockets and the reason."""
    daemon.control["Status"] = replies.status(state="degraded", reason="no healthy source")
    assert hwentropy(daemon, "status") == 1
    assert capfd.readouterr().out.splitlines() == [
        "state        degraded",
        "reason       no healthy source",
        "generation   4, reseeded 12 times",
        "seeded at    2025-11-21T05:40:36Z",
        "seed         576 bits, from 2 groups: cpu-instruction, kernel-crng",
        "policy       320 bits from 1 or more groups of sources",
        "workers      1, 3 connections, 99 requests answered",
        "seed log     17 records in /var/lib/hwentropy",
        "copies       2 noticed of this machine, watching clock",
        "daemon       version 9.9, process 4711",
        "running for  1 h 2 min",
        "socket       /run/hwentropy/entropy.sock",
    ]
    daemon.control["Status"] = replies.status(
        state="starting", seeded_at=None, seed_groups=[], seed_bits=0
    )
    assert hwentropy(daemon, "status") == 1
    said = capfd.readouterr().out
    assert "seeded at    not yet" in said
    assert "seed  " not in said


def test_status_says_what_a_seed_of_the_kernels_alone_is_worth(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its generator holds 256 bits, and the policy's line says 320."""
    daemon.control["Status"] = replies.status(seed_groups=["kernel-crng"], seed_bits=256)
    assert hwentropy(daemon, "status") == 0
    lines = capfd.readouterr().out.splitlines()
    assert "seed         256 bits, all that is held, from 1 group: kernel-crng" in lines


def test_json_is_what_the_daemon_sent(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """An object and a list, with keys that this version does not know."""
    listed = [replies.source("os"), replies.source("tpm2", "absent", later="key")]
    daemon.control["Status"] = replies.status(*listed)
    daemon.control["Sources"] = replies.sources(*listed)
    assert hwentropy(daemon, "status", "--json") == 0
    assert json.loads(capfd.readouterr().out) == replies.status(*listed)["status"]
    assert hwentropy(daemon, "sources", "--json") == 0
    assert json.loads(capfd.readouterr().out) == listed


def test_sources_on_a_pipe_are_aligned_columns(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """A heading, a line for each source, the reason and the remedy last."""
    daemon.control["Sources"] = replies.sources(
        replies.source("os"),
        replies.source(
            "tpm2",
            "failed",
            reason="I/O error",
            remedy="look at dmesg",
            alarms=3,
            tried_again="2025-11-21T05:41:05.123+00:00",
        ),
        replies.source("rdseed", strength=None, renewal="", live=True),
        replies.source("replay", credit=False, strength=0),
    )
    assert hwentropy(daemon, "sources") == 1
    rows = capfd.readouterr().out.splitlines()
    since = "2025-11-21T05:40:35Z"
    assert [row.split(maxsplit=9) for row in rows] == [
        [
            *("NAME", "KIND", "GROUP", "STATE", "SINCE", "SAMPLES", "ALARMS", "HOLDS"),
            *("CREDITED", "REASON"),
        ],
        ["os", "os", "group-of-os", "healthy", since, "1024", "0", "256", "320"],
        [
            *("tpm2", "tpm2", "group-of-tpm2", "failed", since, "1024", "3", "256", "320"),
            "I/O error; look at dmesg; tried again at 2025-11-21T05:41:05Z",
        ],
        ["rdseed", "rdseed", "group-of-rdseed", "healthy", since, "1024", "0", "live", "320"],
        ["replay", "replay", "group-of-replay", "healthy", since, "1024", "0", "0", "never"],
    ]
    # Text columns begin, number columns end, where their headings do.
    for row in rows[1:]:
        for heading in ("NAME", "KIND", "GROUP", "STATE", "SINCE"):
            place = rows[0].index(heading)
            assert row[place] != " "
            assert not place or row[place - 2 : place] == "  "
        for heading in ("SAMPLES", "ALARMS", "HOLDS", "CREDITED"):
            end = rows[0].index(heading) + len(heading)
            assert row[end - 1] != " "
            assert row[end : end + 1] in {"", " "}


def test_a_terminal_gets_colours_and_remedies(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States in colour, the reason and remedy of an absent source on a line of its own."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'client'}:{ROOT / 'core'}")
    listed = [
        replies.source("os"),
        replies.source("tpm2", "absent", reason="no \x1b[2Jdevice", remedy="load tpm_crb"),
    ]
    daemon.control["Sources"] = replies.sources(*listed)
    daemon.control["Status"] = replies.status(*listed)
    start = [sys.executable, "-m", "hwentropy", "--runtime-dir", str(daemon.directory)]
    code, shown = in_terminal([*start, "sources"])
    assert code == 0
    assert b"\x1b[32mhealthy" in shown
    assert b": no ?[2Jdevice; load tpm_crb" in shown
    assert b"\x1b[2J" not in shown
    code, shown = in_terminal([*start, "status"])
    assert code == 0
    assert b"\x1b[32mok" in shown
    assert b"\x1b[" not in in_terminal([*start, "sources"], NO_COLOR="1", TERM="dumb")[1]


def test_a_terminal_of_80_columns_has_room_for_the_usual_groups(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KIND gives way where each is the name; one that is not brings the column back."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'client'}:{ROOT / 'core'}")
    before = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="milliseconds")
    hwrng = replies.source("hwrng") | {"group": "hwrng:virtio_rng.0", "since": before}
    start = [sys.executable, "-m", "hwentropy", "--runtime-dir", str(daemon.directory)]
    daemon.control["Sources"] = replies.sources(
        replies.source("rdseed") | {"since": before}, hwrng
    )
    shown = in_terminal([*start, "sources"], COLUMNS="80")[1]
    assert b"hwrng:virtio_rng.0" in shown
    assert b"KIND" not in shown
    named = replies.source("stick") | {"kind": "hwrng"}
    daemon.control["Sources"] = replies.sources(replies.source("rdseed"), named)
    assert b"KIND" in in_terminal([*start, "sources"], COLUMNS="80")[1]


def test_reseed_tells_the_generation(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """The new generation, or exit code 1 with the daemon's reason."""
    daemon.control["Reseed"] = {"generation": 8, "live": True}
    assert hwentropy(daemon, "reseed") == 0
    assert capfd.readouterr() == ("reseeded: generation 8\n", "")
    daemon.control["Reseed"] = {"generation": 9, "live": False}
    assert hwentropy(daemon, "reseed") == 0
    out, err = capfd.readouterr()
    assert out == "reseeded: generation 9\n"
    assert err.startswith("hwentropy: warning: the reseed was met by generators alone")
    daemon.control["Reseed"] = replies.error("NotEnoughEntropy", reason="too few; see X")
    assert hwentropy(daemon, "reseed") == 1
    assert capfd.readouterr().err == "hwentropy: not reseeded: too few; see X\n"


def test_test_tells_the_outcome(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> None:
    """0 when it passed; 1 when it failed or could not run; 2 for a name that is not there."""
    daemon.control["TestSource"] = {"passed": True, "samples": 1024, "reason": ""}
    assert hwentropy(daemon, "test", "os") == 0
    assert capfd.readouterr().out == "os passed: 1024 samples\n"
    daemon.control["TestSource"] = {"passed": False, "samples": 40, "reason": "stuck"}
    assert hwentropy(daemon, "test", "os") == 1
    assert capfd.readouterr().out == "os failed after 40 samples: stuck\n"
    daemon.control["TestSource"] = replies.error(
        "SourceNotReady", name="tpm2", state="absent", reason="no device"
    )
    assert hwentropy(daemon, "test", "tpm2") == 1
    assert "the source tpm2 is absent: no device" in capfd.readouterr().err
    daemon.control["TestSource"] = replies.error(
        "SourceNotReady", name="tpm2", state="failed", reason="stuck"
    )
    assert hwentropy(daemon, "test", "tpm2") == 1
    assert "the source tpm2 has failed: stuck; see" in capfd.readouterr().err
    daemon.control["TestSource"] = replies.error("UnknownSource", name="x", known=["os", "cpu"])
    assert hwentropy(daemon, "test", "x") == 2
    assert "no source is named x; there are: os, cpu" in capfd.readouterr().err


def test_a_daemon_of_another_time_is_exit_code_3(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """A method it does not know, or a reply that does not fit: a sentence, no traceback."""
    assert hwentropy(daemon, "reseed") == 3
    assert "update the older" in capfd.readouterr().err
    daemon.control["Sources"] = {"sources": [{"name": "os"}]}
    assert hwentropy(daemon, "sources") == 3
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "sources", "reseed", "test"])
def test_no_daemon_is_exit_code_3(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the path and the remedy."""
    arguments = [command, "os"] if command == "test" else [command]
    assert run(["--runtime-dir", str(tmp_path), *arguments]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"hwentropy: no daemon answers at {tmp_path}/control.sock; start it")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["get"], ["status", "--nonsense"]])
def test_usage_is_exit_code_2(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence that names the help."""
    assert run(arguments) == 2
    err = capfd.readouterr().err
    assert "--help`" in err
    assert err.count("\n") == 1


def test_the_environment_names_the_directory(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HWENTROPY_RUNTIME_DIR does what --runtime-dir does, for both sockets."""
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(daemon.directory))
    daemon.control["Reseed"] = {"generation": 8}
    assert run(["reseed"]) == 0
    assert run(["get", "4", "--hex"]) == 0
    assert capfd.readouterr().out.endswith(daemon.handed_out.hex() + "\n")


def test_an_empty_runtime_directory_is_not_the_working_directory(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An unset shell variable is told apart from a daemon that is not there."""
    assert run(["--runtime-dir", "", "status"]) == 2
    assert "it is empty; name a directory" in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", [["status"], ["get", "4", "--hex"], ["analyze", "--live", "1"]]
)
@pytest.mark.parametrize("below", ["", "run"])
def test_a_runtime_directory_that_is_a_file(
    command: list[str], below: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Is called so, instead of a daemon that would have to be started there."""
    file = tmp_path / "file"
    file.touch()
    assert run(["--runtime-dir", str(file / below), *command]) == 3
    err = capfd.readouterr().err
    assert f": {file} is not a directory; name the directory" in err
    assert "systemctl" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["get", "--help"], ["completion", "bash"]]
)
def test_a_help_that_nobody_reads_ends_as_any_output(arguments: list[str]) -> None:
    """By SIGPIPE and without a word, whoever printed it."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "hwentropy", *arguments],
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_the_help_of_zsh_names_what_it_needs(capfd: pytest.CaptureFixture[str]) -> None:
    """Without compinit first, zsh says `command not found: compdef`."""
    assert run(["completion", "--help"]) == 0
    assert "~/.zshrc, below compinit" in capfd.readouterr().out


def test_one_is_not_a_plural(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> None:
    """A daemon that was just started has been seeded 1 time."""
    daemon.control["Status"] = replies.status(reseeds=1)
    assert hwentropy(daemon, "status") == 0
    assert ", reseeded 1 time\n" in capfd.readouterr().out


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    """Both end with 0 and need no daemon."""
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("hwentropy 0.")
    assert run(["--help"]) == 0
    shown = capfd.readouterr().out
    for command in ("get", "status", "sources", "reseed", "test", "completion"):
        assert f"  {command} " in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(
    shell: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A script that calls the command back."""
    assert run(["completion", shell]) == 0
    assert "_HWENTROPY_COMPLETE" in capfd.readouterr().out


@pytest.mark.parametrize(("words", "place"), [("test o", "4"), ("history --source o", "5")])
def test_completion_offers_the_sources(
    words: str, place: str, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hwentropy test o<TAB>` asks the daemon for the names."""
    daemon.control["Sources"] = replies.sources(replies.source("os"), replies.source("cpu"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'client'}:{ROOT / 'core'}")
    monkeypatch.setenv("_HWENTROPY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"hwentropy --runtime-dir {daemon.directory} {words}")
    monkeypatch.setenv("COMP_CWORD", place)
    start = [sys.executable, "-m", "hwentropy"]
    done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["plain,os"]


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


def test_a_slow_command_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the delay is over, with what was counted before; and it is gone at the end."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with SlowDisplay("reading", 2048, delay=0) as display:
        display.advance(1024)
        assert display._timer is not None
        display._timer.join(30)
        assert display._display is not None
        task = display._display[0].tasks[0]
        assert (task.completed, task.total) == (1024, 2048)
        display.advance(1024)
        assert display._display[0].tasks[0].finished
    assert "reading" in terminal.getvalue()


def test_a_quick_command_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended before the delay: no output and no thread left."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with SlowDisplay("reading", 2048) as display:
        display.advance(2048)
    assert display._timer is not None
    display._timer.join(30)
    assert terminal.getvalue() == ""
    assert not display._timer.is_alive()


def test_a_pipe_never_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error that is no terminal stays clean, however long it takes."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with SlowDisplay("reading", delay=0) as display:
        assert display._timer is None


def test_nothing_controls_the_terminal() -> None:
    """Escapes, line breaks and direction marks in the daemon's text are made harmless."""
    assert layout.printable("a\x1b[31m\nb\x07\u202e\x9b") == "a?[31m b???"
