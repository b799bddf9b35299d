"""Over quota: clients pause, ask again and go on, and say so when their time is over."""

import select
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from hwentropy import NotPermitted, OverQuota, backoff
from hwentropy.aio.connection import Connection as AsyncConnection
from hwentropy.backoff import LONGEST_PAUSE, PATIENCE, Backoff
from hwentropy.blocking import connection as connection_module
from hwentropy.generator import Generator
from hwentropy.lease import connection as lease_module
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import Request, Status, encode_reply
from support.fake_leases import Leases
from support.fake_server import EveryOther, FakeDaemon, Handler, Peer, honest

SIZES = (16, 5000, 3 * MAX_READ)


def refusing(times: int, then: Handler = honest) -> Handler:
    """A handler that answers so many requests OVER_QUOTA first."""
    left = times

    def handler(peer: Peer, request: object) -> None:
        nonlocal left
        assert isinstance(request, Request)
        left -= 1
        if left >= 0:
            peer.send(encode_reply(Status.OVER_QUOTA, request.tag))
        else:
            then(peer, request)

    return handler


# The pauses.


def test_pauses_double_up_to_a_second(pauses: list[float]) -> None:
    """Each is between half and the whole of 10 ms, 20 ms, and so on."""
    waiting = Backoff(None)
    for step in (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1):
        assert waiting.wait()
        assert step / 2 <= pauses[-1] <= step


def test_pauses_differ_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the clock shows below a microsecond."""
    firsts = []
    for now in (1_000_000, 1_000_250, 1_000_999):
        monkeypatch.setattr(backoff, "monotonic_ns", lambda now=now: now)
        firsts.append(Backoff(None).pause())
    assert firsts == [0.005, 0.00625, pytest.approx(0.009995)]


def test_no_pause_ends_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up before that pause, not after it."""
    monkeypatch.setattr(backoff, "monotonic_ns", lambda: 10**9)
    assert Backoff(1.0051).pause() is not None
    assert Backoff(1.0049).pause() is None


# The clients.


@pytest.mark.parametrize("size", SIZES)
def test_a_read_goes_on_when_the_share_is_there_again(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any], pauses: list[float]
) -> None:
    """After a few pauses, as if nothing had been: every byte as it was sent."""
    daemon.handler = refusing(3)
    assert make_client().read(size) == daemon.handed_out[-size:]
    assert pauses


def test_a_refusal_in_the_middle_keeps_what_has_come(
    daemon: FakeDaemon, make_client: Callable[..., Any], pauses: list[float]
) -> None:
    """A quota smaller than the read: what was not given is asked for again."""
    daemon.handler = EveryOther()
    client = make_client()
    buffer = bytearray(4 * MAX_READ)
    client.read_into(buffer)
    assert client.degraded
    handed_out = bytes(daemon.handed_out)
    for start in range(0, len(buffer), MAX_READ):
        assert bytes(buffer[start : start + MAX_READ]) in handed_out
    pieces = {bytes(buffer[start : start + 16]) for start in range(0, len(buffer), MAX_READ)}
    assert len(pieces) == 4


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("size", [16, 3 * MAX_READ])
def test_the_end_is_the_caller_s(
    size: int,
    timeout: float | None,
    daemon: FakeDaemon,
    make_client: Callable[..., Any],
    pauses: list[float],
) -> None:
    """OverQuota within the timeout, or within 30 s where there is none; zeros in the buffer."""
    daemon.handler = refusing(1000)
    buffer = bytearray(b"\xaa" * size)
    with pytest.raises(OverQuota, match="over its quota"):
        make_client(timeout=timeout).read_into(buffer)
    assert not any(buffer)
    most = timeout or PATIENCE
    assert most - 2 * LONGEST_PAUSE < sum(pauses) < most
    assert len(pauses) > 6


