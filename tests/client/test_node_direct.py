"""The Node.js client's round trips.

A daemon that behaves as a test tells it to; the mode is `direct`, where each call
is one, and where the mode makes no difference also `lease`.
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import (
    Op,
    Request,
    RequestFlag,
    Status,
    encode_reply,
)
from support.fake_server import EveryOther, FakeDaemon, Hangup, Peer, honest
from support.node import (
    PATIENCE,
    WAYS,
    Leasing,
    Node,
    answer,
    needs_node,
    refused,
)

pytestmark = [pytest.mark.process, needs_node]

#: One for each path: a single reply in one piece, in many, and pipelined.
SIZES = (16, 5000, 3 * MAX_READ)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 32, 65536, MAX_READ, MAX_READ + 1, 17 * MAX_READ + 7])
def test_direct_delivers_exactly_what_was_sent(
    size: int, way: str, daemon: FakeDaemon, node: Node
) -> None:
    """Every byte, in order, each once, on one connection, in requests of at most 1 MiB."""
    node.configure(mode="direct")
    assert node.draw(size, way) + node.draw(5, way) == daemon.handed_out
    assert daemon.connections == 1
    assert all(isinstance(request, Request) for _, request in daemon.requests)


def test_large_reads_are_pipelined(daemon: FakeDaemon, node: Node) -> None:
    """Four requests are on the way before the first reply, never more."""
    held: list[Request] = []

    def hold(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        held.append(request)
        if len(held) == 4:
            peer.send(peer.reply(held.pop(0)))
        if len(daemon.requests) == 10:
            while held:
                peer.send(peer.reply(held.pop(0)))

    daemon.handler = hold
    node.configure(mode="direct", timeout=PATIENCE * 1000)
    assert node.draw(10 * MAX_READ) == daemon.handed_out


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"mode": "direct"}, 0),
        ({"mode": "direct", "block": False}, RequestFlag.DONT_BLOCK),
        ({"mode": "prediction_resistant"}, RequestFlag.PREDICTION_RESISTANCE),
    ],
)
def test_the_modes_reach_the_daemon(
    options: dict[str, Any], flags: int, daemon: FakeDaemon, node: Node
) -> None:
    """As flags, on every request."""
    node.configure(**options)
    node.draw(8)
    node.draw(MAX_READ + 1, "async")
    assert node.run("return [h.randomInt(5) < 5, h.randomUUID().length]") == [True, 36]
    seen = [request.flags for _, request in daemon.requests if isinstance(request, Request)]
    assert len(seen) >= 5
    assert set(seen) == {flags}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
def test_a_disconnect_in_a_reply_is_not_papered_over(
    size: int, way: str, daemon: FakeDaemon, node: Node
) -> None:
    """Half a reply is never asked for again: DaemonUnavailable, and zeros in the buffer."""
    node.configure(mode="direct")
    node.draw(1)
    daemon.handler = answer(
        lambda r: encode_reply(Status.OK, r.tag, r.length) + b"\x55" * (r.length // 2),
        hang_up=True,
    )
    error = node.fill(size, way)
    assert (error.name, "before it had answered" in str(error)) == ("DaemonUnavailable", True)
    assert daemon.connections == 1


def test_a_disconnect_in_a_header_is_not_papered_over(daemon: FakeDaemon, node: Node) -> None:
    """One byte of the reply is enough to forbid the second attempt."""
    node.configure(mode="direct")
    node.draw(1)
    daemon.handler = answer(lambda _: b"\0", hang_up=True)
    assert node.fill(16).name == "DaemonUnavailable"
    assert daemon.connections == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_restart_between_two_calls_is_not_noticed(
    size: int, daemon: FakeDaemon, node: Node
) -> None:
    """The call after a restart connects anew and succeeds."""
    node.configure(mode="direct")
    first = node.draw(size)
    daemon.restart()
    assert first + node.draw(size) == daemon.handed_out
    assert daemon.connections == 2


def test_a_connection_that_ends_with_the_request_unanswered_is_retried_once(
    daemon: FakeDaemon, node: Node
) -> None:
    """One new attempt on a new connection; when that fails too, DaemonUnavailable."""
    node.configure(mode="direct")
    node.draw(1)

    def hang_up(peer: Peer, request: object) -> None:
        raise Hangup

    daemon.handler = hang_up
    assert node.fill(16).name == "DaemonUnavailable"
    assert [number for number, _ in daemon.requests] == [1, 1, 2]
    assert node.fill(16).name == "DaemonUnavailable"
    assert [number for number, _ in daemon.requests] == [1, 1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["lease", "direct"])
@pytest.mark.parametrize(
    ("status", "name"),
    [
        (Status.NOT_SEEDED, "NotSeeded"),
        (Status.TOO_LONG, "RequestRefused"),
        (Status.NOT_PERMITTED, "NotPermitted"),
        (Status.OVER_QUOTA, "OverQuota"),
        (Status.FAILED_CLOSED, "FailedClosed"),
        (Status.BAD_REQUEST, "RequestRefused"),
    ],
)
def test_a_refusal_is_its_own_error(
    status: Status, name: str, mode: str, way: str, daemon: FakeDaemon, node: Node
) -> None:
    """In each mode, with zeros in the buffer; a later call is served."""
    daemon.handler = refused(status)
    # Over quota it asks again until there is no time.
    node.configure(mode=mode, timeout=700 if status is Status.OVER_QUOTA else None)
    error = node.fill(5000, way)
    assert error.name == name
    assert error.code.startswith("ERR_HWENTROPY_")
    daemon.handler = Leasing()
    assert len(node.draw(8, way)) == 8


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
def test_a_draw_goes_on_when_the_share_is_there_again(
    size: int, way: str, daemon: FakeDaemon, node: Node
) -> None:
    """Refused every other time: pauses, keeps what has come, and gives each byte once."""

    daemon.handler = EveryOther()
    node.configure(mode="direct")
    data = node.draw(size, way)
    handed_out = bytes(daemon.handed_out)
    pieces = [data[at : at + MAX_READ] for at in range(0, size, MAX_READ)]
    assert all(piece in handed_out for piece in pieces)
    assert len({piece[:16] for piece in pieces}) == len(pieces)


@pytest.mark.parametrize("mode", ["lease", "direct"])
def test_a_refused_connection_is_heard_and_then_served(
    mode: str, daemon: FakeDaemon, node: Node
) -> None:
    """Whether the daemon closed before the request was sent or after it, in 20 attempts."""
    daemon.at_connect = encode_reply(Status.NOT_PERMITTED, 0)
    node.configure(mode=mode)
    for _ in range(20):
        assert node.fill(16).name == "NotPermitted"
    daemon.at_connect = b""
    daemon.handler = Leasing()
    assert len(node.draw(16)) == 16


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["lease", "direct"])
def test_a_slow_daemon_times_out(mode: str, way: str, daemon: FakeDaemon, node: Node) -> None:
    """Timeout after the client's own limit; the late reply goes to nobody."""
    release = threading.Event()
    leasing = Leasing()

    def late(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        if request.op is not Op.INFO:
            assert release.wait(PATIENCE)
        leasing(peer, request)

    daemon.handler = late
    node.configure(mode=mode, timeout=50)
    error = node.fill(16, way)
    assert (error.name, "within 50 ms" in str(error)) == ("Timeout", True)
    release.set()
    node.configure(mode=mode)
    assert len(node.draw(8, way)) == 8


def test_calls_share_a_few_connections(daemon: FakeDaemon, node: Node) -> None:
    """Four at most; the others wait for their turn, and all are answered."""
    four = threading.Barrier(4)

    def together(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        four.wait(PATIENCE)  # four requests are there at a time
        honest(peer, request)

    daemon.handler = together
    node.configure(mode="direct")
    drawn = node.run(
        "return Promise.all(Array.from({length: 20}, () => h.randomBytesAsync(8)))"
    )
    assert sorted(drawn) == sorted(
        bytes(daemon.handed_out[at : at + 8]).hex() for at in range(0, 160, 8)
    )
    assert daemon.connections == 4


def test_a_call_times_out_while_it_waits_for_its_turn(daemon: FakeDaemon, node: Node) -> None:
    """It is not given the time anew; calls after it are served."""
    release = threading.Event()

    def late(peer: Peer, request: object) -> None:
        assert release.wait(PATIENCE)
        assert isinstance(request, Request)
        honest(peer, request)

    daemon.handler = late
    node.configure(mode="direct", timeout=1000)
    names, took = node.run(
        "const began = performance.now();"
        " const names = await Promise.all(Array.from({length: 20}, () =>"
        " h.randomBytesAsync(8).then(() => 'bytes', (error) => error.name)));"
        " return [names, performance.now() - began]"
    )
    assert names == ["Timeout"] * 20
    assert took < 5 * 1000  # one after another in fours: five times the timeout
    release.set()
    daemon.handler = honest
    assert len(node.draw(8)) == 8


def test_no_daemon_raises_at_once(tmp_path: Path, node: Node) -> None:
    """No socket, no directory, no listener, a path too long: DaemonUnavailable."""
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path / "nothing", "no daemon answers"),
        (tmp_path / "file" / "entropy.sock", "no daemon answers"),
        (tmp_path / "file", "no daemon answers"),
        (Path("/" + "x" * 200), "too long"),
    ):
        for mode in ("lease", "direct"):
            node.configure(path=str(path), mode=mode)
            error = node.fill(16)
            assert (error.name, words in str(error)) == ("DaemonUnavailable", True)


