"""The configuration's keys, from `config/hwentropyd.toml` into the documents.

    python -m tools.keys            writes them (`make documents`)
    python -m tools.keys --check    exit 1, and the names, where a document is not up to date

What a key is for stands in the comment before it in the shipped file, what it takes and
its default in the code's structures.  From these come the tables of
docs/configuration.md and docs/sources.md and the lists of docs/man/hwentropyd.toml.5;
what stands around them is written by hand.  Raises ValueError where the comment does not
say what the code takes, or a document has no place for a table.
"""

import json
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from hwentropy_sources.contract import SourceConfig
from hwentropy_sources.registry import BUILT_IN, source_class
from hwentropyd.config import words
from hwentropyd.config.schema import (
    AccessConfig,
    LimitsConfig,
    PoolConfig,
    SeedLogConfig,
    ServerConfig,
)

ROOT: Final = Path(__file__).parents[1]
SHIPPED: Final = ROOT / "config" / "hwentropyd.toml"
GUIDE: Final = ROOT / "docs" / "configuration.md"
SOURCES: Final = ROOT / "docs" / "sources.md"
MANUAL: Final = ROOT / "docs" / "man" / "hwentropyd.toml.5"

#: Tables of the shipped file -> their structures; the keys that all sources have stand in
#: the first source's.
TABLES: Final[dict[str, type[Any]]] = {
    "pool": PoolConfig,
    "server": ServerConfig,
    "limits": LimitsConfig,
    "access": AccessConfig,
    "seed_log": SeedLogConfig,
    "sources.os": SourceConfig,
    **{f"sources.{kind}": source_class(kind).Config for kind in BUILT_IN if kind != "os"},
}

#: `key = value`, set or commented out.
KEY: Final = re.compile(r"(?P<off># )?(?P<key>[a-z_]+) = (?P<value>.+)")
_UNSET: Final = re.compile(r"(?:Not set|Empty): (.+?)[.;](?: |$)")
_COLUMNS: Final = 80


@dataclass(frozen=True)
class Shown:
    """A key as the shipped file shows it."""

    off: bool
    """Commented out: not set by default."""
    value: str
    comment: tuple[str, ...]
    """The lines before it."""


@dataclass(frozen=True)
class Key:
    """A key as a document describes it."""

    name: str
    takes: str
    default: str | None
    """As TOML has it; None: `unset` says what holds."""
    unset: str
    purpose: str


def shipped() -> dict[str, dict[str, Shown]]:
    """Tables of the shipped file, key by key."""
    tables: dict[str, dict[str, Shown]] = {}
    table = ""
    comment: list[str] = []
    for line in SHIPPED.read_text().splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line):
            table = match[1]
            tables[table] = {}
            comment = []
        elif table and (match := KEY.fullmatch(line)):
            shown = Shown(bool(match["off"]), match["value"], tuple(comment))
            tables[table][match["key"]] = shown
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return tables


def keys_of(table: str) -> list[Key]:
    """The keys of a table, but those that all sources have in a kind's."""
    struct = TABLES[table]
    shown = shipped()[table]
    of_all = SourceConfig.__struct_fields__ if is_kind(table) else ()
    return [
        _key(struct, one, shown[one.encode_name].comment)
        for one in msgspec.structs.fields(struct)
        if one.encode_name not in of_all
    ]


def is_kind(table: str) -> bool:
    """Whether only the keys that a kind adds are described there."""
    return table.startswith("sources.") and table != "sources.os"


def _key(struct: type[Any], field: Any, comment: tuple[str, ...]) -> Key:
    name = field.encode_name
    takes = words.allowed(struct, name)
    at = next((i for i, line in enumerate(comment) if line.lower().startswith(takes)), None)
    if at is None:
        raise ValueError(f"{SHIPPED.name}: no line of {name} begins with {takes!r}")
    purpose, reason = (" ".join(part).split() for part in (comment[:at], comment[at + 1 :]))
    default = None
    if field.required:
        unset = "no default, it has to be set"
    elif field.default in {None, ""}:
        match = _UNSET.match(" ".join(reason))
        if match is None:
            raise ValueError(f"{SHIPPED.name}: what holds where {name} is not set?")
        unset = match[1]
    else:
        default, unset = _written(field.default), ""
    return Key(name, takes, default, unset, " ".join(purpose))


