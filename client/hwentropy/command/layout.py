"""Tables for a terminal and for a pipe, from the same cells.

On a pipe the columns are aligned with spaces and nothing is coloured.  On a
terminal `rich` draws them, in colour unless NO_COLOR says otherwise.

Text from the daemon may come from a device somebody plugged in, so whatever
could control a terminal is replaced before it is printed.
"""

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

_STYLES: Final = {
    "ok": "green",
    "healthy": "green",
    "starting": "yellow",
    "suspect": "yellow",
    "degraded": "yellow",
    "failed": "bold red",
    "absent": "dim",
}


class Cell(NamedTuple):
    """One piece of text with its place and look."""

    text: str
    style: str = ""
    right: bool = False
    """Flush right, for numbers."""


def printable(text: str) -> str:
    """`text` on one line, with `?` for every character that is not printable."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def state_cell(state: str) -> Cell:
    """A state in its colour."""
    return Cell(printable(state), _STYLES.get(state, ""))


def aligned(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The lines of a table of equally long rows, columns two spaces apart."""
    widths = [max(len(cell.text) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.text.rjust(width) if cell.right else cell.text.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def show_table(rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table on standard output."""
    if not sys.stdout.isatty():
        for line in aligned(rows):
            click.echo(line)
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for cell in rows[0]:
        table.add_column(justify="right" if cell.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    Console().print(table)


def show_lines(lines: Sequence[Sequence[Cell]]) -> None:
    """Print lines made of cells that follow one another without a gap."""
    if not sys.stdout.isatty():
        for line in lines:
            click.echo("".join(cell.text for cell in line))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for line in lines:
        console.print(Text.assemble(*((cell.text, cell.style) for cell in line)))
