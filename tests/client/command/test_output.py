"""What the command writes arrives whole, or it says that it did not."""

import errno
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click
import pytest

from hwentropy.command.cli import cli, run
from hwentropy.command.exclusive import OneOf
from hwentropy.command.output import write_all
from support.script import environment

ROOT = Path(__file__).parents[3]


class Slow(io.RawIOBase):
    """A raw stream, as standard output is under `python -u`: it takes what it likes."""

    def __init__(self, takes: Callable[[int], int | None]) -> None:
        self.takes = takes
        self.got = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object, /) -> int | None:
        """A part."""
        with memoryview(cast("bytes", data)) as view:
            taken = self.takes(len(view))
            self.got += view[: taken or 0]
        return taken


def test_a_stream_that_takes_parts_gets_everything() -> None:
    """An unbuffered standard output on a disk that is nearly full, or a signal in between."""
    data = bytes(range(256)) * 40
    stream = Slow(lambda size: min(size, 4096))
    write_all(cast("io.BufferedWriter", stream), memoryview(data))
    assert stream.got == data


def test_a_full_disk_is_not_passed_over() -> None:
    """The part that fitted is no success."""
    left = [4096]

    def takes(_: int) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return left.pop()

    with pytest.raises(OSError, match="No space left"):
        write_all(cast("io.BufferedWriter", Slow(takes)), bytes(5000))


@pytest.mark.parametrize(
    ("words", "both"),
    [
        ("get 8 --hex --base64", ("--hex", "--base64")),
        ("get --raw 8 --hex", ("--raw", "--hex")),
        ("get --base64 --base64 --raw 8", ("--base64", "--raw")),
        ("token --hex --urlsafe", ("--hex", "--urlsafe")),
        ("token --urlsafe 8 --hex", ("--urlsafe", "--hex")),
        ("salt --base64 --hex", ("--base64", "--hex")),
    ],
)
def test_two_forms_are_a_wrong_usage(
    words: str, both: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 with both names, in the order given, before a daemon is asked for."""
    name, *rest = words.split()
    assert run(["--runtime-dir", str(tmp_path), name, *rest]) == 2
    told = f"give one of {both[0]} and {both[1]}, not both; see `hwentropy {name} --help`"
    assert capfd.readouterr() == ("", f"hwentropy: {told}\n")


@pytest.mark.parametrize("name", ["get", "token", "salt"])
def test_one_form_twice_is_no_contradiction(name: str) -> None:
    """It is passed over, as everywhere."""
    context = cli.commands[name].make_context(name, ["--hex", "16", "--hex"])
    assert "hex" in context.params.values()


def test_every_command_with_forms_refuses_two() -> None:
    """Whichever has options that fill one parameter is of the class that looks."""
    for command in cli.commands.values():
        names = [one.name for one in command.params if isinstance(one, click.Option)]
        assert isinstance(command, OneOf) == (len(set(names)) < len(names)), command.name


def test_a_non_blocking_output_that_is_full_is_an_error() -> None:
    """And not a loop that never ends."""
    with pytest.raises(BlockingIOError):
        write_all(cast("io.BufferedWriter", Slow(lambda _: None)), bytes(10))


def in_shell(command: str, *, unbuffered: bool = False) -> tuple[int, str, str]:
    """`hwentropy` with a redirection: exit code, output, errors.  None needs a daemon."""
    start = f"{shlex.quote(sys.executable)} -m hwentropy "
    done = subprocess.run(
        ["bash", "-c", start + command],
        # Empty is as good as not set.
        env=environment(PYTHONUNBUFFERED="1" if unbuffered else ""),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.process
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", ["completion bash", "--help", f"analyze {ROOT}/Makefile"])
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_an_output_that_takes_nothing_is_one_sentence(
    words: str, redirection: str, reason: str, *, unbuffered: bool
) -> None:
    """A full disk, or a standard output that was closed: exit code 2, and nothing else."""
    assert in_shell(f"{words} {redirection}", unbuffered=unbuffered) == (
        2,
        "",
        f"hwentropy: cannot write the output: {reason}\n",
    )


@pytest.mark.process
@pytest.mark.parametrize("words", ["analyze -", "shuffle"])
def test_an_input_that_was_closed_is_one_sentence(words: str) -> None:
    """And exit code 2."""
    assert in_shell(f"{words} <&-") == (
        2,
        "",
        "hwentropy: cannot read standard input: Bad file descriptor\n",
    )


@pytest.mark.process
def test_errors_may_have_nowhere_to_go() -> None:
    """A standard error that was closed changes no exit code and no output."""
    assert in_shell("get 2>&-")[0] == 2
    assert in_shell("completion bash 2>&-") == in_shell("completion bash")