def _written(value: object) -> str:
    """A default as TOML has it."""
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value)


def markdown(table: str) -> str:
    """The keys of a table, for the guide."""
    rows = ["| key | default | allowed | what for |", "|---|---|---|---|"]
    for key in keys_of(table):
        default = key.unset if key.default is None else f"`{key.default}`"
        rows.append(f"| `{key.name}` | {default} | {key.takes} | {key.purpose} |")
    return "\n".join(rows) + "\n"


def manual(table: str) -> str:
    """The keys of a table, for the manual page."""
    fields = (one for struct in TABLES.values() for one in msgspec.structs.fields(struct))
    macros = dict.fromkeys((one.encode_name for one in fields), "Cm")
    lines = [".Bl -tag -width Ds"]
    for key in keys_of(table):
        default = key.unset if key.default is None else key.default
        said = default if default.startswith("no default") else f"default {default}"
        takes = key.takes[0].upper() + key.takes[1:]
        lines += [f".It Cm {key.name}", *mdoc(f"{takes}; {said}. {key.purpose}", macros)]
    return "\n".join([*lines, ".El"]) + "\n"


def mdoc(text: str, macros: Mapping[str, str]) -> list[str]:
    """Sentences as mdoc(7) has them: a line each at least, code in macros of their own.

    `macros`: what is code by another macro than `Ql`.
    """
    lines: list[str] = []
    text = re.sub(r"(?<![\w`-])--[a-z-]+", r"`\g<0>`", text)
    for sentence in re.split(r"(?<=[.?!])\s+", text):
        # Text and code by turns; punctuation that follows code belongs to its line.
        for at, part in enumerate(re.split(r"`([^`]+)`", sentence)):
            if at % 2:
                lines.append(_code(part, macros))
                continue
            rest = part
            if at and (mark := re.match(r"[.,;:)]+", part)):
                lines[-1] += "".join(f" {one}" for one in mark[0])
                rest = part[mark.end() :]
            quoted = rest.strip().replace("'", r"\(aq")
            lines += textwrap.wrap(quoted, _COLUMNS, break_on_hyphens=False)
    return lines


def _code(part: str, macros: Mapping[str, str]) -> str:
    if part.startswith("--"):
        return ".Fl -" + part[2:].replace("-", r"\-")
    return f".{macros.get(part, 'Ql')} {part}"


def documents() -> dict[Path, str]:
    """Every document as it has to be."""
    texts = {path: path.read_text() for path in (GUIDE, SOURCES, MANUAL)}
    for table in TABLES:
        kind = table.removeprefix("sources.")
        if not keys_of(table):
            continue
        of_kind = is_kind(table)
        heading = "[sources.<name>]" if table == "sources.os" else f"[{table}]"
        texts[SOURCES if of_kind else GUIDE] = replaced(
            texts[SOURCES if of_kind else GUIDE],
            f"## {kind}\n" if of_kind else f"## `{heading}`",
            "\n## ",
            r"(?:^\| .*\n|^\|---.*\n)+",
            markdown(table),
        )
        texts[MANUAL] = replaced(
            texts[MANUAL],
            f".Ss {kind}\n" if of_kind else f".Ss {heading.replace('<name>', 'NAME')}",
            "\n.S",
            r"^\.Bl .*\n(?:.*\n)*?\.El\n",
            manual(table),
        )
    return texts


def replaced(text: str, heading: str, end: str, pattern: str, new: str) -> str:
    """The text with the first match in the section of this heading replaced."""
    start = text.find(heading)
    match = None
    if start >= 0:
        stop = text.find(end, start + len(heading))
        section = re.compile(pattern, re.MULTILINE)
        match = section.search(text, start, stop + 1 if stop >= 0 else len(text))
    if match is None:
        raise ValueError(f"no place for the keys below {heading.strip()!r}")
    return text[: match.start()] + new + text[match.end() :]


def write(texts: dict[Path, str], arguments: list[str]) -> int:
    """Write documents, or with --check say which are not up to date."""
    stale = {path: text for path, text in texts.items() if path.read_text() != text}
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: `make documents` brings it up to date")
        return bool(stale)
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(write(documents(), sys.argv[1:]))
