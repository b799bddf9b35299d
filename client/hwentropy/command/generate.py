"""What the commands that make values share: options, output, and where bytes come from.

A value a line, or one JSON array with --json; nothing else on standard output.
Values are written as they are made, so --count may be large.  Where a value was
drawn while the daemon was degraded, a warning follows on standard error.
"""

import itertools
import json
import logging
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar

import click

from hwentropy_core.paths import ENTROPY_SOCKET

from .exits import warn_degraded
from .output import write_all
from .progress import WAITING, SlowDisplay
from .runtime import Runtime

Value: TypeAlias = str | int | Mapping[str, object]
_T = TypeVar("_T")


class Count(click.IntRange):
    """A whole number in a range, and called so where something else is given."""

    name = "whole number"


count_option = click.option(
    "--count",
    metavar="K",
    type=Count(min=1),
    default=1,
    show_default=True,
    help="How many, a line each.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON array, whatever the count."
)


#: What the library logs is told in the command's own words.
_UNSAID: Final = logging.NullHandler()


def use_daemon(runtime: Runtime) -> None:
    """Have hwentropy.generator ask the daemon that this command talks to."""
    from hwentropy import generator  # noqa: PLC0415 - the other commands do not draw

    generator.log.addHandler(_UNSAID)
    if runtime.directory is not None:
        generator.configure(path=runtime.directory / ENTROPY_SOCKET)


def after_waiting(values: Iterable[_T]) -> Iterator[_T]:
    """The same values; while the first one takes long, a terminal is told why."""
    each = iter(values)
    with SlowDisplay(WAITING):
        first = list(itertools.islice(each, 1))
    return itertools.chain(first, each)


@contextmanager
def degraded_told(values: Iterable[_T]) -> Generator[Iterator[_T]]:
    """The same values; a warning at the end if the daemon was degraded after any."""
    from hwentropy import generator  # noqa: PLC0415 - loaded already

    degraded = False

    def watched() -> Iterator[_T]:
        nonlocal degraded
        for value in values:
            degraded = degraded or generator.is_degraded()
            yield value

    yield watched()
    if degraded:
        warn_degraded()


def show(values: Iterable[Value], *, as_json: bool) -> None:
    """Print each value on a line of its own, or all as one JSON array.

    A mapping's first entry is what a line shows.  Text from the command line goes
    out as the bytes it came in as.
    """
    with degraded_told(after_waiting(values)) as watched:
        _print(watched, as_json=as_json)


def _print(values: Iterable[Value], *, as_json: bool) -> None:
    out = sys.stdout
    if not as_json:
        for value in values:
            write_all(out.buffer, os.fsencode(_line(value)) + b"\n")
        # A terminal's own buffer is the text layer's, which was not used.
        out.buffer.flush()
        return
    start = "[\n  "
    for value in values:
        out.write(start + json.dumps(value))
        start = ",\n  "
    out.write("[]\n" if start == "[\n  " else "\n]\n")


def _line(value: Value) -> str:
    return str(next(iter(value.values())) if isinstance(value, Mapping) else value)


def wrong_usage(error: ValueError) -> click.UsageError:
    """A library's ValueError, whose message says what may be asked for."""
    return click.UsageError(str(error))
