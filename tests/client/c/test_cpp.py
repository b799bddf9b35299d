"""The C and C++ clients in direct mode: the Python client's conformance cases."""

import os
import threading
from pathlib import Path

import pytest

from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import ReplyFlag, Request, RequestFlag
from support.compiled import Native
from support.fake_server import FakeDaemon, Peer

pytestmark = pytest.mark.process

SIZES = (1, 32, 1024, 1025, 65536, MAX_READ, MAX_READ + 1, 6 * MAX_READ + 7)

#: One that comes at once, one in several pieces, one in several requests.
FEW = (16, 65536, 3 * MAX_READ)


@pytest.mark.parametrize("size", SIZES)
def test_a_draw_is_exactly_what_was_sent(size: int, daemon: FakeDaemon, native: Native) -> None:
    """Two draws in a row get all the bytes, in order, each once, on one connection."""
    native.open(daemon.path)
    first, second = native.draw(size), native.draw(size)
    assert first + second == daemon.handed_out
    assert daemon.connections == 1


def test_large_draws_are_pipelined(daemon: FakeDaemon, native: Native) -> None:
    """Four requests of at most 1 MiB are on the way at a time, and no more."""
    waiting: list[Request] = []
    served: list[int] = []

    def in_fours(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        waiting.append(request)
        # Silent until four have come, then one reply for each that comes: a client
        # that sends one at a time gets nothing and times out.
        left = 7 - len(served) - len(waiting)
        if len(waiting) == 4:
            served.append(len(waiting))
            peer.send(peer.reply(waiting.pop(0)))
        while waiting and not left:
            served.append(len(waiting))
            peer.send(peer.reply(waiting.pop(0)))

    daemon.handler = in_fours
    native.open(daemon.path, timeout_ms=30_000)
    assert native.draw(6 * MAX_READ + 1) == daemon.handed_out
    assert served == [4, 4, 4, 4, 3, 2, 1]
    lengths = [request.length for _, request in daemon.requests if isinstance(request, Request)]
    assert lengths == [MAX_READ] * 6 + [1]


def test_nothing_asked_is_nothing_sent(tmp_path: Path, native: Native) -> None:
    """Zero bytes need no daemon."""
    for mode in ("direct", "lease"):
        native.open(tmp_path / "nobody", mode)
        assert native.draw(0) == b""


@pytest.mark.parametrize("size", [8, MAX_READ + 1])
def test_options_reach_the_daemon(size: int, daemon: FakeDaemon, native: Native) -> None:
    """The mode `prediction_resistant` and not blocking travel as flags, on each request."""
    native.open(daemon.path, "prediction_resistant", block=False)
    native.draw(size)
    expected = RequestFlag.DONT_BLOCK | RequestFlag.PREDICTION_RESISTANCE
    flags = {request.flags for _, request in daemon.requests if isinstance(request, Request)}
    assert flags == {expected}


@pytest.mark.parametrize("size", FEW)
def test_degraded_is_told_and_taken_back(size: int, daemon: FakeDaemon, native: Native) -> None:
    """`degraded` speaks of the last draw only, and the bytes are delivered."""

    def degraded(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(peer.reply(request, ReplyFlag.DEGRADED if len(daemon.requests) == 1 else 0))

    daemon.handler = degraded
    native.open(daemon.path)
    assert native.ask("degraded") == "ok 0"
    data = native.draw(size)
    assert native.ask("degraded") == "ok 1"
    data += native.draw(size)
    assert native.ask("degraded") == "ok 0"
    assert data == daemon.handed_out


def test_single_bytes_and_signals_are_put_together(daemon: FakeDaemon, native: Native) -> None:
    """How the stream is cut up does not matter, nor that every wait is interrupted."""
    wait = threading.Event()

    def drip(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        for byte in peer.reply(request):
            wait.wait(0.002)  # longer than the client is left in peace
            peer.send(bytes([byte]))

    daemon.handler = drip
    native.ask("alarm 1")
    data = b""
    for timeout_ms in (0, 60_000):
        native.open(daemon.path, timeout_ms=timeout_ms)
        data += native.draw(50)
    assert data == daemon.handed_out
    assert native.ask("alarm 0") == "ok"


def test_tags_wrap_around(daemon: FakeDaemon, native_c: Native) -> None:
    """After 65,536 requests the tags start again and the connection lives on."""
    native_c.open(daemon.path)
    data = native_c.draw(1)
    native_c.ask("tag 65534")
    data += native_c.draw(4 * MAX_READ) + native_c.draw(1)
    assert data == daemon.handed_out
    tags = [request.tag for _, request in daemon.requests]
    assert tags == [1, 0xFFFE, 0xFFFF, 0, 1, 2]


def test_threads_share_a_client(daemon: FakeDaemon, native: Native) -> None:
    """Eight at once: every byte that was sent, each once, on one connection."""
    native.open(daemon.path)
    data = bytes.fromhex(native.ask("threads 8 1600")[3:])
    pieces = {data[at : at + 16] for at in range(0, len(data), 16)}
    sent = daemon.handed_out
    assert pieces == {bytes(sent[at : at + 16]) for at in range(0, len(sent), 16)}
    assert len(pieces) == 800
    assert daemon.connections == 1


def test_a_child_connects_anew(daemon: FakeDaemon, native: Native) -> None:
    """Parent and child never read from one connection; the parent goes on with its own."""
    native.open(daemon.path)
    first = native.draw(16)
    child, parent = native.pair("fork 4096")
    assert first + child + parent == daemon.handed_out
    assert [number for number, _ in daemon.requests] == [1, 2, 1]


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_a_descriptor_that_was_taken_away_is_left_alone(
    kind: str, daemon: FakeDaemon, native: Native, tmp_path: Path
) -> None:
    """Its number is another's now: not written to, not closed, and a new connection."""
    file = tmp_path / "file"
    file.touch()
    native.open(daemon.path, timeout_ms=5000)
    native.draw(1)
    number = native.ask(f"steal {file if kind == 'file' else '-'}").removeprefix("ok ")
    stolen = Path(f"/proc/{native.pid}/fd/{number}")
    before = stolen.readlink()
    native.draw(1)
    assert daemon.connections == 2
    assert file.read_bytes() == b""
    assert stolen.readlink() == before


# Where the daemon is looked for.


def test_the_environment_names_the_directory(daemon: FakeDaemon, native: Native) -> None:
    """HWENTROPY_RUNTIME_DIR comes first; empty counts as not set."""
    program = native.program
    with Native(program, {"HWENTROPY_RUNTIME_DIR": str(daemon.directory)}) as other:
        other.open(None)
        assert other.draw(8) == daemon.handed_out
    empty = {"HWENTROPY_RUNTIME_DIR": "", "XDG_RUNTIME_DIR": str(daemon.directory)}
    with Native(program, empty) as other:
        other.ask("user 65534" if os.geteuid() == 0 else "alarm 0")
        other.open(None)
        where = Path("/run/hwentropy/entropy.sock")
        if not where.exists():
            where = daemon.directory / "hwentropy" / "entropy.sock"
        assert str(where) in other.refused(8)[1]


def test_a_users_own_daemon_comes_before_the_systems(tmp_path: Path, native: Native) -> None:
    """Any user but root: $XDG_RUNTIME_DIR/hwentropy, when its socket is there."""
    (tmp_path / "hwentropy").mkdir()
    (tmp_path / "hwentropy" / "entropy.sock").touch()  # nobody listens: the error tells
    with Native(native.program, {"XDG_RUNTIME_DIR": str(tmp_path)}) as other:
        other.ask("user 65534" if os.geteuid() == 0 else "alarm 0")
        other.open(None)
        assert f"{tmp_path}/hwentropy/entropy.sock" in other.refused(8)[1]
    if os.geteuid() == 0:
        with Native(native.program, {"XDG_RUNTIME_DIR": str(tmp_path)}) as root:
            root.open(None)
            assert str(tmp_path) not in root.ask("fill 8")