def test_the_fallback_is_asked_for_and_told(daemon: FakeDaemon, node: Node) -> None:
    """`fallback: "os"` warns once an outage, and covers no other error."""
    daemon.handler = refused(Status.FAILED_CLOSED)
    node.configure(fallback="os")
    assert node.fill(16).name == "FailedClosed"
    daemon.stop()
    assert node.draw(16) != node.draw(16, "async")
    daemon.handler = Leasing()
    daemon.start()
    node.draw(16)
    assert isinstance(daemon.handler, Leasing)
    assert len(daemon.handler.seeds) == 1
    assert node.end().count("HwentropyWarning") == 1


def test_no_error_shows_what_was_read(daemon: FakeDaemon, node: Node) -> None:
    """Neither the message nor anything else of an error quotes the peer's bytes."""
    daemon.handler = answer(
        lambda r: encode_reply(Status.OK, r.tag, r.length) + b"secret", hang_up=True
    )
    for mode in ("lease", "direct"):
        node.configure(mode=mode)
        shown = node.run(
            "const { inspect } = await import('node:util');"
            " try { h.randomBytes(5000); } catch (error) {"
            " return inspect(error, { depth: 9, showHidden: true }); }"
        )
        assert "Error" in shown or "DaemonUnavailable" in shown
        assert "secret" not in shown
