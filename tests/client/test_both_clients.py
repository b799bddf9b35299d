"""Both clients against a daemon that behaves: every call, every kind of buffer."""

import array
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from hwentropy_core.limits import MAX_READ, SMALL_BYTES
from hwentropy_core.wire import ReplyFlag, Request, RequestFlag
from support.fake_server import FakeDaemon, Peer

SIZES = (1, 32, SMALL_BYTES, SMALL_BYTES + 1, 65536, MAX_READ, MAX_READ + 1, 6 * MAX_READ + 7)


@pytest.mark.parametrize("size", SIZES)
def test_read_delivers_exactly_what_was_sent(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Two reads in a row get all the bytes, in order, each once, on one connection."""
    client = make_client()
    first, second = client.read(size), client.read(size)
    assert type(first) is bytes
    assert first + second == daemon.handed_out
    assert daemon.connections == 1


@pytest.mark.parametrize("size", SIZES)
def test_read_into_fills_the_callers_memory(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """The buffer holds what was sent, and nothing beyond its end is touched."""
    memory = bytearray(b"\xaa" * (size + 16))
    with memoryview(memory) as whole, whole[8 : 8 + size] as inside:
        make_client().read_into(inside)
    assert memory[8 : 8 + size] == daemon.handed_out
    assert memory[:8] == memory[8 + size :] == b"\xaa" * 8


@pytest.mark.parametrize(
    "buffer",
    [bytearray(24), array.array("d", [0.0] * 3), mmap.mmap(-1, 24), memoryview(bytearray(24))],
    ids=["bytearray", "array", "mmap", "memoryview"],
)
def test_any_writable_buffer_will_do(
    buffer: Any, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Items of any size, as long as the memory is contiguous."""
    make_client().read_into(buffer)
    assert bytes(memoryview(buffer).cast("B")) == daemon.handed_out


def test_a_read_only_buffer_is_refused(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """A TypeError, before anything is asked for."""
    with pytest.raises(TypeError):
        make_client().read_into(bytes(8))
    assert not daemon.requests


def test_nothing_asked_is_nothing_sent(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Zero bytes need no daemon, and fewer are a ValueError."""
    client = make_client()
    assert client.read(0) == b""
    client.read_into(bytearray())
    with pytest.raises(ValueError, match="-1"):
        client.read(-1)
    assert not daemon.connections


def test_options_reach_the_daemon(daemon: FakeDaemon, make_client: Callable[..., Any]) -> None:
    """`block=False` and `prediction_resistance=True` travel as flags, on every path."""
    client = make_client()
    expected = RequestFlag.DONT_BLOCK | RequestFlag.PREDICTION_RESISTANCE
    for size in (8, 5000, MAX_READ + 1):
        client.read(size, block=False, prediction_resistance=True)
    client.read_into(bytearray(8), block=False, prediction_resistance=True)
    flags = [request.flags for _, request in daemon.requests if isinstance(request, Request)]
    assert flags == [expected] * 5


def test_info_is_typed(daemon: FakeDaemon, make_client: Callable[..., Any]) -> None:
    """INFO goes between two reads on the same connection."""
    client = make_client()
    client.read(1)
    info = client.info()
    client.read(1)
    assert (info.protocols, info.state, info.generation) == ((1,), "ok", 7)
    assert daemon.connections == 1


@pytest.mark.parametrize("size", [16, 5000, MAX_READ + 1])
def test_degraded_is_told_and_taken_back(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """`degraded` speaks of the last read only, and the bytes are delivered."""

    def degraded(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(peer.reply(request, ReplyFlag.DEGRADED if len(daemon.requests) == 1 else 0))

    daemon.handler = degraded
    client = make_client()
    assert not client.degraded
    data = client.read(min(size, MAX_READ))
    assert client.degraded
    data += client.read(size)
    assert not client.degraded
    assert data == daemon.handed_out


def test_a_reply_in_single_bytes_is_put_together(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """How the stream is cut up does not matter."""

    def drip(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        for byte in peer.reply(request):
            peer.send(bytes([byte]))

    daemon.handler = drip
    client = make_client()
    buffer = bytearray(50)
    data = client.read(50)
    client.read_into(buffer)
    assert data + buffer == daemon.handed_out
    assert client.info().generation == 7


def test_tags_wrap_around(daemon: FakeDaemon, make_client: Callable[..., Any]) -> None:
    """After 65,536 requests the tags start again and the connection lives on."""
    client = make_client()
    client.read(1)
    inner = getattr(client, "client", client)
    inner._connection._tag = 0xFFFE
    data = client.read(4 * MAX_READ)
    assert data == daemon.handed_out[1:]
    assert client.read(1) == daemon.handed_out[-1:]
    tags = [request.tag for _, request in daemon.requests]
    assert tags == [1, 0xFFFE, 0xFFFF, 0, 1, 2]
