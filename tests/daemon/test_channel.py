"""What supervisor and worker say to each other."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd import channel
from hwentropyd.channel import MESSAGE_BYTES, Message, decode
from hwentropyd.role import Role

KINDS = [
    one
    for one in vars(channel).values()
    if isinstance(one, type) and issubclass(one, Message) and one is not Message
]
U64 = st.integers(0, 2**64 - 1)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: U64,
    Role: st.sampled_from(Role),
    bool: st.booleans(),
    bytearray: st.binary(min_size=32, max_size=32).map(bytearray),
}


#: Fields that the kernel gives with 32 bits.
NARROW = {
    "uid": st.integers(0, 2**32 - 1),
    "gid": st.integers(0, 2**32 - 1),
    "pid": st.integers(0, 2**31 - 1),
}


def _any(kind: type[Any]) -> st.SearchStrategy[Any]:
    values = {one.name: NARROW.get(one.name, VALUES[one.type]) for one in fields(kind)}
    return st.builds(kind, **values)


MESSAGES = st.one_of([_any(kind) for kind in KINDS])


def test_every_kind_is_known_by_its_own_byte() -> None:
    """None is taken for another."""
    assert len(KINDS) >= 11
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert all(len(kind.kind) == 1 for kind in KINDS)


@given(MESSAGES)
def test_what_is_encoded_is_what_is_decoded(message: Message) -> None:
    """And fits into one datagram."""
    datagram = message.encode()
    assert decode(datagram) == message
    assert len(datagram) <= MESSAGE_BYTES


@given(st.binary(max_size=MESSAGE_BYTES))
def test_anything_else_is_a_value_error(datagram: bytes) -> None:
    """Nothing but ValueError, and nothing of the datagram in its text."""
    try:
        message = decode(datagram)
    except ValueError as error:
        said = str(error)
    else:
        # A flag's byte has many ways to say yes.
        assert decode(message.encode()) == message
        assert len(message.encode()) == len(datagram)
        return
    assert said in {
        "unknown kind of message between supervisor and worker",
        "message of the wrong size between supervisor and worker",
        "unknown role in a message between supervisor and worker",
    }


@given(MESSAGES, st.integers(1, 60))
def test_a_message_of_another_size_is_refused(message: Message, more: int) -> None:
    """Cut short or with something behind it."""
    datagram = message.encode()
    for wrong in (datagram + bytes(more), datagram[: -min(more, len(datagram))]):
        with pytest.raises(ValueError, match="between supervisor and worker"):
            decode(wrong)


def test_a_seed_is_not_shown() -> None:
    """Its repr holds neither the seed nor a part of it."""
    message = channel.Seed(1, bytearray(b"MARKERMARKERMARKERMARKERMARKER!!"))
    assert "MARKER" not in repr(message)
    assert "MARKER" not in str(message)
