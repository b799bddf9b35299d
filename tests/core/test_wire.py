"""The native protocol: round trips, every judgement, and any bytes at all."""

# pyright: reportPrivateUsage=false
# What a reader still holds is in its private buffer.

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hwentropy_core.errors import ProtocolError
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import (
    HEADER,
    Lease,
    Op,
    Refusal,
    Reply,
    ReplyFlag,
    ReplyReader,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    check_request,
    decode_lease,
    decode_reply,
    encode_lease,
    encode_reply,
    encode_request,
)

TAGS = st.integers(0, 0xFFFF)
READS = st.builds(
    Request, st.just(Op.READ), st.sampled_from([RequestFlag(n) for n in range(4)]), TAGS,
    st.integers(1, MAX_READ),
)  # fmt: skip
INFOS = st.builds(Request, st.just(Op.INFO), st.just(RequestFlag(0)), TAGS, st.just(0))
LEASES = st.builds(
    Request,
    st.just(Op.LEASE),
    st.sampled_from([RequestFlag(0), RequestFlag(1)]),
    TAGS,
    st.just(0),
)

#: Headers near the edges of what is allowed, among bytes that are anything.
HEADERS = st.builds(
    HEADER.pack,
    st.integers(0, 8),
    st.sampled_from([0, 1, 2, 3, 4, 255]),
    TAGS,
    st.sampled_from([0, 1, 2, 40, MAX_READ, MAX_READ + 1, 2**32 - 1]),
)
STREAMS = st.lists(st.one_of(HEADERS, st.binary(max_size=48)), max_size=8).map(b"".join)


def judged(header: bytes) -> Request | Refusal:
    """docs/protocol.md, "Requests", written a second time."""
    op, flags = header[0], header[1]
    tag, length = int.from_bytes(header[2:4], "big"), int.from_bytes(header[4:], "big")
    if op == 1 and flags in range(4) and length >= 1:
        if length <= 1048576:
            return Request(Op.READ, RequestFlag(flags), tag, length)
        return Refusal(Status.TOO_LONG, tag)
    if (op, flags, length) == (2, 0, 0):
        return Request(Op.INFO, RequestFlag(0), tag, 0)
    if (op, length) == (3, 0) and flags in range(2):
        return Request(Op.LEASE, RequestFlag(flags), tag, 0)
    return Refusal(Status.BAD_REQUEST, tag)


def requests(pieces: Iterable[bytes]) -> list[Request | Refusal]:
    """Everything a server sees in these pieces of a stream."""
    reader = RequestReader()
    events = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            events.append(event)
    assert len(reader) < HEADER.size
    return events


def replies(pieces: Iterable[bytes]) -> list[tuple[Reply, bytes] | str]:
    """Everything a client sees; a broken protocol is the last entry, as its message."""
    reader = ReplyReader()
    events: list[tuple[Reply, bytes] | str] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (event := reader.next()) is not None:
                events.append((event[0], bytes(event[1])))
        except ProtocolError as error:
            return [*events, str(error)]
    return events


def single(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in pairwise(edges)]


# Requests.


@given(st.lists(st.one_of(READS, INFOS, LEASES), max_size=6))
def test_requests_round_trip(asked: list[Request]) -> None:
    """What a client encodes is what a server reads, in the same order."""
    assert requests([b"".join(map(encode_request, asked))]) == asked


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=6))
@example(b"", [])
def test_any_bytes_are_the_same_requests_however_they_come(
    stream: bytes, places: list[int]
) -> None:
    """Whole, byte by byte or cut anywhere, a stream gives the same events and no exception."""
    whole = requests([stream])
    assert whole == requests(single(stream))
    assert whole == requests(cut(stream, places))


@given(STREAMS)
def test_any_bytes_are_judged_as_the_document_says(stream: bytes) -> None:
    """Each eight bytes are one event until a bad request, after which there is none."""
    expected = []
    for start in range(0, len(stream) - 7, 8):
        expected.append(judged(stream[start : start + 8]))
        if isinstance(expected[-1], Refusal) and expected[-1].status is Status.BAD_REQUEST:
            break
    assert requests([stream]) == expected


