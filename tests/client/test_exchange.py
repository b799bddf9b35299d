"""hwentropy.exchange: requests out, replies in, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy.errors import (
    FailedClosed,
    HwentropyError,
    NotPermitted,
    NotSeeded,
    OverQuota,
    ProtocolError,
    RequestRefused,
)
from hwentropy.exchange import MAX_INFO, WINDOW, Exchange, decode_info, read_flags
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import HEADER, ReplyFlag, Request, RequestReader, Status, encode_reply
from support.fake_server import INFO


def decode(data: bytes) -> list[Request]:
    """Read requests as a server does."""
    reader = RequestReader()
    reader.feed(data)
    found: list[Request] = []
    while (request := reader.next()) is not None:
        assert isinstance(request, Request)
        found.append(request)
    assert not len(reader)
    return found


@given(st.integers(1, 40 * MAX_READ), st.integers(0, 65535))
def test_any_size_is_split_into_valid_requests(size: int, tag: int) -> None:
    """Requests are at most 1 MiB, add up to the size, tagged in a row, within the window."""
    exchange = Exchange.read(size, 0, tag, "p")
    asked: list[Request] = []
    answered = 0
    while not exchange.finished:
        asked += decode(exchange.requests())
        assert len(asked) - answered <= WINDOW
        oldest = asked[answered]
        assert (
            exchange.accept(encode_reply(Status.OK, oldest.tag, oldest.length)) == oldest.length
        )
        answered += 1
    assert sum(r.length for r in asked) == size
    assert [r.tag for r in asked] == [(tag + i) % 65536 for i in range(len(asked))]
    assert exchange.next_tag == (tag + len(asked)) % 65536


def test_the_window_is_kept_full() -> None:
    """The first batch fills the window; each reply lets one more request out."""
    exchange = Exchange.read(10 * MAX_READ, 0, 0, "p")
    assert len(decode(exchange.requests())) == WINDOW
    assert exchange.requests() == b""
    exchange.accept(encode_reply(Status.OK, 0, MAX_READ))
    assert [r.tag for r in decode(exchange.requests())] == [WINDOW]


@pytest.mark.parametrize(
    ("block", "fresh", "flags"), [(True, False, 0), (False, False, 1), (True, True, 2)]
)
def test_options_become_flags(block: bool, fresh: bool, flags: int) -> None:  # noqa: FBT001 - parameters of a table
    """DONT_BLOCK is 1, PREDICTION_RESISTANCE 2, on every request."""
    exchange = Exchange.read(
        2 * MAX_READ, read_flags(block=block, prediction_resistance=fresh), 0, "p"
    )
    assert [r.flags for r in decode(exchange.requests())] == [flags, flags]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.NOT_SEEDED, NotSeeded),
        (Status.TOO_LONG, RequestRefused),
        (Status.NOT_PERMITTED, NotPermitted),
        (Status.OVER_QUOTA, OverQuota),
        (Status.FAILED_CLOSED, FailedClosed),
        (Status.BAD_REQUEST, RequestRefused),
    ],
)
def test_each_status_has_its_exception(status: Status, kind: type[HwentropyError]) -> None:
    """A refusal raises its own exception, which names the socket."""
    exchange = Exchange.read(1, 0, 5, "/some/path")
    exchange.requests()
    with pytest.raises(kind, match="/some/path") as caught:
        exchange.accept(encode_reply(status, 5))
    assert type(caught.value) is kind
    assert exchange.in_order == (status is not Status.BAD_REQUEST)


def test_a_refusal_with_more_on_the_way_leaves_no_order() -> None:
    """What follows a refusal in the stream belongs to nobody."""
    exchange = Exchange.read(2 * MAX_READ, 0, 0, "p")
    exchange.requests()
    with pytest.raises(OverQuota):
        exchange.accept(encode_reply(Status.OVER_QUOTA, 0))
    assert not exchange.in_order


@given(st.binary(min_size=8, max_size=8))
def test_any_header_is_taken_or_an_error_of_ours(header: bytes) -> None:
    """Eight hostile bytes give the length asked for, or a HwentropyError, nothing else."""
    exchange = Exchange.read(100, 0, 0x4142, "p")
    exchange.requests()
    try:
        assert exchange.accept(header) == 100
    except HwentropyError:
        assert HEADER.unpack(header) != (0, 0, 0x4142, 100)


def test_a_reply_to_no_request_is_a_protocol_error() -> None:
    """A server may not speak first."""
    with pytest.raises(ProtocolError):
        Exchange.read(10, 0, 0, "p").accept(encode_reply(Status.OK, 0, 10))


def test_degraded_stays_once_seen() -> None:
    """One degraded reply marks the whole call."""
    exchange = Exchange.read(2 * MAX_READ, 0, 0, "p")
    exchange.requests()
    exchange.accept(encode_reply(Status.OK, 0, MAX_READ, ReplyFlag.DEGRADED))
    exchange.accept(encode_reply(Status.OK, 1, MAX_READ))
    assert exchange.marks == ReplyFlag.DEGRADED


def test_an_info_is_one_request_of_no_length() -> None:
    """INFO is op 2 with all else zero, and its payload is bounded."""
    exchange = Exchange.info(9, "p")
    assert exchange.requests() == bytes([2, 0, 0, 9, 0, 0, 0, 0])
    assert exchange.requests() == b""
    with pytest.raises(ProtocolError):
        exchange.accept(encode_reply(Status.OK, 9, MAX_INFO + 1))


def test_info_is_read_and_unknown_keys_are_ignored() -> None:
    """The documented keys become the dataclass."""
    info = decode_info(INFO, "p")
    assert (info.protocols, info.version, info.state) == ((1,), "9.9", "ok")
    assert (info.generation, info.max_read) == (7, 1048576)


@given(st.binary(max_size=200))
def test_any_info_payload_is_read_or_a_protocol_error(payload: bytes) -> None:
    """Hostile bytes raise ProtocolError and nothing else."""
    with pytest.raises(ProtocolError):
        decode_info(payload, "p")
