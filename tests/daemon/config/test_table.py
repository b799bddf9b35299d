"""One source's table, checked against its kind's keys."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from hwentropyd.config.table import TableError, check, check_keys, convert


class Keys(msgspec.Struct, forbid_unknown_fields=True):
    """Two keys, of which one has to be set, that cannot both be large."""

    needed: Annotated[int, Meta(ge=1)]
    other: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError over both keys."""
        if self.needed + self.other > 10:
            raise ValueError("needed and other are at most 10 together")


def test_a_table_that_suits_its_kind_is_converted() -> None:
    """With the source's own claim, and defaults for what it does not say."""
    checked = check("os", {"deadline": 3})
    assert (checked.config.kind, checked.config.deadline) == ("os", 3.0)
    assert checked.config.credit
    assert checked.description.group


def test_credit_is_as_the_kind_allows() -> None:
    """A recording is never credited, whatever its table says; and anybody may give it up."""
    assert not check("os", {"credit": False}).config.credit
    assert not check("replay", {"path": "/x", "credit": True}).config.credit


@pytest.mark.parametrize(
    ("kind", "table", "path", "said"),
    [
        ("nothing", {"kind": "nothing"}, ("kind",), "nothing"),
        ("nothing", {}, (), "nothing"),
        ("os", {"colour": 1}, ("colour",), "unknown key; allowed are "),
        ("os", {"deadline": "x"}, ("deadline",), 'must be a number from .*, not "x"'),
        ("os", {"min_entropy": 9}, ("min_entropy",), "must be at most 8, the bits of a sample"),
        ("replay", {}, ("path",), "has to be set: a string"),
    ],
)
def test_an_error_is_of_the_key_that_is_wrong(
    kind: str, table: dict[str, Any], path: tuple[str, ...], said: str
) -> None:
    """With what it takes; of the table where no one key is to blame."""
    with pytest.raises(TableError, match=said) as caught:
        check(kind, table)
    assert caught.value.path == path


def test_what_is_no_table_is_said_to_be_none() -> None:
    """Whatever stands there."""
    with pytest.raises(TableError, match=r"^must be a table$"):
        check_keys([1], Keys)


def test_each_key_is_checked_by_itself() -> None:
    """A wrong value is told although another key is missing or wrong too."""
    with pytest.raises(TableError) as caught:
        check_keys({"other": "x", "needed": 0}, Keys)
    assert caught.value.path in {("other",), ("needed",)}
    with pytest.raises(TableError) as caught:
        check_keys({"needed": 0}, Keys)
    assert caught.value.path == ("needed",)


def test_keys_that_cannot_go_together_are_the_tables_error() -> None:
    """In the words of the structure that knows."""
    with pytest.raises(TableError, match=r"^needed and other are at most 10") as caught:
        convert({"needed": 6, "other": 6}, Keys)
    assert caught.value.path == ()
    assert convert({"needed": 5, "other": 5}, Keys) == Keys(5, 5)
