"""Who a rule is for, as it is written in the configuration."""

import os

import pytest

from hwentropyd.config.principals import Principal, of, parse


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ("*", Principal("everybody")),
        ("user:root", Principal("user", "root", 0)),
        ("user:4711", Principal("user", "4711", 4711)),
        ("group:root", Principal("group", "root", 0)),
        ("unit:a.service", Principal("unit", "a.service")),
        ("unit:a@b:c.scope", Principal("unit", "a@b:c.scope")),
    ],
)
def test_what_is_written_is_read(text: str, principal: Principal) -> None:
    """A user and a group by name or number, a unit whether it exists or not."""
    assert parse(text) == principal


@pytest.mark.parametrize("text", ["", "root", "user:", "users:root", "everybody:x", ":root"])
def test_what_is_no_principal_is_said_with_what_one_is(text: str) -> None:
    """All four ways to write one."""
    with pytest.raises(ValueError, match=r'^each must be "\*", "user:NAME", "group:NAME" or '):
        parse(text)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("user", "no-such-user", "there is no user 'no-such-user' on this machine"),
        ("group", "no-such-group", "there is no group 'no-such-group' on this machine"),
        ("user", "a\0b", r"there is no user 'a\\x00b' on this machine"),
        ("user", "\u00b2", "there is no user '\u00b2' on this machine"),
        ("unit", "nginx", "'nginx' is no name of a unit: write NAME.service"),
        ("unit", "nginx.socket", "'nginx.socket' is no name of a unit"),
    ],
)
def test_who_is_nobody_is_an_error(kind: str, name: str, said: str) -> None:
    """In a sentence; a rule for nobody would go unnoticed."""
    with pytest.raises(ValueError, match=f"^{said}"):
        of(kind, name)


def test_a_name_is_looked_up_once() -> None:
    """What a rule compares with later is a number."""
    assert of("user", str(os.getuid())).number == os.getuid()
