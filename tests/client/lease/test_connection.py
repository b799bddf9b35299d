"""Getting leases from a daemon that behaves as told: terms, bad replies, descriptors."""

import fcntl
import gc
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hwentropy import (
    DaemonUnavailable,
    FailedClosed,
    HwentropyError,
    NotPermitted,
    NotSeeded,
    OverQuota,
    ProtocolError,
    RequestRefused,
    Timeout,
)
from hwentropy.lease import connection as module
from hwentropy.lease.connection import LeaseConnection
from hwentropy_core.limits import KEY_BYTES
from hwentropy_core.page import MAGIC, PageReader, boottime
from hwentropy_core.wire import HEADER, Lease, ReplyFlag, Status, encode_lease
from support.fake_leases import Leases
from support.fake_server import FakeDaemon, Hangup

#: Seconds that an answer may take on a busy machine.
PATIENCE = 30.0


@pytest.fixture
def connection(daemon: FakeDaemon, leases: Leases) -> Iterator[LeaseConnection]:
    """A connection without a time limit."""
    with closing(LeaseConnection(str(daemon.path), None, None)) as made:
        yield made


def memfds() -> int:
    """Descriptors of memfds that this process has open."""
    gc.collect()  # those of earlier tests' pages
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            count += "memfd:" in str(fd.readlink())
        except OSError:
            continue  # the listing's own
    return count


def test_a_lease_is_what_the_daemon_granted(
    connection: LeaseConnection, leases: Leases
) -> None:
    """Seed, bytes and generation arrive; it ends so many seconds after the request."""
    leases.max_bytes, leases.max_seconds = 2**64 - 1, 2**32 - 1
    before = boottime()
    granted = connection.renew(None)
    after = boottime()
    assert granted.lease == Lease(1, 2**64 - 1, 2**32 - 1, bytearray(leases.seeds[-1]))
    assert before <= granted.ends - (2**32 - 1) * 10**9 <= after
    assert not granted.outdated


def test_the_first_lease_is_asked_for_twice(
    connection: LeaseConnection, leases: Leases
) -> None:
    """Its page comes with the reply, so only the second one's epoch was read before."""
    first = connection.renew(None)
    assert len(leases.seeds) == 2
    assert bytes(first.lease.seed) == leases.seeds[1]
    second = connection.renew(None)
    assert len(leases.seeds) == 3
    assert second.page is first.page


def test_a_generation_between_request_and_reply_is_noticed(
    connection: LeaseConnection, leases: Leases
) -> None:
    """The lease is outdated from the start, whatever generation it says it is of."""
    connection.renew(None)

    def move() -> None:
        leases.page.generation += 1

    leases.before = move
    granted = connection.renew(None)
    assert granted.lease.generation == leases.page.generation
    assert granted.outdated


