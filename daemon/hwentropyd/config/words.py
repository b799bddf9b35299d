"""What a configuration key takes, in words for the person who wrote the file.

From the same type annotations that msgspec checks, so that what an error says
is allowed is what is allowed.
"""

import json
from typing import Any, Final

from msgspec import inspect

#: Longest value or key that an error repeats, in characters.
_SHOWN: Final = 60


def allowed(struct: type[Any], key: str) -> str:
    """What `key` of this structure takes, such as "a whole number from 1 to 64"."""
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{struct.__name__} is not a structure of configuration keys")
    field = next(field for field in info.fields if field.encode_name == key)
    return _words(field.type)


def shown(value: object) -> str:
    """A value as the error repeats it: as TOML writes it, cut short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, (str, bool)):
        return shortened(json.dumps(value))
    try:
        return shortened(str(value))
    except ValueError:
        # More than 4,300 digits, for which TOML takes hexadecimal ones only.
        return shortened(f"{value:#x}")


def shortened(text: str) -> str:
    """A text as an error repeats it: cut off where it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(kind)
        case inspect.FloatType():
            return "a number" + _range(kind)
        case inspect.StrType():
            return "a string"
        case inspect.LiteralType():
            return "one of " + ", ".join(f'"{value}"' for value in kind.values)
        case inspect.UnionType():
            # TOML has no null: "not set" is said by leaving the key out.
            some = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            return " or ".join(map(_words, some))
        case inspect.ListType() | inspect.VarTupleType():
            return f"an array, each {_words(kind.item_type)}"
        case _:
            # A plug-in's own type: its name is the best that can be said.
            return f"a value of type {type(kind).__name__.removesuffix('Type').lower()}"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:.16g} to {kind.le:.16g}"
    limits = {"at least": kind.ge, "above": kind.gt, "below": kind.lt, "at most": kind.le}
    parts = [f"{word} {limit:.16g}" for word, limit in limits.items() if limit is not None]
    return f" {', '.join(parts)}" if parts else ""
