"""Exit codes and last words.

0   fine
1   health is degraded or failed, or the daemon refused or took too long
2   usage, or an output that cannot be written
3   no daemon, or none that this user may talk to and can understand
"""

import os
import signal
from enum import IntEnum
from typing import NoReturn

import click

from hwentropy.errors import (
    DEGRADED,
    NOT_LIVE,
    ControlError,
    DaemonUnavailable,
    NotPermitted,
    NotSeeded,
)
from hwentropy_core.errors import HwentropyError, ProtocolError
from hwentropy_core.varlink import INTERFACE


class ExitCode(IntEnum):
    """See the module's docstring."""

    FINE = 0
    UNHEALTHY = 1
    USAGE = 2
    NO_DAEMON = 3


class OutputClosed(Exception):  # noqa: N818 - not an error: the reader has had enough
    """Standard output is a pipe that nobody reads any more."""


def judge(error: HwentropyError) -> tuple[ExitCode, str]:
    """The exit code for an error, and its sentence."""
    if isinstance(error, ControlError):
        return _judge_control(error)
    if isinstance(error, (DaemonUnavailable, NotPermitted, ProtocolError)):
        return ExitCode.NO_DAEMON, str(error)
    if isinstance(error, NotSeeded):
        # Its own sentence names an argument of the library.
        sentence = "the daemon is not seeded yet; try again later, or leave --no-wait out"
        return ExitCode.UNHEALTHY, sentence
    return ExitCode.UNHEALTHY, str(error)


def _judge_control(error: ControlError) -> tuple[ExitCode, str]:
    given = error.parameters

    def text(key: str) -> str:
        return str(given.get(key, "?"))

    match error.name.removeprefix(f"{INTERFACE}."):
        case "UnknownSource":
            known = given.get("known")
            names = ", ".join(map(str, known)) if isinstance(known, list) else "?"
            return ExitCode.USAGE, f"no source is named {text('name')}; there are: {names}"
        case "SourceNotReady":
            state = "has failed" if text("state") == "failed" else f"is {text('state')}"
            sentence = f"the source {text('name')} {state}: {text('reason')}"
            return ExitCode.UNHEALTHY, f"{sentence}; see `hwentropy sources`"
        case "NotEnoughEntropy":
            # The daemon's sentence says where to look.
            return ExitCode.UNHEALTHY, f"not reseeded: {text('reason')}"
        case "KnownAnswerFailed":
            sentence = f"the daemon's known-answer test of {text('test')} failed, and it ended"
            return ExitCode.UNHEALTHY, f"{sentence}; test the hardware, install anew"
        case "OverQuota":
            sentence = "as many calls of this user are under way as its share allows"
            return ExitCode.UNHEALTHY, f"{sentence}; try again later"
        case _:
            sentence = f"the daemon answers {error.name}"
            return ExitCode.NO_DAEMON, f"{sentence}; update the older of daemon and command"


def warn_degraded() -> None:
    """Say that the values are good, and that the daemon needs looking after."""
    click.echo(f"hwentropy: warning: {DEGRADED}", err=True)


def warn_not_live(what: str) -> None:
    """Say of what was asked to be fresh how fresh it is."""
    click.echo(f"hwentropy: warning: {what} was {NOT_LIVE}", err=True)


def die_of(number: signal.Signals) -> NoReturn:
    """End as a program does that leaves the signal alone, so that a shell sees why."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # the signal is blocked