@pytest.mark.parametrize("op", range(256))
def test_every_op(op: int) -> None:
    """READ, INFO and LEASE are served; every other op is unknown."""
    length = 1 if op == Op.READ else 0
    result = check_request(op, 0, 7, length)
    if op in {1, 2, 3}:
        assert result == Request(Op(op), RequestFlag(0), 7, length)
    else:
        assert result == Refusal(Status.BAD_REQUEST, 7)


@pytest.mark.parametrize("flags", range(256))
def test_every_flag(flags: int) -> None:
    """A READ has two flags, a LEASE one, an INFO none; any other bit is a bad request."""
    read = check_request(Op.READ, flags, 7, 1)
    lease = check_request(Op.LEASE, flags, 7, 0)
    info = check_request(Op.INFO, flags, 7, 0)
    bad = Refusal(Status.BAD_REQUEST, 7)
    assert read == (Request(Op.READ, RequestFlag(flags), 7, 1) if flags < 4 else bad)
    assert lease == (Request(Op.LEASE, RequestFlag(flags), 7, 0) if flags < 2 else bad)
    assert info == (Request(Op.INFO, RequestFlag(0), 7, 0) if flags == 0 else bad)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, Refusal(Status.BAD_REQUEST, 7)),
        (1, Request(Op.READ, RequestFlag(0), 7, 1)),
        (1048576, Request(Op.READ, RequestFlag(0), 7, 1048576)),
        (1048577, Refusal(Status.TOO_LONG, 7)),
        (2**32 - 1, Refusal(Status.TOO_LONG, 7)),
    ],
)
def test_lengths_of_a_read(length: int, expected: Request | Refusal) -> None:
    """1 to 1,048,576 bytes; more is too long, none is a bad request."""
    assert check_request(Op.READ, 0, 7, length) == expected


def test_bad_flags_weigh_more_than_a_bad_length() -> None:
    """A request that is both malformed and too long is a bad request: it closes."""
    assert check_request(Op.READ, 4, 7, 2**32 - 1) == Refusal(Status.BAD_REQUEST, 7)


@pytest.mark.parametrize("op", [Op.INFO, Op.LEASE])
def test_a_length_where_there_is_none_is_bad(op: Op) -> None:
    """INFO and LEASE ask for no length."""
    assert check_request(op, 0, 7, 1) == Refusal(Status.BAD_REQUEST, 7)


def test_lease_layout_is_the_documented_one() -> None:
    """docs/protocol.md: generation, bytes, seconds, four zeros, the seed; and back."""
    lease = Lease(7, 1 << 30, 300, bytearray(range(32)))
    payload = encode_lease(lease)
    expected = "000000000000000700000000400000000000012c00000000"
    assert payload == bytes.fromhex(expected) + bytes(range(32))
    assert decode_lease(payload) == lease


def test_a_lease_shows_no_seed() -> None:
    """Neither its repr nor the error for a wrong length holds a byte of it."""
    assert "seed" not in repr(Lease(7, 1, 1, bytearray(32)))
    with pytest.raises(ProtocolError, match="lease of 55 bytes, not 56"):
        decode_lease(bytearray(55))


@pytest.mark.parametrize("status", [Status.TOO_LONG, Status.BAD_REQUEST])
def test_only_a_bad_request_closes(status: Status) -> None:
    """A refusal for length leaves the connection open."""
    assert Refusal(status, 0).closes == (status is Status.BAD_REQUEST)


def test_nothing_is_held_after_a_bad_request() -> None:
    """What a peer sends after it has been refused takes no memory and is never read."""
    reader = RequestReader()
    good = encode_request(Request(Op.READ, RequestFlag(0), 1, 1))
    reader.feed(bytes(8) + good)
    assert reader.next() == Refusal(Status.BAD_REQUEST, 0)
    assert len(reader) == 0
    reader.feed(good)
    assert len(reader) == 0
    assert reader.next() is None


