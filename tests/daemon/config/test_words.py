"""What a key takes, in words."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from hwentropyd.config.words import allowed, shortened, shown


class Keys(msgspec.Struct):
    """One key of each type."""

    switch: bool = True
    whole: int = 1
    ranged: Annotated[int, Meta(ge=1, le=64)] = 1
    least: Annotated[float, Meta(ge=0.5)] = 1.0
    between: Annotated[float, Meta(gt=0, lt=2)] = 1.0
    text: str = ""
    choice: Literal["one", "two"] = "one"
    optional: Annotated[int, Meta(ge=3)] | None = None
    either: bool | str = True
    many: tuple[str, ...] = ()
    other: dict[str, int] = {}
    renamed: int = msgspec.field(default=1, name="re-named")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("switch", "true or false"),
        ("whole", "a whole number"),
        ("ranged", "a whole number from 1 to 64"),
        ("least", "a number at least 0.5"),
        ("between", "a number above 0, below 2"),
        ("text", "a string"),
        ("choice", 'one of "one", "two"'),
        ("optional", "a whole number at least 3"),
        ("either", "true or false or a string"),
        ("many", "an array, each a string"),
        ("other", "a value of type dict"),
        ("re-named", "a whole number"),
    ],
)
def test_what_a_key_takes_is_said_in_words(key: str, words: str) -> None:
    """From the same annotation that it is checked by; what is not set is left out."""
    assert allowed(Keys, key) == words


def test_only_a_structure_has_keys() -> None:
    """Else it is a bug of ours."""
    with pytest.raises(TypeError, match=r"^int is not a structure"):
        allowed(int, "x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        ('say "a"', r'"say \"a\""'),
        ({"a": 1}, "a table"),
        ([1], "an array"),
    ],
)
def test_a_value_is_shown_as_toml_writes_it(value: Any, text: str) -> None:
    """A table or an array by what it is."""
    assert shown(value) == text


@pytest.mark.parametrize(
    "value", ["x" * 100_000, 16**100_000, -(16**100_000)], ids=["text", "number", "negative"]
)
def test_a_long_value_is_cut_short(value: Any) -> None:
    """A number of any length too, which Python would not write in decimal digits."""
    assert len(shown(value)) == 61
    assert shown(value).endswith("…")


def test_a_short_text_is_not_cut() -> None:
    """Sixty characters are short."""
    assert shortened("x" * 60) == "x" * 60
