"""The C and C++ clients, direct mode, a daemon that misbehaves, stops, or makes them wait."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from hwentropy import Client, DaemonUnavailable
from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import Request, Status, encode_reply
from support.compiled import Native
from support.fake_server import EveryOther, FakeDaemon, Hangup, Peer, answer, honest

pytestmark = pytest.mark.process

#: One that comes at once, one in several pieces, one in several requests.
FEW = (16, 65536, 3 * MAX_READ)


@pytest.mark.parametrize("size", FEW)
def test_a_disconnect_in_a_reply_is_not_papered_over(
    size: int, daemon: FakeDaemon, native: Native
) -> None:
    """Half a reply is never asked for again: daemon_unavailable, zeros in the buffer."""
    native.open(daemon.path)
    native.draw(1)
    daemon.handler = answer(
        lambda r: encode_reply(Status.OK, r.tag, r.length) + b"\x55" * (r.length // 2),
        hang_up=True,
    )
    kind, message = native.refused(size)
    assert kind == "daemon_unavailable"
    assert "before it had answered" in message
    assert daemon.connections == 1


def test_a_disconnect_in_a_header_is_not_papered_over(
    daemon: FakeDaemon, native: Native
) -> None:
    """One byte of the reply is enough to forbid the second attempt."""
    native.open(daemon.path)
    native.draw(1)
    daemon.handler = answer(lambda _: b"\0", hang_up=True)
    assert native.refused(16)[0] == "daemon_unavailable"
    assert daemon.connections == 1


@pytest.mark.parametrize("size", FEW)
def test_a_restart_between_two_draws_is_not_noticed(
    size: int, daemon: FakeDaemon, native: Native
) -> None:
    """The draw after a restart connects anew and succeeds, without a SIGPIPE."""
    native.open(daemon.path)
    data = native.draw(size)
    for _ in range(2):
        daemon.restart()
        data += native.draw(size)
    assert data == daemon.handed_out
    assert daemon.connections == 3


def test_a_connection_that_ends_unanswered_is_retried_once(
    daemon: FakeDaemon, native: Native
) -> None:
    """One new attempt on a new connection; when that fails too, daemon_unavailable."""
    native.open(daemon.path)
    native.draw(1)

    def hang_up(peer: Peer, request: object) -> None:
        raise Hangup

    daemon.handler = hang_up
    assert native.refused(16)[0] == "daemon_unavailable"
    assert [number for number, _ in daemon.requests] == [1, 1, 2]
    assert native.refused(16)[0] == "daemon_unavailable"  # nothing is open: the first counts
    assert [number for number, _ in daemon.requests] == [1, 1, 2, 3]


def test_a_daemon_that_is_gone_says_how_to_start_it(daemon: FakeDaemon, native: Native) -> None:
    """Stopped between two draws, with its socket left behind: the path and the remedy."""
    native.open(daemon.path)
    native.draw(1)
    daemon.stop()
    kind, message = native.refused(1)
    assert kind == "daemon_unavailable"
    assert f"{daemon.path}; start it with `systemctl" in message
    daemon.start()
    assert len(native.draw(1)) == 1


@pytest.mark.parametrize("mode", ["direct", "lease"])
@pytest.mark.parametrize("path", ["nothing", "nothing/entropy.sock", "file"])
def test_no_daemon_fails_at_once(path: str, mode: str, tmp_path: Path, native: Native) -> None:
    """No socket, no directory, no listener: daemon_unavailable, also with no timeout."""
    (tmp_path / "file").touch()
    native.open(tmp_path / path, mode, timeout_ms=0)
    kind, message = native.refused(1)
    assert kind == "daemon_unavailable"
    assert f"no daemon answers at {tmp_path / path}; start it with" in message


@pytest.mark.parametrize("mode", ["direct", "lease"])
@pytest.mark.parametrize("below", ["", "run", "run//x/"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_the_way_is_named(
    kind: str, below: str, mode: str, tmp_path: Path, native: Native
) -> None:
    """In Python's words, whichever of the path's directories it is."""
    blocking = tmp_path / "b"
    if kind == "file":
        blocking.touch()
    else:
        (tmp_path / "file").touch()
        blocking.symlink_to("file")
    socket = f"{blocking}/{below}/entropy.sock"
    with pytest.raises(DaemonUnavailable) as python, Client(socket) as client:
        client.read(1)
    native.open(socket, mode)
    assert native.refused(1) == ("daemon_unavailable", str(python.value))
    assert f": {blocking} is not a directory; name the directory" in str(python.value)


def test_a_path_too_long_for_a_socket_is_said(native: Native) -> None:
    """The 107 bytes of sun_path are the system's limit: said, not cut off."""
    native.open(Path("/" + "x" * 107))
    kind, message = native.refused(1)
    assert kind == "daemon_unavailable"
    assert "too long" in message
    native.open(Path("/" + "x" * 106))
    assert "no daemon answers" in native.refused(1)[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_socket_that_is_closed_to_this_user(daemon: FakeDaemon, native: Native) -> None:
    """not_permitted, with the path and the way in."""
    daemon.path.chmod(0o600)
    native.ask("user 65534")
    native.open(daemon.path)
    kind, message = native.refused(1)
    assert kind == "not_permitted"
    assert f"no permission on {daemon.path}" in message


def test_bytes_behind_a_refusal_end_the_connection(daemon: FakeDaemon, native: Native) -> None:
    """They belong to nothing that was asked for, and must not count as the next reply."""
    daemon.handler = answer(lambda r: encode_reply(Status.NOT_SEEDED, r.tag) + b"stray")
    native.open(daemon.path)
    assert native.refused(16)[0] == "not_seeded"
    daemon.handler = honest
    assert native.draw(4) == daemon.handed_out
    assert daemon.connections == 2


@pytest.mark.parametrize("size", FEW)
def test_a_draw_goes_on_when_the_share_is_there_again(
    size: int, daemon: FakeDaemon, native: Native
) -> None:
    """Refused every other time: pauses, keeps what has come, and gives each byte once."""

    daemon.handler = EveryOther()
    native.open(daemon.path)
    data = native.draw(size)
    handed_out = bytes(daemon.handed_out)
    pieces = [data[at : at + MAX_READ] for at in range(0, size, MAX_READ)]
    assert all(piece in handed_out for piece in pieces)
    assert len({piece[:16] for piece in pieces}) == len(pieces)
    assert native.ask("degraded") == "ok 1"


@pytest.mark.parametrize(("timeout_ms", "most"), [(0, 70), (5000, 20)])
@pytest.mark.parametrize("mode", ["direct", "lease"])
def test_over_quota_is_over_in_time(
    mode: str, timeout_ms: int, most: int, daemon: FakeDaemon, native: Native
) -> None:
    """over_quota within the timeout, or 30 s: pauses of 10 ms that double up to a second."""
    daemon.handler = answer(lambda r: encode_reply(Status.OVER_QUOTA, r.tag))
    native.open(daemon.path, mode, timeout_ms=timeout_ms)
    kind, message = native.refused(16)
    assert (kind, "over its quota" in message) == ("over_quota", True)
    # Seven short ones, then one between half a second and a second each.
    assert 7 < len(daemon.requests) < most


def test_a_refused_connection_is_heard_by_who_cannot_send(
    daemon: FakeDaemon, native_c: Native
) -> None:
    """EPIPE: what the daemon said before it closed counts, and nothing is asked elsewhere."""
    for mode in ("direct", "lease"):
        daemon.at_connect = encode_reply(Status.NOT_PERMITTED, 0)
        native_c.open(daemon.path, mode)
        native_c.ask("connect")
        daemon.at_connect = b""
        before = daemon.connections
        assert native_c.refused(16)[0] == "not_permitted"
        assert daemon.connections == before


@pytest.mark.parametrize("size", FEW)
def test_a_slow_daemon_times_out(size: int, daemon: FakeDaemon, native: Native) -> None:
    """timed_out after the client's own limit; the late reply goes to nobody."""
    release = threading.Event()

    def late(peer: Peer, request: Any) -> None:
        assert release.wait(30)
        honest(peer, request)

    daemon.handler = late
    native.open(daemon.path, timeout_ms=500)
    try:
        kind, message = native.refused(size)
        assert kind == "timed_out"
        assert "did not answer in time" in message
        daemon.handler = honest
        assert native.draw(4) == daemon.handed_out
        assert daemon.requests[-1][0] == 2
    finally:
        release.set()


def test_the_timeout_counts_for_the_whole_draw(daemon: FakeDaemon, native: Native) -> None:
    """A daemon that sends a byte now and then does not keep the draw alive for ever."""
    stop = threading.Event()

    def drip(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        for byte in peer.reply(request):
            if stop.wait(0.02):
                return
            peer.send(bytes([byte]))

    daemon.handler = drip
    native.open(daemon.path, timeout_ms=200)
    try:
        assert native.refused(1000)[0] == "timed_out"  # 20 s at this pace
    finally:
        stop.set()
