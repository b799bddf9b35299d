"""`hwentropy analyze FILE|-|--live N`: what bytes look like.

Read a piece at a time, so memory stays bounded whatever the size.
"""

import json
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from .exits import ExitCode, warn_degraded
from .layout import Cell, printable, show_table
from .output import OutputError, open_output
from .progress import SlowDisplay
from .runtime import Runtime
from .size import parse_size

if TYPE_CHECKING:
    from hwentropy.analysis import Examination, Tally
    from hwentropy.analysis.plot import Format

#: Bytes read at a time; one call of the native protocol.
PIECE: Final = 1 << 20

_STYLES: Final = {"usual": "green", "unusual": "yellow", "failed": "bold red"}


class InputError(click.ClickException):
    """What should be analyzed cannot be read."""

    exit_code = ExitCode.USAGE


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option(
    "--live",
    metavar="N",
    callback=_size,
    help="Analyze N fresh bytes of the daemon; sizes are as for `get`.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as a JSON object.")
@click.option(
    "--plot",
    metavar="OUT",
    type=click.Path(dir_okay=False),
    help="Draw the histogram, the first bits as dots and the autocorrelation into OUT, whose "
    "name ends in `.png`, `.svg` or `.html`.  Needs matplotlib.",
)
@click.pass_obj
def analyze(
    runtime: Runtime, *, file: str | None, live: int | None, as_json: bool, plot: str | None
) -> ExitCode:
    """Show what the bytes of FILE look like: `-` is standard input.

    Each statistic comes with the value expected of uniform random bytes and p, the
    probability that such bytes lie at least as far out.  Passing proves little:
    bytes that somebody can predict pass as well.  Failing proves much.

    Ends with 1 if a statistic fails (p below 1e-6).  Bytes that the daemon serves
    while it is degraded are analyzed, with a warning.
    """
    from hwentropy.analysis import Tally, examine  # noqa: PLC0415 - not for the other commands

    if (file is None) == (live is None):
        raise click.UsageError("give one of FILE, - and --live N")
    kind = None if plot is None else _plot_kind(plot)
    tally = Tally()
    fresh = _Fresh(runtime, live or 0)
    # Opened before anything is read: what is missing for the picture is told at once.
    with nullcontext() if plot is None else open_output(plot) as picture:
        if live is not None:
            source = "the daemon"
            _gather(tally, fresh, live)
        else:
            source = "standard input" if file == "-" else printable(Path(str(file)).name)
            with _opened(str(file)) as (stream, size):
                # A bar would run into what somebody types.
                _gather(tally, _pieces(stream, source), size, shown=not stream.isatty())
        if not tally.size:
            where = source if file in {None, "-"} else printable(str(file))
            raise InputError(f"{where} is empty; give at least one byte")
        examination = examine(tally)
        if kind is not None and picture is not None:
            from hwentropy.analysis.plot import draw  # noqa: PLC0415 - optional

            picture.write(draw(tally, examination, source, kind))
    if as_json:
        click.echo(json.dumps(_as_object(source, tally, examination), indent=2))
    else:
        _show(source, examination)
    if fresh.degraded:
        warn_degraded()
    return ExitCode.UNHEALTHY if examination.judgement == "failed" else ExitCode.FINE


def _plot_kind(path: str) -> "Format":
    """What the name's ending asks for; before anything is read."""
    from hwentropy.analysis import plot  # noqa: PLC0415 - optional

    for kind in plot.FORMATS:
        if path.lower().endswith(f".{kind}"):
            try:
                plot.load()
            except ImportError:
                raise OutputError(
                    "cannot draw without matplotlib; pip install 'hwentropy[plot]'"
                ) from None
            return kind
    raise click.UsageError(f"{path} has another ending than .png, .svg and .html")


class _Fresh:
    """So many bytes of the daemon, a piece at a time."""

    def __init__(self, runtime: Runtime, size: int) -> None:
        self._runtime = runtime
        self._size = size
        self.degraded = False
        """Whether any of them were served while the daemon was degraded."""

    def __iter__(self) -> Iterator[bytes]:
        with self._runtime.client(None) as client:
            for start in range(0, self._size, PIECE):
                piece = client.read(min(PIECE, self._size - start))
                self.degraded = self.degraded or client.degraded
                yield piece


@contextmanager
def _opened(file: str) -> Generator[tuple[BinaryIO, int | None]]:
    """The stream, and its size where that is known."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    with stream:
        # A device's and a pipe's size is 0, which is not what comes out of them.
        yield stream, path.stat().st_size or None


def _pieces(stream: BinaryIO, source: str) -> Iterator[bytes]:
    try:
        # A short piece is the last one: a terminal has its end (Ctrl-D) once, and
        # another read would wait for a second one.
        more = True
        while more and (piece := stream.read(PIECE)):
            yield piece
            more = len(piece) == PIECE
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None


def _gather(
    tally: "Tally", pieces: Iterable[bytes], size: int | None, *, shown: bool = True
) -> None:
    with SlowDisplay("analyzing", size, wanted=shown) as display:
        for piece in pieces:
            tally.update(piece)
            display.advance(len(piece))


def _as_object(source: str, tally: "Tally", examination: "Examination") -> dict[str, object]:
    from hwentropy.analysis import CAUTION  # noqa: PLC0415 - loaded already

    return {
        "source": source,
        "bytes": examination.size,
        "judgement": examination.judgement,
        "caution": CAUTION,
        "statistics": [
            {
                "name": one.name,
                "value": one.value,
                "expected": one.expected,
                "p": one.p,
                "judgement": one.judgement,
            }
            for one in examination.measurements
        ],
        "longest_run": tally.longest._asdict(),
        "histogram": examination.counts,
    }


def _show(source: str, examination: "Examination") -> None:
    from hwentropy.analysis import CAUTION, text  # noqa: PLC0415 - loaded already

    click.echo(f"{source}: {text.size(examination)}\n")
    table = [
        [Cell(word.upper(), "bold", right=0 < at < 4) for at, word in enumerate(text.FIGURES)]
    ]
    table.extend(
        [
            Cell(title),
            *(Cell(figure, right=True) for figure in figures),
            Cell(judgement, _STYLES.get(judgement, "dim")),
        ]
        for title, *figures, judgement in text.rows(examination)
    )
    show_table(table)
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(f"\n{text.LEGEND[unicode]}")
    for line in text.histogram(examination, unicode=unicode):
        click.echo(line)
    click.echo(f"\n{text.verdict(examination)} {CAUTION}")
