"""Who a rule of the configuration is for: everybody, a user, a group, a systemd unit."""

import grp
import pwd
from typing import Final

import msgspec

_KINDS: Final = ("user", "group", "unit")

#: What a principal is written as, for errors.
WRITTEN: Final = '"*", "user:NAME", "group:NAME" or "unit:NAME.service"'


class Principal(msgspec.Struct, frozen=True):
    """One of them."""

    kind: str
    """`everybody`, `user`, `group` or `unit`."""
    name: str = ""
    number: int = -1
    """Of a user or group."""


def parse(text: str) -> Principal:
    """Read one as it is written; ValueError with a sentence when it is none."""
    if text == "*":
        return Principal("everybody")
    kind, _, name = text.partition(":")
    if kind not in _KINDS or not name:
        raise ValueError(f"each must be {WRITTEN}, not {text!r}")
    return of(kind, name)


def of(kind: str, name: str) -> Principal:
    """The user, group or unit of this name; ValueError where there is none.

    A user or group may be given by its number.  A unit need not exist: it may not have
    been started yet.
    """
    if kind == "unit":
        if not name.endswith((".service", ".scope")):
            raise ValueError(
                f"{name!r} is no name of a unit: write NAME.service or NAME.scope, in quotes"
            )
        return Principal(kind, name)
    if name.isascii() and name.isdecimal():
        return Principal(kind, name, int(name))
    try:
        number = pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"there is no {kind} {name!r} on this machine") from None
    return Principal(kind, name, number)