def test_a_timeout_after_a_refusal_is_the_refusal(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """What the call waited for first is told."""

    def silent(_peer: Peer, _request: object) -> None:
        pass

    daemon.handler = refusing(1, silent)
    with pytest.raises(OverQuota):
        make_client(timeout=0.5).read(16)


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_lease_is_waited_for(
    timeout: float | None, daemon: FakeDaemon, leases: Leases, pauses: list[float]
) -> None:
    """A draw gets its lease when the share is there again, else OverQuota in time."""
    with closing(Generator()) as generator:
        generator.configure(path=daemon.path, timeout=timeout)
        daemon.handler = refusing(3, leases)
        assert len(generator.random_bytes(32)) == 32
        assert len(pauses) == 3
        leases.page.generation += 1
        daemon.handler = refusing(1000)
        buffer = bytearray(b"\xaa" * 32)
        before = sum(pauses)
        with pytest.raises(OverQuota):
            generator.fill(buffer)
        assert not any(buffer)
        assert sum(pauses) - before < (timeout or PATIENCE)


def test_others_draw_while_one_waits(
    daemon: FakeDaemon, make_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is free in a pause: a client can be closed from there, which ends the call."""
    client = make_client()
    inner = getattr(client, "client", client)
    if inner is not client:
        pytest.skip("one event loop has one thread")
    daemon.handler = refusing(1000)
    monkeypatch.setattr(backoff, "sleep", lambda _: client.close())
    with pytest.raises(ValueError, match="closed"):
        client.read(16)


# A connection that is refused.


def hung_up(sock: socket.socket) -> None:
    """Wait until the other end has closed."""
    poll = select.poll()
    poll.register(sock, select.POLLHUP)
    assert poll.poll(30_000)


def late(monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon) -> None:
    """Have clients send on their first connection only when the daemon has refused it.

    It serves the later ones.
    """

    def wait(sock: socket.socket) -> None:
        hung_up(sock)
        daemon.at_connect = b""

    def connect(*arguments: Any) -> socket.socket:
        sock = real(*arguments)
        if daemon.at_connect:
            wait(sock)
        return sock

    async def connect_async(self: AsyncConnection) -> None:
        await real_async(self)
        if daemon.at_connect:
            wait(self._sock)

    real, real_async = connection_module.connect, AsyncConnection.connect
    monkeypatch.setattr(connection_module, "connect", connect)
    monkeypatch.setattr(lease_module, "connect", connect)
    monkeypatch.setattr(AsyncConnection, "connect", connect_async)


@pytest.mark.parametrize("size", SIZES)
def test_a_refusal_is_heard_by_who_cannot_send(
    size: int,
    daemon: FakeDaemon,
    make_client: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """EPIPE: what the daemon said before it closed counts, and nothing is asked elsewhere."""
    daemon.at_connect = encode_reply(Status.NOT_PERMITTED, 0)
    late(monkeypatch, daemon)
    client = make_client()
    with pytest.raises(NotPermitted, match="ask its administrator"):
        client.read(size)
    assert daemon.connections == 1
    assert len(client.read(size)) == size


def test_a_refusal_is_heard_by_who_leases(
    daemon: FakeDaemon, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a lease."""
    daemon.at_connect = encode_reply(Status.NOT_PERMITTED, 0)
    late(monkeypatch, daemon)
    with closing(Generator()) as generator:
        generator.configure(path=daemon.path)
        with pytest.raises(NotPermitted):
            generator.random_bytes(16)
        assert daemon.connections == 1
        assert len(generator.random_bytes(16)) == 16


def test_only_a_first_reply_refuses_a_connection(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """A later one with tag 0 is of no request: the protocol is broken."""

    def second(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        ours = len(daemon.requests) == 1
        peer.send(peer.reply(request) if ours else encode_reply(Status.NOT_PERMITTED, 0))

    daemon.handler = second
    client = make_client()
    client.read(16)
    with pytest.raises(Exception, match="reply with tag 0"):
        client.read(16)
