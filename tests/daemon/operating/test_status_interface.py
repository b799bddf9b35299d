"""The control interface's description beside the types that the daemon fills in."""

import dataclasses
import re
import types
import typing
from importlib.resources import files
from typing import Any

from hwentropy_core import status
from hwentropy_core.varlink import INTERFACE

WORDS = {str: "string", int: "int", float: "float", bool: "bool"}


def described() -> str:
    """The definition as it is given out, without comments, in single spaces."""
    text = files("hwentropyd.operating").joinpath(f"{INTERFACE}.varlink").read_text("utf-8")
    return " ".join(re.sub("#.*", "", text).split())


def written(kind: Any) -> str:
    """A field's type as Varlink writes it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return f"[]{written(parts[0])}"
    if origin is dict:
        assert parts[0] is str
        return f"[string]{written(parts[1])}"
    if origin in {types.UnionType, typing.Union}:
        (one,) = (part for part in parts if part is not type(None))
        return f"?{written(one)}"
    return WORDS.get(kind) or str(kind.__name__)


def fields(kind: Any) -> str:
    """A type's fields as Varlink writes them."""
    hints = typing.get_type_hints(kind)
    return ", ".join(
        f"{field.name}: {written(hints[field.name])}" for field in dataclasses.fields(kind)
    )


def test_the_interface_has_the_fields_of_the_status_types() -> None:
    """Each type by its name, with all its fields in their order, and no other."""
    kinds = [
        kind
        for kind in vars(status).values()
        if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and kind not in {status.SelfTest, status.Reseeded, status.Checked}
    ]
    text = re.sub(r"\( ", "(", described()).replace(" )", ")")
    assert len(kinds) >= 4
    assert set(re.findall(r"type \w+ \(.*?\)", text)) == {
        f"type {kind.__name__} ({fields(kind)})" for kind in kinds
    }
    assert f"TestSource(name: string) -> ({fields(status.SelfTest)})" in text
    assert f"Reseed() -> ({fields(status.Reseeded)})" in text
    assert f"Check() -> ({fields(status.Checked)})" in text
