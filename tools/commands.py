"""The command's options, from the code of `hwentropy` into its documents.

    python -m tools.commands            writes them (`make documents`)
    python -m tools.commands --check    exit 1, and the names, where one is not up to date

What a command and its options are for stands in the code, where `--help` has it from.
From there come the table of docs/commands.md and the options' lists of
docs/man/hwentropy.1; what stands around them is written by hand.
"""

import re
import sys
from pathlib import Path
from typing import Final

import click
from tools.keys import ROOT, mdoc, replaced, write

from hwentropy.command.cli import cli

GUIDE: Final = ROOT / "docs" / "commands.md"
MANUAL: Final = ROOT / "docs" / "man" / "hwentropy.1"


def options_of(command: click.Command) -> list[click.Option]:
    """Those of its own, in the order of --help."""
    return [one for one in command.params if isinstance(one, click.Option)]


def table() -> str:
    """Every command, for the guide."""
    rows = ["| `hwentropy …` | what it does | options |", "|---|---|---|"]
    for name, command in cli.commands.items():
        pieces = command.collect_usage_pieces(click.Context(command))
        usage = " ".join([name, *(one for one in pieces if one != "[OPTIONS]")])
        flags = [*(f"`{_spelled(one)}`" for one in options_of(command))]
        purpose = " ".join((command.help or "").partition("\n\n")[0].split())
        cells = (f"`{usage}`", purpose, ", ".join(flags))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def manual(command: click.Command) -> str:
    """The options of a command, for the manual page."""
    lines = [".Bl -tag -width Ds"]
    for one in options_of(command):
        said = (one.help or "").removesuffix(".")
        if one.show_default:
            said += f"; default {one.default}"
        flag = one.opts[0][2:].replace("-", r"\-")
        macros = dict.fromkeys(cli.commands, "Cm")
        if one.metavar:
            said = re.sub(rf"\b{one.metavar}\b", r"`\g<0>`", said)
            macros[one.metavar] = "Ar"
        lines += [" ".join([f".It Fl -{flag}", *_taken(one)]), *mdoc(f"{said}.", macros)]
    return "\n".join([*lines, ".El"]) + "\n"


def _taken(option: click.Option) -> list[str]:
    if isinstance(option.type, click.Choice):
        return ["Cm", " | ".join(map(str, option.type.choices))]
    return [] if option.is_flag else ["Ar", option.metavar or "TEXT"]


def _spelled(option: click.Option) -> str:
    return " ".join([option.opts[0], *_taken(option)[1:]])


def documents() -> dict[Path, str]:
    """Both documents as they have to be."""
    guide = replaced(
        GUIDE.read_text(), "## The commands", "\n## ", r"(?:^\| .*\n|^\|---.*\n)+", table()
    )
    page = MANUAL.read_text()
    for name, command in cli.commands.items():
        if options_of(command):
            page = replaced(
                page,
                f"\n.Ss {name}\n",
                "\n.S",
                r"^\.Bl .*\n(?:.*\n)*?\.El\n",
                manual(command),
            )
    return {GUIDE: guide, MANUAL: page}


if __name__ == "__main__":
    sys.exit(write(documents(), sys.argv[1:]))
