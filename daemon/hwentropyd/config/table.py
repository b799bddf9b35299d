"""One source's table of the configuration: its keys checked against its kind's.

`check` imports the kind's class and constructs a source, which touches no device.  For
a kind that runs other people's code it is called in a collector and nowhere else.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from hwentropy_core.errors import HwentropyError
from hwentropy_sources import registry
from hwentropy_sources.contract import Description, SourceConfig

from . import words


class TableError(Exception):
    """A table that cannot be used: which key of it (none: the table), and why."""

    def __init__(self, path: tuple[str, ...], what: str) -> None:
        super().__init__(what)
        self.path = path
        self.what = what


class Checked(msgspec.Struct, frozen=True):
    """A table that suits its kind."""

    config: SourceConfig
    """At least the keys that all tables have; `kind` set, `credit` as the kind allows."""
    description: Description
    """What the source says of itself before it is opened."""


#: Kind and table in, or TableError.
CheckTable = Callable[[str, dict[str, Any]], Checked]


def check(kind: str, table: dict[str, Any]) -> Checked:
    """Check a table against its kind's keys; raises TableError."""
    try:
        cls = registry.source_class(kind)
    except HwentropyError as error:
        raise TableError(("kind",) if table.get("kind") else (), str(error)) from None
    config: SourceConfig = convert(table, cls.Config)
    try:
        # Says whether the keys can go together.
        source = registry.make_source(kind, config)
    except HwentropyError as error:
        raise TableError((), str(error)) from None
    try:
        description = source.describe()
        most = description.claim.bits_per_sample
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything
        what = f"the source cannot say what it is ({type(error).__name__})"
        raise TableError((), f"{what}; repair or uninstall its package") from None
    if config.min_entropy is not None and config.min_entropy > most:
        raise TableError(
            ("min_entropy",),
            f"must be at most {most}, the bits of a sample, not {config.min_entropy:g}",
        )
    config = msgspec.structs.replace(config, kind=kind, credit=config.credit and cls.credited)
    return Checked(config, description)


def check_keys(table: Any, struct: type[Any]) -> None:
    """Check each key by itself, so that the error is of that key; raises TableError."""
    if not isinstance(table, dict):
        raise TableError((), "must be a table")
    fields = [field.encode_name for field in msgspec.structs.fields(struct)]
    required = {f.encode_name for f in msgspec.structs.fields(struct) if f.required}
    for key, value in table.items():
        if key not in fields:
            raise TableError((key,), f"unknown key; allowed are {listed(fields)}")
        others = {one: table[one] for one in required & table.keys()}
        try:
            msgspec.convert({**others, key: value}, struct)
        except msgspec.ValidationError as error:
            if any(f"`$.{key}{end}" in str(error) for end in "`.["):
                raise wrong(struct, key, value) from None


def convert(table: Any, struct: type[Any]) -> Any:
    """The table as this structure; raises TableError."""
    check_keys(table, struct)
    missing = [
        field.encode_name
        for field in msgspec.structs.fields(struct)
        if field.required and field.encode_name not in table
    ]
    if missing:
        key = missing[0]
        raise TableError((key,), f"has to be set: {words.allowed(struct, key)}")
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        # What a plug-in's structure checks over all of its keys.
        raise TableError((), str(error)) from None


def wrong(struct: type[Any], key: str, value: object) -> TableError:
    """The error of a key whose value this structure does not take."""
    takes = words.allowed(struct, key)
    return TableError((key,), f"must be {takes}, not {words.shown(value)}")


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names)
