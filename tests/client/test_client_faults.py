"""Both clients against a daemon that misbehaves, stops, or makes them wait."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwentropy import (
    DaemonUnavailable,
    Timeout,
)
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import Request, Status, encode_reply
from support.fake_server import FakeDaemon, Hangup, Peer, answer, honest

#: One for each path through the clients: one receive, in place, pipelined.
SIZES = (16, 5000, 3 * MAX_READ)


@pytest.mark.parametrize("size", SIZES)
def test_a_disconnect_in_a_reply_is_not_papered_over(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Half a reply is never asked for again: DaemonUnavailable, and zeros in the buffer."""
    client = make_client()
    client.read(1)
    daemon.handler = answer(
        lambda r: encode_reply(Status.OK, r.tag, r.length) + b"\x55" * (r.length // 2),
        hang_up=True,
    )
    buffer = bytearray(b"\xaa" * size)
    with pytest.raises(DaemonUnavailable, match="before it had answered"):
        client.read_into(buffer)
    assert not any(buffer)
    assert daemon.connections == 1


def test_a_disconnect_in_a_header_is_not_papered_over(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """One byte of the reply is enough to forbid the second attempt."""
    client = make_client()
    client.read(1)
    daemon.handler = answer(lambda _: b"\0", hang_up=True)
    with pytest.raises(DaemonUnavailable):
        client.read(16)
    assert daemon.connections == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_restart_between_two_calls_is_not_noticed(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """The call after a restart connects anew and succeeds; so does INFO."""
    client = make_client()
    first = client.read(size)
    daemon.restart()
    second = client.read(size)
    assert first + second == daemon.handed_out
    daemon.restart()
    assert client.info().generation == 7
    assert daemon.connections == 3


def test_a_connection_that_ends_with_the_request_unanswered_is_retried_once(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """One new attempt on a new connection; when that fails too, DaemonUnavailable."""
    client = make_client()
    client.read(1)

    def hang_up(peer: Peer, request: object) -> None:
        raise Hangup

    daemon.handler = hang_up
    with pytest.raises(DaemonUnavailable):
        client.read(16)
    assert [number for number, _ in daemon.requests] == [1, 1, 2]
    with pytest.raises(DaemonUnavailable):
        client.read(16)  # nothing is open: the first failure counts
    assert [number for number, _ in daemon.requests] == [1, 1, 2, 3]


def test_a_daemon_that_is_gone_says_how_to_start_it(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Stopped between two calls, with its socket left behind: the path and the remedy."""
    client = make_client()
    client.read(1)
    daemon.stop()
    with pytest.raises(DaemonUnavailable, match=r"entropy\.sock; start it with `systemctl"):
        client.read(1)
    daemon.start()
    assert len(client.read(1)) == 1


@pytest.mark.parametrize("path", ["nothing", "file/entropy.sock", "file"])
def test_no_daemon_raises_at_once(
    path: str, tmp_path: Path, make_client: Callable[..., Any]
) -> None:
    """No socket, no directory, no listener: DaemonUnavailable, also with no timeout."""
    (tmp_path / "file").touch()
    with pytest.raises(DaemonUnavailable, match="no daemon answers at"):
        make_client(tmp_path / path, timeout=None).read(1)


def test_a_path_too_long_for_a_socket_is_said(make_client: Callable[..., Any]) -> None:
    """The 107 bytes of sun_path are the system's limit, told as an error of ours."""
    with pytest.raises(DaemonUnavailable, match="too long"):
        make_client(Path("/" + "x" * 200)).read(1)


@pytest.mark.parametrize("size", SIZES)
def test_a_slow_daemon_times_out(
    size: int, daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Timeout after the client's own limit; the late reply goes to nobody."""
    release = threading.Event()

    def late(peer: Peer, request: Any) -> None:
        assert release.wait(30)
        honest(peer, request)

    daemon.handler = late
    client = make_client(timeout=0.05)
    buffer = bytearray(b"\xaa" * size)
    with pytest.raises(Timeout, match=r"within 0\.05 s") as caught:
        client.read_into(buffer)
    assert isinstance(caught.value, TimeoutError)
    assert not any(buffer)
    daemon.handler = honest
    getattr(client, "client", client)._timeout = 30
    assert client.read(4) == daemon.handed_out
    assert daemon.requests[-1][0] == 2
    release.set()


def test_the_timeout_counts_for_the_whole_call(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """A daemon that sends a byte now and then does not keep the call alive for ever."""
    stop = threading.Event()

    def drip(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        for byte in peer.reply(request):
            if stop.wait(0.02):
                return
            peer.send(bytes([byte]))

    daemon.handler = drip
    client = make_client(timeout=0.2)
    try:
        with pytest.raises(Timeout):
            client.read(1000)  # 20 s at this pace
    finally:
        stop.set()


def test_a_timeout_of_nothing_is_refused(make_client: Callable[..., Any]) -> None:
    """Zero or less is no time to answer in."""
    with pytest.raises(ValueError, match="above 0"):
        make_client(timeout=0)


def test_a_closed_client_stays_closed(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """ValueError, as for a closed file; closing twice is fine."""
    client = make_client()
    client.read(1)
    client.close()
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.read(1)
    assert daemon.connections == 1


def test_no_error_shows_what_was_read(
    daemon: FakeDaemon, make_client: Callable[..., Any]
) -> None:
    """Neither the message nor the chain of an exception quotes the peer's bytes."""
    daemon.handler = answer(
        lambda r: encode_reply(Status.OK, r.tag, r.length) + b"secret", hang_up=True
    )
    with pytest.raises(DaemonUnavailable) as caught:
        make_client().read(5000)
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
