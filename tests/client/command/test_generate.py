"""The commands that make values, against a real daemon."""

import base64
import json
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hwentropy import generator
from hwentropy.apikeys import parse_api_key
from hwentropy.command.cli import run
from hwentropy.passphrases import word_list
from support.daemon import Daemon
from support.script import environment, run_python
from support.terminal import in_terminal

ROOT = Path(__file__).parents[3]
#: Every command of this kind, with arguments that do.
COMMANDS = [
    ["token"],
    ["int", "1", "6"],
    ["choose", "a", "b"],
    ["password"],
    ["passphrase"],
    ["uuid"],
    ["apikey"],
    ["salt"],
]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(real_daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run a command in this process: exit code, output, errors."""

    def made(*arguments: str) -> tuple[int, str, str]:
        code = run(["--runtime-dir", str(real_daemon.directory), *arguments])
        return code, *capfd.readouterr()

    yield made
    # The command told this process's generator where the daemon is.
    generator.configure()


def values(call: Call, *arguments: str) -> list[Any]:
    """What a command prints with --json."""
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_output_is_the_values_and_nothing_else(command: list[str], call: Call) -> None:
    """One line a value, --count of them, no blank line and no ending; JSON has as many."""
    code, out, err = call(*command, "--count", "3")
    assert (code, err) == (0, "")
    assert out.count("\n") == 3
    assert all(line and line == line.strip() for line in out.splitlines())
    assert call(*command)[1].count("\n") == 1
    assert len(values(call, *command, "--count", "4")) == 4
    assert len(values(call, *command)) == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_count_is_at_least_one(command: list[str], call: Call) -> None:
    """0, a minus and a word are usage errors in one sentence."""
    for count in ("0", "-1", "many"):
        code, out, err = call(*command, f"--count={count}")
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_token_has_the_bytes_that_were_asked_for(call: Call) -> None:
    """32 unless told otherwise; hex or URL-safe base64; each one another."""
    assert re.fullmatch(r"[0-9a-f]{64}\n", call("token")[1])
    assert re.fullmatch(r"[0-9a-f]{10}\n", call("token", "--hex", "5")[1])
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}\n", call("token", "--urlsafe", "16")[1])
    assert len(set(values(call, "token", "--count", "500"))) == 500
    assert call("token", "0")[0] == call("token", str((1 << 20) + 1))[0] == 2


def test_int_is_uniform_from_low_to_high(call: Call) -> None:
    """Both ends included; chi-square of six values below the 10^-6 point (5 degrees: 35.9)."""
    drawn = values(call, "int", "-2", "3", "--count", "6000")
    counts = Counter(drawn)
    assert set(counts) == {-2, -1, 0, 1, 2, 3}
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 35.9
    assert values(call, "int", "7", "7") == [7]
    assert call("int", "--", "-9", "-9") == (0, "-9\n", "")
    assert values(call, "int", str(10**50), str(10**50)) == [10**50]


def test_int_refuses_what_is_no_range(call: Call) -> None:
    """The wrong way round, or no number: usage."""
    code, _, err = call("int", "6", "1")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing lies from 6 to 1" in err
    assert (
        call("int", "1")[0] == call("int", "1", "six")[0] == call("int", "--what", "1")[0] == 2
    )


def test_choose_takes_from_all_items(call: Call) -> None:
    """With repetition unless --distinct; chi-square as above (2 degrees: 27.6)."""
    counts = Counter(values(call, "choose", "a", "b", "c", "--count", "3000"))
    assert set(counts) == {"a", "b", "c"}
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 27.6
    assert sorted(values(call, "choose", "--distinct", "--count", "3", "x", "y", "z")) == [
        *("x", "y", "z")
    ]
    code, _, err = call("choose", "--distinct", "--count", "3", "x", "y")
    assert code == 2
    assert "3 distinct ones of 2" in err
    assert call("choose")[0] == 2


def test_choose_gives_an_item_back_byte_for_byte(real_daemon: Daemon) -> None:
    """An argument that is not UTF-8 comes out as it went in."""
    done = subprocess.run(
        [sys.executable, "-m", "hwentropy", "choose", b"caf\xe9"],
        env=environment(real_daemon.directory),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (b"caf\xe9\n", b"")


def shuffled(
    real_daemon: Daemon, data: bytes, *options: str
) -> "subprocess.CompletedProcess[bytes]":
    """`hwentropy shuffle` with this on standard input."""
    return subprocess.run(
        [sys.executable, "-m", "hwentropy", "shuffle", *options],
        input=data,
        env=environment(real_daemon.directory),
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_shuffle_keeps_every_line(real_daemon: Daemon) -> None:
    """Any bytes, with or without a newline at the end; another order nearly always."""
    lines = [b"%d \xff\r" % number for number in range(1000)] + [b"", b""]
    done = shuffled(real_daemon, b"\n".join(lines) + b"\nlast")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\n")
    got = done.stdout[:-1].split(b"\n")
    # 1,003! orders: never the same one.
    assert got != [*lines, b"last"]
    assert sorted(got) == sorted([*lines, b"last"])
    assert shuffled(real_daemon, b"").stdout == b""


def test_shuffle_count_takes_some(real_daemon: Daemon) -> None:
    """K different lines, all when there are fewer; JSON takes text only."""
    data = b"".join(b"%d\n" % number for number in range(20))
    some = shuffled(real_daemon, data, "--count", "5").stdout.split()
    assert len(set(some)) == 5
    assert len(shuffled(real_daemon, data, "--count", "50").stdout.split()) == 20
    as_json = shuffled(real_daemon, data, "--json").stdout
    assert sorted(json.loads(as_json), key=int) == [str(number) for number in range(20)]
    assert json.loads(shuffled(real_daemon, b"", "--json").stdout) == []
    wrong = shuffled(real_daemon, b"good\nb\xe4d\n", "--json")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"line 2 is not UTF-8" in wrong.stderr


def test_password_options_reach_the_library(call: Call) -> None:
    """Length, classes left out, no ambiguous ones; the bits that go with them."""
    (made,) = values(call, "password")
    assert len(made["password"]) == 16
    assert made["entropy_bits"] == pytest.approx(104.59)
    (made,) = values(call, "password", "--length", "40", "--no-symbols", "--no-uppercase")
    assert set(made["password"]) <= set(string.ascii_lowercase + string.digits)
    (made,) = values(call, "password", "--length", "60", "--no-ambiguous")
    assert not set(made["password"]) & set("0O1Il|")
    code, _, err = call("password", "--length", "3")
    assert (code, err.count("\n")) == (2, 1)
    assert "too short" in err


def test_passphrase_options_reach_the_library(call: Call) -> None:
    """Words, separator and language; 11 bits a word."""
    (made,) = values(call, "passphrase", "--words", "5", "--separator", " ")
    assert set(made["passphrase"].split(" ")) <= set(word_list())
    assert (len(made["passphrase"].split(" ")), made["entropy_bits"]) == (5, 55.0)
    for wrong in (["--words", "1"], ["--separator", ""], ["--language", "klingon"]):
        code, out, err = call("passphrase", *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_uuid_versions(call: Call) -> None:
    """Version 4 unless 7 is asked for; those of 7 are in order."""
    assert UUID(values(call, "uuid")[0]).version == 4
    made = values(call, "uuid", "--version", "7", "--count", "50")
    assert {UUID(one).version for one in made} == {7}
    assert made == sorted(made)
    assert call("uuid", "--version", "1")[0] == 2


def test_apikey_passes_its_own_check(call: Call) -> None:
    """With the prefix that was asked for; a prefix that cannot be is usage."""
    (made,) = values(call, "apikey", "--prefix", "acme_live")
    assert parse_api_key(made).prefix == "acme_live"
    code, out, err = call("apikey", "--prefix", "Ac me")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_salt_is_long_enough(call: Call) -> None:
    """16 bytes unless told otherwise, never fewer; hex or base64."""
    assert len(bytes.fromhex(values(call, "salt")[0])) == 16
    assert len(base64.b64decode(values(call, "salt", "32", "--base64")[0])) == 32
    code, _, err = call("salt", "15")
    assert code == 2
    assert "too short" in err


def test_a_terminal_is_told_the_entropy_a_pipe_is_not(real_daemon: Daemon, call: Call) -> None:
    """On the terminal it follows on standard error; elsewhere there is the password only."""
    command = [sys.executable, "-m", "hwentropy", "password"]
    code, shown = in_terminal(command, **environment(real_daemon.directory))
    assert code == 0
    assert b"104.6 bits of entropy" in shown
    assert call("password")[2] == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_daemon_there_is_no_value(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and one sentence: never bytes from elsewhere."""
    try:
        assert run(["--runtime-dir", str(tmp_path), *command]) == 3
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "no daemon answers" in err
    finally:
        generator.configure()


def test_a_reader_that_has_enough_ends_it(real_daemon: Daemon) -> None:
    """`| head -1` of a million: SIGPIPE, without a word."""
    with subprocess.Popen(
        [sys.executable, "-m", "hwentropy", "token", "--count", "1000000"],
        env=environment(real_daemon.directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.readline()) == 65
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == -13


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hwentropy pass", {"password", "passphrase"}),
        ("hwentropy a", {"apikey", "analyze"}),
        ("hwentropy token --", {"--hex", "--urlsafe", "--count", "--json", "--help"}),
        ("hwentropy uuid --version ", {"4", "7"}),
        ("hwentropy password --no-d", {"--no-digits"}),
        ("hwentropy analyze --p", {"--plot"}),
    ],
)
def test_the_shell_completes_them(words: str, expected: set[str]) -> None:
    """What bash gets when it asks, commands and options alike."""
    asked = environment(
        _HWENTROPY_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    done = run_python("-c", "from hwentropy.command import main; main()", env=asked)
    assert done.stderr == ""
    found = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert expected <= found
    assert len(found) <= len(expected) + 1