def test_length_of_the_reader_is_what_it_holds() -> None:
    """`len` counts the bytes that no `next` has taken."""
    reader = RequestReader()
    reader.feed(memoryview(encode_request(Request(Op.INFO, RequestFlag(0), 1, 0)) + b"abc"))
    assert len(reader) == 11
    reader.next()
    assert len(reader) == 3


# Replies.


@given(st.lists(st.tuples(st.sampled_from(Status), TAGS, st.binary(max_size=80),
                          st.sampled_from([ReplyFlag(n) for n in range(8)]))))  # fmt: skip
def test_replies_round_trip(sent: list[tuple[Status, int, bytes, ReplyFlag]]) -> None:
    """Every status, and with OK flags and a payload, arrives as it was sent."""
    expected = []
    stream = b""
    for status, tag, data, flags in sent:
        payload = data if status is Status.OK else b""
        marked = flags if status is Status.OK else ReplyFlag(0)
        stream += encode_reply(status, tag, len(payload), marked) + payload
        expected.append((Reply(status, marked, tag, len(payload)), payload))
    assert replies([stream]) == expected


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=6))
@example(HEADER.pack(0, 0, 1, 3) + b"abc" + HEADER.pack(7, 0, 0, 0), [4, 9])
def test_any_bytes_are_the_same_replies_however_they_come(
    stream: bytes, places: list[int]
) -> None:
    """Whole, byte by byte or cut anywhere: the same replies, then the same ProtocolError."""
    whole = replies([stream])
    assert whole == replies(single(stream))
    assert whole == replies(cut(stream, places))


@given(st.binary(min_size=8, max_size=8))
def test_any_header_parses_or_raises_protocol_error(header: bytes) -> None:
    """A header is exactly what it encodes to again, or it is refused."""
    try:
        reply = decode_reply(header)
    except ProtocolError:
        return
    assert encode_reply(reply.status, reply.tag, reply.length, reply.flags) == header


@pytest.mark.parametrize("status", range(256))
def test_every_reply_status(status: int) -> None:
    """The seven statuses are read, every other number breaks the protocol."""
    header = HEADER.pack(status, 0, 0, 0)
    if status <= 6:
        assert decode_reply(header).status == status
    else:
        with pytest.raises(ProtocolError, match=f"unknown status {status}"):
            decode_reply(header)


@pytest.mark.parametrize("flags", range(256))
def test_every_reply_flag(flags: int) -> None:
    """DEGRADED, PAGE and NOT_LIVE are the only flags of a reply."""
    header = HEADER.pack(0, flags, 0, 1)
    if flags <= 7:
        assert decode_reply(header).flags == flags
    else:
        with pytest.raises(ProtocolError, match="unknown flags"):
            decode_reply(header)


@pytest.mark.parametrize(
    ("status", "length"), [(0, MAX_READ + 1), (0, 2**32 - 1), *((n, 1) for n in range(1, 7))]
)
def test_a_payload_where_none_may_be(status: int, length: int) -> None:
    """A server cannot make a client take more than 1 MiB, or a payload with an error."""
    with pytest.raises(ProtocolError, match=f"and {length} bytes"):
        decode_reply(HEADER.pack(status, 0, 0, length))


def test_the_largest_reply_is_read() -> None:
    """1,048,576 bytes of payload arrive whole, in pieces of any size."""
    payload = bytes(range(256)) * 4096
    stream = encode_reply(Status.OK, 9, MAX_READ) + payload
    pieces = [stream[i : i + 65_521] for i in range(0, len(stream), 65_521)]
    assert replies(pieces) == [(Reply(Status.OK, ReplyFlag(0), 9, MAX_READ), payload)]


def test_a_broken_reply_stays_broken() -> None:
    """A reader that raised raises again: there is no way to resume in the middle."""
    reader = ReplyReader()
    reader.feed(HEADER.pack(7, 0, 0, 0) + encode_reply(Status.OK, 1))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            reader.next()


def test_a_reader_lets_go_of_the_payload() -> None:
    """Output that was handed on is in the reader's buffer no longer."""
    reader = ReplyReader()
    reader.feed(encode_reply(Status.OK, 1, 64) + b"\xa5" * 64 + b"next")
    reader.next()
    assert bytes(reader._buffer) == b"next"
