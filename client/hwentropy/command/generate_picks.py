"""`hwentropy int`, `choose` and `shuffle`: picks without bias."""

import sys
from typing import Final

import click

from .analyze import InputError
from .exits import ExitCode
from .generate import Count, count_option, degraded_told, json_option, show, use_daemon
from .progress import SlowDisplay
from .runtime import Runtime

#: A number that begins with a minus is not an option.
_NEGATIVE: Final = {"ignore_unknown_options": True}


@click.command("int", context_settings=_NEGATIVE)
@click.argument("low", type=int)
@click.argument("high", type=int)
@count_option
@json_option
@click.pass_obj
def integer(runtime: Runtime, *, low: int, high: int, count: int, as_json: bool) -> ExitCode:
    """An integer from LOW to HIGH, both included, each equally likely."""
    if low > high:
        raise click.UsageError(f"nothing lies from {low} to {high}; give the smaller one first")
    use_daemon(runtime)
    from hwentropy.secrets import randbelow  # noqa: PLC0415 - the other commands do not draw

    width = high - low + 1
    show((low + randbelow(width) for _ in range(count)), as_json=as_json)
    return ExitCode.FINE


@click.command()
@click.argument("items", metavar="ITEM...", nargs=-1, required=True)
@click.option(
    "--distinct", is_flag=True, help="No item twice; without it each pick is from all of them."
)
@count_option
@json_option
@click.pass_obj
def choose(
    runtime: Runtime, *, items: tuple[str, ...], distinct: bool, count: int, as_json: bool
) -> ExitCode:
    """One of the ITEMs, each equally likely; with --count each time from all of them."""
    if distinct and count > len(items):
        raise click.UsageError(
            f"cannot take {count} distinct ones of {len(items)}; lower --count"
        )
    use_daemon(runtime)
    from hwentropy.secrets import SystemRandom, choice  # noqa: PLC0415 - as above

    if distinct:
        show(SystemRandom().sample(items, count), as_json=as_json)
    else:
        show((choice(items) for _ in range(count)), as_json=as_json)
    return ExitCode.FINE


@click.command()
@click.option(
    "--count",
    metavar="K",
    type=Count(min=1),
    help="Only K of them, or all if there are fewer.",
)
@json_option
@click.pass_obj
def shuffle(runtime: Runtime, *, count: int | None, as_json: bool) -> ExitCode:
    """The lines of standard input in random order, every order equally likely.

    They are held in memory.  The last line need not end with a newline.
    """
    use_daemon(runtime)
    from hwentropy.secrets import SystemRandom  # noqa: PLC0415 - as above

    # Not into what somebody types.
    with SlowDisplay("shuffling", wanted=not sys.stdin.isatty()):
        try:
            lines = sys.stdin.buffer.read().split(b"\n")
        except OSError as error:
            raise InputError(f"cannot read standard input: {error.strerror}") from None
        if not lines[-1]:
            lines.pop()
        if as_json:
            _check_text(lines)
        if count is None or count >= len(lines):
            SystemRandom().shuffle(lines)
        else:
            lines = SystemRandom().sample(lines, count)
    if as_json:
        show((line.decode() for line in lines), as_json=True)
    else:
        with degraded_told(lines) as watched:
            sys.stdout.buffer.writelines(line + b"\n" for line in watched)
            sys.stdout.buffer.flush()
    return ExitCode.FINE


def _check_text(lines: list[bytes]) -> None:
    """JSON has no way to hold other bytes."""
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            raise InputError(f"line {number} is not UTF-8; leave --json out") from None
