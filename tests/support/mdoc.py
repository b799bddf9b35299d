"""Manual pages as the tests read them: what is documented, and whether it formats.

    page = Page("hwentropy.1")
    page.section("EXIT STATUS").items        the tagged list: heads and their text

It knows as much of mdoc(7) as the pages in docs/man use, and reads the source and
not what a formatter makes of it: the macros say what is an option and what is not.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ROOT / "docs" / "man"

#: Characters of which groff would make something else.
_ESCAPES: Final = {r"\-": "-", r"\&": "", r"\(aq": "'", r"\(dq": '"', r"\(ti": "~"}
_MACROS: Final = frozenset({"Ar", "Cm", "Dv", "Ev", "Fl", "Nm", "Pa", "Ql", "Va", "Xr"})
_BRACKETS: Final = {"Op": "[]", "Brq": "{}", "Oo": "[", "Oc": "]"}
_PUNCTUATION: Final = frozenset(".,;:)")

#: A formatter, and how it is asked for its complaints alone.
_CHECKS: Final = {
    "mandoc": ["mandoc", "-T", "lint", "-W", "style"],
    "groff": ["groff", "-mandoc", "-ww", "-z", "-Tutf8"],  # every warning, no output
}
FORMATTERS: Final = tuple(_CHECKS)

#: Whether another page is installed is a matter of the machine.
_OF_THE_MACHINE: Final = re.compile(r"referenced manual not found|outdated mandoc\.db")


@dataclass
class Item:
    """One entry of a tagged list."""

    head: list[str]
    """The words of its `.It` line, macros too."""
    lines: list[str] = field(default_factory=list)

    def named(self, macro: str) -> list[str]:
        """What the head names with this macro."""
        return list(_called(self.head, macro))

    @property
    def flags(self) -> list[str]:
        """The options that the head names, with their dashes."""
        return [f"-{word}" for word in self.named("Fl")]

    @property
    def text(self) -> str:
        """What it says, on one line."""
        return plain(self.lines)


@dataclass
class Section:
    """The lines between two headings."""

    lines: list[str] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """The entries of its tagged lists, which are flat."""
        found: list[Item] = []
        inside = False
        for line in self.lines:
            if line.startswith(".It "):
                found.append(Item(words(line)[1:]))
                inside = True
            elif line.startswith((".Bl", ".El")):
                inside = False
            elif inside:
                found[-1].lines.append(line)
        return found

    def every(self, macro: str) -> list[str]:
        """All that it names with this macro, in order."""
        lines = (words(line) for line in self.lines if line.startswith("."))
        return [word for line in lines for word in _called(line, macro)]

    @property
    def usage(self) -> str:
        """Its one-line display, without blanks."""
        (line,) = [line for line in self.lines if line.startswith(".D1 ")]
        return _spoken(words(line)[1:]).replace(" ", "")

    @property
    def displays(self) -> list[str]:
        """Its literal displays."""
        text = "\n".join(self.lines)
        found = re.findall(r"^\.Bd -literal.*?\n(.*?)\n\.Ed$", text, re.MULTILINE | re.DOTALL)
        return [_unescaped(display) for display in found]


class Page:
    """One manual page: its lines, and its sections by heading and subheading."""

    def __init__(self, name: str) -> None:
        """Raises OSError, and UnicodeDecodeError where it is not ASCII."""
        self.path = PAGES / name
        text = self.path.read_text(encoding="ascii")
        self.lines = [line for line in text.splitlines() if not line.startswith(r".\"")]
        self._tree: dict[str, dict[str, Section]] = {}
        below = self._tree[""] = {"": Section()}
        at = below[""]
        for line in self.lines:
            kind, _, heading = line.partition(" ")
            if kind == ".Sh":
                below = self._tree[_unescaped(heading)] = {"": Section()}
                at = below[""]
            elif kind == ".Ss":
                at = below[_unescaped(heading)] = Section()
            else:
                at.lines.append(line)

    def section(self, heading: str) -> Section:
        """A section, up to its first subheading."""
        return self._tree[heading][""]

    def below(self, heading: str) -> dict[str, Section]:
        """The subsections of a section, by their headings."""
        return {name: one for name, one in self._tree[heading].items() if name}

    def every(self, macro: str) -> set[str]:
        """All that the page names with this macro."""
        return set(Section(self.lines).every(macro))

    @property
    def flags(self) -> set[str]:
        """Every option that is named anywhere on the page, with its dashes."""
        return {f"-{word}" for word in self.every("Fl")}


def words(line: str) -> list[str]:
    """The words of a macro line, the macro first; quotes hold several together."""
    return [_unescaped(word) for word in shlex.split(line[1:].replace("\\", "\\\\"))]


def plain(lines: list[str]) -> str:
    """The text of some lines, without its macros."""
    return " ".join(
        _spoken(words(line)) if line.startswith(".") else _unescaped(line) for line in lines
    )


def complaints(formatter: str, page: Path) -> list[str] | None:
    """What a formatter has against a page, a line each; None if it is not installed."""
    if shutil.which(formatter) is None:
        return None
    done = subprocess.run(
        [*_CHECKS[formatter], page],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = (done.stdout + done.stderr).splitlines()
    return [line for line in told if not _OF_THE_MACHINE.search(line)]


def environment_read_by(*packages: Path) -> set[str]:
    """The environment variables that the modules below these directories name."""
    asked = re.compile(r'(?:environ\.\w+\(|environ\[|getenv\()\s*"(\w+)"')
    modules = (module for package in packages for module in package.rglob("*.py"))
    return {name for module in modules for name in asked.findall(module.read_text())}


def _unescaped(text: str) -> str:
    for name, character in _ESCAPES.items():
        text = text.replace(name, character)
    if "\\" in text:
        raise ValueError(f"an escape that is not among the known ones: {text!r}")
    return text


def _called(line: list[str], macro: str) -> Iterator[str]:
    """The arguments of a macro, wherever it stands on the line."""
    current = ""
    for word in line:
        if word in _MACROS | _BRACKETS.keys() | {"Ns"}:
            current = word
        elif current == macro and word not in _PUNCTUATION | {"(", "|"}:
            yield word


def _spoken(line: list[str]) -> str:
    text = ""
    at_end = ""
    before = ""
    glued = False
    for word in line:
        if word in {"Op", "Brq"}:
            text += f" {_BRACKETS[word][0]}"
            at_end = _BRACKETS[word][1] + at_end
        elif word in {"Oo", "Oc"}:
            text += f" {_BRACKETS[word]}"
        elif word not in _MACROS | {"Ns", "Pp"}:
            text += "" if word in _PUNCTUATION or glued else " "
            text += f"-{word}" if before == "Fl" else word
        glued = word == "Ns" or (glued and word in _MACROS)
        before = word
    return f"{text}{at_end}".strip()
