"""Varlink framing: any bytes, what is refused, and what it costs."""

import json
import os
import time
import traceback
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwentropy_core.errors import ProtocolError
from hwentropy_core.limits import MAX_CONTROL_MESSAGE
from hwentropy_core.varlink import MessageReader, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
MESSAGES = st.dictionaries(st.text(), JSON, max_size=4)


def read(pieces: Iterable[bytes], limit: int = MAX_CONTROL_MESSAGE) -> list[Any]:
    """The messages in these pieces of a stream."""
    reader = MessageReader(limit)
    return [message for piece in pieces for message in reader.feed(piece)]


def single(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


@given(st.lists(MESSAGES, max_size=4))
def test_messages_round_trip(messages: list[dict[str, Any]]) -> None:
    """What one end encodes the other reads, whole and byte by byte."""
    stream = b"".join(map(encode, messages))
    assert read([stream]) == messages
    assert read(single(stream)) == messages


@given(st.lists(st.binary(max_size=20) | MESSAGES.map(encode)).map(b"".join))
@example(b"\0")
@example(b'{"a":1}\0{"a":\0')
def test_any_bytes_are_messages_or_a_protocol_error(stream: bytes) -> None:
    """Whole and byte by byte, a stream is read or refused alike; nothing else is raised."""
    outcomes: list[list[Any] | None] = []
    for pieces in ([stream], single(stream)):
        try:
            outcomes.append(read(pieces))
        except ProtocolError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def test_a_nul_inside_a_string_is_escaped() -> None:
    """The only NUL of an encoded message is its end."""
    assert encode({"a": "\0"}).count(b"\0") == 1


REFUSED = {
    "empty": b"",
    "not JSON": b"garbage",
    "half": b'{"a":',
    "two values": b"{}{}",
    "array": b"[]",
    "number": b"1",
    "null": b"null",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "too large for a float": b'{"a":1e999}',
    "too many digits": b'{"a":' + b"1" * 5000 + b"}",
    "name twice": b'{"method":"a","method":"b"}',
    "name twice, deep": b'{"parameters":[{"a":1,"a":1}]}',
    "not UTF-8": b'{"a":"\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "\ufeff\u4141".encode("utf-16-le"),
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "half a surrogate pair in a name, deep": b'{"a":[{"\\uDC00":1}]}',
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_what_is_not_a_message_is_refused(raw: bytes) -> None:
    """One ProtocolError; neither its text nor a printed cause holds the peer's bytes."""
    with pytest.raises(ProtocolError) as caught:
        read([raw + b"\0"])
    assert str(caught.value) in {
        "control message is not JSON",
        "control message is not a JSON object",
    }
    printed = "".join(traceback.format_exception(caught.value))
    assert "JSONDecodeError" not in printed
    assert "UnicodeDecodeError" not in printed


def test_a_surrogate_pair_is_one_character() -> None:
    """Escaped, as JSON lets a peer write it."""
    assert read([b'{"a":"\\ud83c\\udfb2"}\0']) == [{"a": "\U0001f3b2"}]


def test_a_name_of_a_file_that_is_no_text_can_be_told() -> None:
    """A question mark for each byte that is no character; the other end reads it."""
    assert read([encode({"a": os.fsdecode(b"/run/caf\xe9")})]) == [{"a": "/run/caf?"}]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_not_sent(number: float) -> None:
    """Encoding raises rather than send what the other end refuses."""
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": number})


def padded(size: int) -> bytes:
    raw = json.dumps({"a": ""}).encode()
    return raw.replace(b'""', b'"' + b"x" * (size - len(raw)) + b'"')


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_limit_counts_the_message_without_its_end(pieces: int) -> None:
    """A message of exactly the limit is read, one byte more is refused, cut or whole."""
    for size, fits in ((64, True), (65, False)):
        stream = padded(size) + b"\0"
        cut = [stream[i : i + pieces] for i in range(0, len(stream), pieces)]
        if fits:
            assert len(read(cut, limit=64)) == 1
        else:
            with pytest.raises(ProtocolError, match="more than 64 bytes"):
                read(cut, limit=64)


def test_limit_is_held_before_the_message_ends() -> None:
    """A message without end is refused as soon as it passes the limit."""
    reader = MessageReader(64)
    assert reader.feed(b"x" * 64) == []
    with pytest.raises(ProtocolError, match="more than 64 bytes"):
        reader.feed(b"x")


def test_limit_is_per_message() -> None:
    """Many messages in one piece may be more than the limit together."""
    assert len(read([b"{}\0" * 100], limit=2)) == 100


def test_the_largest_message_byte_by_byte_is_cheap() -> None:
    """A peer that sends single bytes pays one call each and costs no more than that."""
    stream = padded(MAX_CONTROL_MESSAGE) + b"\0"
    begin = time.process_time()
    assert len(read(single(stream))) == 1
    # 262,145 calls take about 0.2 s of CPU; looking at all that is held at each
    # call took more than ten times this bound.
    assert time.process_time() - begin < 3