def test_the_seconds_count_from_the_request(
    connection: LeaseConnection, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the reply, which may have waited for the first seed."""
    now = [1000 * 10**9]
    monkeypatch.setattr(module, "boottime", lambda: now[0])

    def wait() -> None:
        now[0] += 100 * 10**9

    leases.before = wait
    granted = connection.renew(None)
    # Two requests: the second one was sent 100 s after the first.
    assert granted.ends == (1000 + 100 + 300) * 10**9


def test_seeds_do_not_stay_behind(
    connection: LeaseConnection, leases: Leases, mocker: Any
) -> None:
    """What the connection received is overwritten; only the lease has the seed."""
    wipe = mocker.spy(module, "wipe")
    granted = connection.renew(None)
    wiped = [call.args[0] for call in wipe.call_args_list]
    # Payload, payload, and the seed of the first lease, which is not used.
    assert sorted(map(len, wiped)) == [32, 56, 56]
    assert not any(map(any, wiped))
    assert bytes(granted.lease.seed) == leases.seeds[-1]
    assert leases.seeds[-1].hex() not in repr(granted)
    assert repr(leases.seeds[-1]) not in repr(granted)


@pytest.mark.parametrize("changed", [{"flags": ReplyFlag.NOT_LIVE}, {"max_bytes": 0}])
def test_the_seed_of_a_bad_lease_does_not_stay_behind(
    connection: LeaseConnection, leases: Leases, mocker: Any, changed: dict[str, int]
) -> None:
    """Nobody takes it, and it is overwritten all the same."""
    for name, value in changed.items():
        setattr(leases, name, value)
    decoded = mocker.spy(module, "decode_lease")
    with pytest.raises(ProtocolError):
        connection.renew(None)
    assert any(leases.seeds[-1])
    assert decoded.spy_return.seed == bytes(KEY_BYTES)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.NOT_SEEDED, NotSeeded),
        (Status.NOT_PERMITTED, NotPermitted),
        (Status.OVER_QUOTA, OverQuota),
        (Status.FAILED_CLOSED, FailedClosed),
        (Status.BAD_REQUEST, RequestRefused),
    ],
)
def test_a_refusal_is_its_exception(
    connection: LeaseConnection,
    leases: Leases,
    daemon: FakeDaemon,
    status: Status,
    error: type[HwentropyError],
) -> None:
    """And the connection is good for the next request; the page comes with the first OK."""
    leases.status = status
    with pytest.raises(error):
        connection.renew(None)
    assert connection.alive
    leases.status = Status.OK
    leases._paged.clear()
    connection.renew(None)
    leases.status = status
    with pytest.raises(error):
        connection.renew(None)
    assert daemon.connections == 1


def test_waiting_is_the_caller_s_choice(connection: LeaseConnection, leases: Leases) -> None:
    """`block=False` sends DONT_BLOCK; without it there are no flags."""
    connection.renew(None, block=False)
    connection.renew(None)
    assert leases.request_flags == [1, 1, 0]


def wait_until_dead(connection: LeaseConnection) -> None:
    """Poll until `alive` is false."""
    deadline = time.monotonic() + PATIENCE
    while connection.alive:
        assert time.monotonic() < deadline


Fault = Callable[[Leases, FakeDaemon], None]


def wrong_page(leases: Leases, make: Callable[[], int]) -> None:
    """Have another descriptor sent; closed with the test's process."""
    leases.fd = make()


def memfd(size: int, seals: int, first: bytes = MAGIC.to_bytes(8, "little")) -> int:
    """A descriptor that is nearly a page."""
    fd = os.memfd_create("wrong", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, first, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


#: F_SEAL_FUTURE_WRITE, which Python names from 3.13 on only, is 0x10.
ALL_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x10 | fcntl.F_SEAL_SEAL


def replies(make: Callable[[bytes], bytes], *, hang_up: bool = False) -> Fault:
    """A fault in the bytes of the reply, of which `make` is given the honest ones."""

    def fault(leases: Leases, daemon: FakeDaemon) -> None:
        def handler(peer: Any, request: Any) -> None:
            lease = Lease(1, 1 << 30, 300, bytearray(b"\x5a" * 32))
            frame = HEADER.pack(0, 2, request.tag, 56) + bytes(encode_lease(lease))
            assert leases.fd is not None
            socket.send_fds(peer.sock, [make(frame)], [leases.fd])
            if hang_up:
                raise Hangup

        daemon.handler = handler

    return fault


def setting(**values: Any) -> Fault:
    """A fault that `Leases` can make by itself."""

    def fault(leases: Leases, _daemon: FakeDaemon) -> None:
        for name, value in values.items():
            setattr(leases, name, value)

    return fault


FAULTS: dict[str, Fault] = {
    "no page, though announced": setting(fd=None, announced=True),
    "no page": setting(fd=None, announced=False),
    "a page that is not announced": setting(announced=False),
    "a second page": setting(announced=True),
    "an unsealed page": lambda leases, _: wrong_page(leases, lambda: memfd(4096, 0)),
    "a page that can shrink": lambda leases, _: wrong_page(
        leases, lambda: memfd(4096, ALL_SEALS & ~fcntl.F_SEAL_SHRINK)
    ),
    "a short page": lambda leases, _: wrong_page(leases, lambda: memfd(4000, ALL_SEALS)),
    "a page without its magic": lambda leases, _: wrong_page(
        leases, lambda: memfd(4096, ALL_SEALS, b"somebody")
    ),
    "a page that is a device": lambda leases, _: wrong_page(
        leases, lambda: os.open("/dev/zero", os.O_RDONLY)
    ),
    "a page with an error": replies(lambda frame: b"\5\0" + frame[2:4] + bytes(4)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_bad_reply_is_a_protocol_error(
    fault: Fault, daemon: FakeDaemon, leases: Leases
) -> None:
    """ProtocolError, no descriptor left behind, and a connection that is over."""
    with closing(LeaseConnection(str(daemon.path), None, None)) as connection:
        fault(leases, daemon)
        before = memfds()
        with pytest.raises(ProtocolError):
            connection.renew(None)
        assert memfds() == before
        assert not connection.alive
        with pytest.raises(DaemonUnavailable):
            connection.renew(None)
    if leases.fd not in {None, leases.page.fd}:
        os.close(leases.fd or 0)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63])
def test_a_reply_cut_short_is_none(size: int, daemon: FakeDaemon, leases: Leases) -> None:
    """DaemonUnavailable, wherever it ends, and no descriptor left behind."""
    with closing(LeaseConnection(str(daemon.path), None, None)) as connection:
        if size:
            replies(lambda frame: frame[:size], hang_up=True)(leases, daemon)
        else:

            def hang_up(_peer: Any, _request: Any) -> None:
                raise Hangup

            daemon.handler = hang_up
        before = memfds()
        with pytest.raises(DaemonUnavailable):
            connection.renew(None)
        assert memfds() == before


def test_a_reply_in_single_bytes_is_taken(daemon: FakeDaemon, leases: Leases) -> None:
    """However the stream is cut, the lease is the same."""
    seed = bytes(range(32))

    def trickle(peer: Any, request: Any) -> None:
        first = peer.number not in seen
        seen.add(peer.number)
        lease = Lease(1, 5, 6, bytearray(seed))
        frame = HEADER.pack(0, 2 if first else 0, request.tag, 56) + bytes(encode_lease(lease))
        assert leases.fd is not None
        socket.send_fds(peer.sock, [frame[:1]], [leases.fd] if first else [])
        for i in range(1, len(frame)):
            peer.send(frame[i : i + 1])

    seen: set[int] = set()
    daemon.handler = trickle
    with closing(LeaseConnection(str(daemon.path), None, None)) as connection:
        assert connection.renew(None).lease == Lease(1, 5, 6, bytearray(seed))


def test_more_descriptors_than_one_are_closed(daemon: FakeDaemon, leases: Leases) -> None:
    """The kernel drops what there is no room for: the process does not fill up."""

    def three(peer: Any, request: Any) -> None:
        lease = encode_lease(Lease(1, 5, 6, bytearray(32)))
        assert leases.fd is not None
        socket.send_fds(
            peer.sock, [HEADER.pack(0, 2, request.tag, 56) + lease], [leases.fd] * 3
        )

    daemon.handler = three
    before = memfds()
    with closing(LeaseConnection(str(daemon.path), None, None)) as connection:
        # The second request is answered with a second page.
        with pytest.raises(ProtocolError):
            connection.renew(None)
        assert memfds() == before


def test_nobody_there(tmp_path: Path) -> None:
    """DaemonUnavailable, which says how to start one."""
    with pytest.raises(DaemonUnavailable, match="no daemon answers"):
        LeaseConnection(str(tmp_path / "entropy.sock"), None, None)


def test_the_time_limit_is_for_the_whole_call(daemon: FakeDaemon, leases: Leases) -> None:
    """A daemon that sends now and then a byte does not draw it out; the connection is over."""
    over = threading.Event()

    def trickle(peer: Any, _request: Any) -> None:
        for _ in range(56):
            if over.wait(0.02):
                return
            peer.send(b"\0")

    daemon.handler = trickle
    with closing(LeaseConnection(str(daemon.path), 0.1, None)) as connection:
        began = time.monotonic()
        try:
            with pytest.raises(Timeout, match=r"within 0\.1 s"):
                connection.renew(began + 0.1)
        finally:
            over.set()
        assert time.monotonic() - began >= 0.1
        assert not connection.alive


def test_a_deadline_that_has_passed(connection: LeaseConnection, daemon: FakeDaemon) -> None:
    """Timeout before anything is sent."""
    with pytest.raises(Timeout):
        connection.renew(time.monotonic() - 1)
    assert not daemon.requests


def test_an_interrupted_request_s_reply_is_nobody_s(
    connection: LeaseConnection, leases: Leases
) -> None:
    """Ctrl-C between request and reply: the connection is closed, not used again."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def while_it_waits() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert interrupted.wait(PATIENCE)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        leases.before = while_it_waits
        with pytest.raises(KeyboardInterrupt):
            connection.renew(None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not connection.alive


def test_whether_the_daemon_is_there(
    connection: LeaseConnection, daemon: FakeDaemon, leases: Leases
) -> None:
    """`alive` is true until it hangs up; it asks for nothing and never waits."""
    assert connection.alive
    connection.renew(time.monotonic() + PATIENCE)
    began = time.monotonic()
    assert connection.alive
    # Not the seconds that the renewal had.
    assert time.monotonic() - began < PATIENCE / 2
    daemon.hang_up()
    wait_until_dead(connection)
    assert len(daemon.requests) == 2


def test_a_daemon_that_talks_unasked_is_not_alive(
    daemon: FakeDaemon, leases: Leases, connection: LeaseConnection
) -> None:
    """Bytes that nobody asked for are no sign of a daemon."""
    peers: list[Any] = []

    def handler(peer: Any, request: Any) -> None:
        leases(peer, request)
        peers.append(peer)

    daemon.handler = handler
    connection.renew(None)
    peers[0].send(b"x")
    wait_until_dead(connection)


def test_a_closed_connection_is_one(connection: LeaseConnection) -> None:
    """Not alive, and a renewal says that the daemon is not there."""
    page = connection.renew(None).page
    connection.close()
    assert not connection.alive
    with pytest.raises(DaemonUnavailable):
        connection.renew(None)
    # The page is mapped as long as somebody has it.
    assert page.words[PageReader.GENERATION] == 1


def test_the_page_is_read_only(connection: LeaseConnection) -> None:
    """A client cannot write what all others read."""
    words = connection.renew(None).page.words
    assert words.readonly
    with pytest.raises(TypeError):
        words[0] = 0
    assert isinstance(words.obj, mmap.mmap)


def test_descriptors_of_two_hundred_connections_are_given_back(
    daemon: FakeDaemon, leases: Leases
) -> None:
    """Connecting, leasing and closing leaves none open."""
    before = memfds()
    for _ in range(200):
        with closing(LeaseConnection(str(daemon.path), None, None)) as connection:
            connection.renew(None)
    assert memfds() == before
