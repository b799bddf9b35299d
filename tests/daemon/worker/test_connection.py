"""One connection over a socket pair, a real generator and a real page.

The connection is served by the test itself, step by step, so that what it waits
for between two steps is part of what is tested.
"""

# What a parked connection holds is looked at:
# pyright: reportPrivateUsage=false

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropy_core.drbg import Drbg
from hwentropy_core.limits import KEY_BYTES, MAX_READ, SMALL_BYTES
from hwentropy_core.page import PageReader, PageWriter, ServiceState
from hwentropy_core.wire import (
    HEADER,
    LEASE_BYTES,
    Op,
    Reply,
    ReplyFlag,
    ReplyReader,
    Request,
    RequestFlag,
    Status,
    decode_lease,
    encode_request,
)
from hwentropyd.role import Role
from hwentropyd.worker import drbg as generator_module
from hwentropyd.worker import protocols
from hwentropyd.worker.connection import CHUNK_BYTES, TURN_BYTES, Buffers, ClientConnection
from hwentropyd.worker.drbg import WorkerDrbg
from hwentropyd.worker.protocols import FreshAnswer, LeaseTerms, Wait
from hwentropyd.worker.protocols import Reply as Sending
from hwentropyd.worker.protocols.native import FAST_PATH_BYTES, NativeProtocol
from hwentropyd.worker.quota import Quota
from support.assigned import assigned

#: Lengths around every boundary of the code that answers.
LENGTHS = [
    1,
    32,
    SMALL_BYTES - 1,
    SMALL_BYTES,
    SMALL_BYTES + 1,
    FAST_PATH_BYTES,
    FAST_PATH_BYTES + 1,
    4096,
    CHUNK_BYTES - HEADER.size,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    MAX_READ,
]


@dataclass
class Load:
    """It is not quiet: a connection has one turn and does not stay."""

    quiet: bool = False
    alone: bool = False
    bulk: threading.Lock = field(default_factory=threading.Lock)


def read(length: int, tag: int = 0, flags: int = 0) -> bytes:
    """A READ."""
    return encode_request(Request(Op.READ, RequestFlag(flags), tag, length))


def info(tag: int = 0) -> bytes:
    """An INFO."""
    return encode_request(Request(Op.INFO, RequestFlag(0), tag, 0))


class WatchedSocket(socket.socket):
    """Takes over a socket, and tells of what it is given to send."""

    def __init__(self, taken: socket.socket, watch: Callable[[int, int], None]) -> None:
        super().__init__(fileno=taken.detach())
        self._watch = watch

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Tell, then send."""
        self._watch(len(data), flags)
        return super().send(data, flags)


class Bench:
    """Both ends of a connection, and what serves it."""

    def __init__(
        self,
        role: Role = Role.ENTROPY,
        *,
        page: PageWriter | None = None,
        generator: WorkerDrbg | None = None,
        send_buffer: int = 0,
    ) -> None:
        self.page = page or PageWriter()
        self.generator = generator or WorkerDrbg(PageReader(self.page.fd), lambda: None)
        ours, self.client = socket.socketpair()
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        # As the engine does, shorter: nobody reads while the test serves.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 1000))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 1000))
        self.client.setblocking(False)
        self.load = Load()
        self.buffers = Buffers()
        terms = LeaseTerms(1 << 30, 300, self.page.fd)
        message = assigned(1, role)
        quota = Quota(message, lambda: 0.0)
        self.protocol = protocols.make(message, self.generator, terms, quota)
        self.connection = ClientConnection(ours, 1, 1, self.protocol, self.generator)
        self._reader = ReplyReader()
        self.waits: list[Wait] = []

    def seeded(self, state: ServiceState = ServiceState.OK) -> "Bench":
        """With a seed and in this state."""
        self.generator.seed(self.page.generation + 1, bytearray(b"s" * 32))
        self.page.generation += 1
        self.page.state = state
        return self

    def watch_sends(self, watch: Callable[[int, int], None]) -> None:
        """Have `watch` hear of each send: how many bytes, and with which flags."""
        self.connection.sock = WatchedSocket(self.connection.sock, watch)

    def serve(self) -> Wait:
        """One turn; afterwards the thread's outbox holds no byte of the reply."""
        wait = self.connection.serve(self.buffers, self.load)
        assert self.buffers.outbox.tobytes() == bytes(len(self.buffers.outbox))
        self.waits.append(wait)
        return wait

    def received(self) -> list[tuple[Reply, bytes]]:
        """What the client has got by now."""
        try:
            while data := self.client.recv(1 << 20):
                self._reader.feed(data)
        except (BlockingIOError, ConnectionResetError):
            pass
        replies = []
        while (one := self._reader.next()) is not None:
            replies.append((one[0], bytes(one[1])))
        return replies

    def received_bytes(self) -> int:
        """How many bytes the client has got since it last looked."""
        try:
            return len(self.client.recv(1 << 20))
        except BlockingIOError:
            return 0

    def settle(self) -> list[tuple[Reply, bytes]]:
        """Serve and read until it waits for something that is not its client."""
        replies = []
        while True:
            wait = self.serve()
            replies += self.received()
            if wait not in {Wait.WRITABLE, Wait.YIELD} and not self._more(wait):
                return replies

    def _more(self, wait: Wait) -> bool:
        """Whether the engine would be woken at once, as more has come than one turn takes."""
        sock = self.connection.sock
        return wait is Wait.INPUT and bool(select.select([sock], [], [], 0)[0])

    def ask(self, requests: bytes) -> list[tuple[Reply, bytes]]:
        """Send requests and return the replies."""
        self.client.sendall(requests)
        return self.settle()

    def close(self) -> None:
        """Both ends."""
        self.connection.sock.close()
        self.client.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both ends."""
        self.close()


@pytest.fixture(params=["crowded", "waiting", "alone"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A connection of a worker that was seeded, with and without free and busy threads."""
    one = Bench().seeded()
    one.load.quiet = request.param != "crowded"
    one.load.alone = request.param == "alone"
    yield one
    one.close()


@pytest.fixture
def unseeded() -> Iterator[Bench]:
    """A connection of a worker that was not seeded yet."""
    one = Bench()
    yield one
    one.close()


def statuses(replies: list[tuple[Reply, bytes]]) -> list[tuple[int, Status]]:
    """Tags and statuses."""
    return [(reply.tag, reply.status) for reply, _ in replies]


# Requests and replies


@pytest.mark.parametrize("length", LENGTHS)
def test_a_read_is_answered_whole(bench: Bench, length: int) -> None:
    """Header and exactly so many bytes, which are not what a buffer held before."""
    [(reply, payload)] = bench.ask(read(length, 513))
    assert reply == Reply(Status.OK, ReplyFlag(0), 513, length)
    assert len(payload) == length
    assert length < 32 or payload.count(0) < len(payload) // 8
    assert bench.protocol.requests == 1
    assert bench.waits[-1] is Wait.INPUT


@given(st.lists(st.integers(1, 3 * SMALL_BYTES), min_size=1, max_size=40))
def test_pipelined_requests_are_answered_in_their_order(lengths: list[int]) -> None:
    """Each with its own tag and length, and no two with the same bytes."""
    with Bench().seeded() as bench:
        requests = b"".join(read(length, tag) for tag, length in enumerate(lengths))
        replies = bench.ask(requests)
        assert [(one.tag, one.length) for one, _ in replies] == list(enumerate(lengths))
        long = [payload for _, payload in replies if len(payload) >= 16]
        assert len(set(long)) == len(long)


def test_more_requests_than_one_receive_takes(bench: Bench) -> None:
    """Two thousand at once, each answered."""
    requests = b"".join(read(16, tag) for tag in range(2000))
    assert statuses(bench.ask(requests)) == [(tag, Status.OK) for tag in range(2000)]


def test_a_request_may_come_byte_by_byte(bench: Bench) -> None:
    """Nothing is answered before its last byte is there."""
    for request in (read(100, 1), info(2), read(3, 3)):
        for byte in request[:-1]:
            assert bench.ask(bytes([byte])) == []
        [(reply, _)] = bench.ask(request[-1:])
        assert reply.status is Status.OK


@given(st.lists(st.integers(0, 7), max_size=40), st.data())
def test_how_requests_are_cut_does_not_matter(kinds: list[int], data: st.DataObject) -> None:
    """The same replies, whatever pieces the requests come in."""
    table = [
        read(1, 1),
        read(2000, 2),
        info(3),
        read(MAX_READ + 1, 4),
        read(32, 5, RequestFlag.DONT_BLOCK),
        read(1024, 6),
        read(1025, 7),
        read(40000, 8),
    ]
    stream = b"".join(table[kind] for kind in kinds)
    with Bench().seeded() as bench:
        replies: list[tuple[Reply, bytes]] = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            replies += bench.ask(stream[:size])
            stream = stream[size:]
        assert [reply.tag for reply, _ in replies] == [kind + 1 for kind in kinds]
        assert bench.waits[-1:] in ([], [Wait.INPUT])


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEADER.pack(0, 0, 9, 1),
        HEADER.pack(4, 0, 9, 1),
        HEADER.pack(255, 255, 9, 0xFFFFFFFF),
        HEADER.pack(Op.READ, 0, 9, 0),
        HEADER.pack(Op.READ, 4, 9, 1),
        HEADER.pack(Op.INFO, 0, 9, 1),
        HEADER.pack(Op.INFO, 1, 9, 0),
    ],
)
def test_a_bad_request_is_answered_and_ends_the_connection(
    bench: Bench, request_bytes: bytes
) -> None:
    """Those before it are answered; those behind it are not."""
    replies = bench.ask(read(32, 1) + read(5000, 2) + request_bytes + read(32, 3))
    assert statuses(replies) == [(1, Status.OK), (2, Status.OK), (9, Status.BAD_REQUEST)]
    assert bench.waits[-1] is Wait.END


def test_a_bad_request_is_answered_to_a_slow_client_too(bench: Bench) -> None:
    """It waits for room first, behind what was asked for before."""
    bench.client.sendall(read(MAX_READ, 1) + HEADER.pack(9, 9, 9, 9))
    while (wait := bench.serve()) is Wait.YIELD:
        pass
    assert wait is Wait.WRITABLE
    replies = bench.received() + bench.settle()
    assert statuses(replies) == [(1, Status.OK), (9, Status.BAD_REQUEST)]
    assert bench.waits[-1] is Wait.END


def test_too_long_leaves_the_connection_open(bench: Bench) -> None:
    """And the next request is answered."""
    replies = bench.ask(read(MAX_READ + 1, 1) + read(0xFFFFFFFF, 2) + read(MAX_READ, 3))
    assert statuses(replies) == [
        (1, Status.TOO_LONG),
        (2, Status.TOO_LONG),
        (3, Status.OK),
    ]
    assert bench.waits[-1] is Wait.INPUT


def test_info_says_how_it_is(bench: Bench) -> None:
    """The keys of docs/protocol.md, at any length of the rest of the pipeline."""
    replies = bench.ask(info(1) + read(32, 2) + info(3))
    assert [reply.tag for reply, _ in replies] == [1, 2, 3]
    said = json.loads(replies[0][1])
    assert said["protocol"] == [1]
    assert (said["state"], said["generation"]) == ("ok", 1)
    assert said["limits"]["max_read"] == MAX_READ
    assert replies[2][1] == replies[0][1]


@given(st.binary(max_size=200), st.sampled_from(ServiceState))
def test_no_bytes_of_a_peer_raise(data: bytes, state: ServiceState) -> None:
    """Whatever comes, it ends in replies, a wait or the end; and nothing before a seed."""
    with Bench() as bench:
        if state is not ServiceState.STARTING:
            bench.seeded(state)
        replies = bench.ask(data)
        if state in {ServiceState.STARTING, ServiceState.FAILED}:
            assert all(
                reply.status is not Status.OK or is_info(load) for reply, load in replies
            )
        assert bench.waits[-1] in {Wait.INPUT, Wait.END, Wait.SEED, Wait.FRESH}


def test_a_lease_is_a_seed_of_the_clients_own(bench: Bench) -> None:
    """With its terms; the page comes with the first one only; no two are the same."""
    lease = encode_request(Request(Op.LEASE, RequestFlag(0), 5, 0))
    bench.client.sendall(read(32, 4) + lease)
    while bench.serve() is Wait.YIELD:
        pass
    data, fds, _, _ = socket.recv_fds(bench.client, 40 + HEADER.size, 1)
    more, more_fds, _, _ = socket.recv_fds(bench.client, 1 << 16, 1)
    data += more
    fds += more_fds
    assert len(fds) == 1
    reader = PageReader(fds[0])
    os.close(fds[0])
    assert reader.generation == 1
    first = decode_lease(bytearray(data[-LEASE_BYTES:]))
    [(reply, payload)] = bench.ask(lease)
    assert reply == Reply(Status.OK, ReplyFlag(0), 5, LEASE_BYTES)
    second = decode_lease(bytearray(payload))
    assert (first.generation, first.max_bytes, first.max_seconds) == (1, 1 << 30, 300)
    assert first.seed != second.seed
    bench.page.state = ServiceState.FAILED
    assert statuses(bench.ask(lease)) == [(5, Status.FAILED_CLOSED)]


def is_info(payload: bytes) -> bool:
    """Whether it is the reply to an INFO."""
    return payload.startswith(b'{"protocol"')


# The daemon's state


def test_before_the_seed_a_request_waits(unseeded: Bench) -> None:
    """Those behind it too; INFO before it is answered; all of them once there is a seed."""
    replies = unseeded.ask(info(1) + read(32, 2) + info(3) + read(5000, 4))
    assert statuses(replies) == [(1, Status.OK)]
    assert json.loads(replies[0][1])["state"] == "starting"
    assert unseeded.waits[-1] is Wait.SEED
    assert unseeded.ask(b"") == []
    unseeded.seeded()
    replies = unseeded.settle()
    assert statuses(replies) == [(2, Status.OK), (3, Status.OK), (4, Status.OK)]


@pytest.mark.parametrize("flags", [1, 3])
def test_before_the_seed_dont_block_says_so(unseeded: Bench, flags: int) -> None:
    """At once, and the connection stays."""
    assert statuses(unseeded.ask(read(32, 7, flags))) == [(7, Status.NOT_SEEDED)]
    assert unseeded.waits[-1] is Wait.INPUT
    unseeded.seeded()
    assert statuses(unseeded.ask(read(32, 8, flags & 1))) == [(8, Status.OK)]


def test_failed_closed_gives_nothing(bench: Bench) -> None:
    """Until it has recovered, on the same connection."""
    bench.page.state = ServiceState.FAILED
    replies = bench.ask(read(32, 1) + read(5000, 2) + read(32, 3, 2) + info(4))
    assert statuses(replies)[:3] == [(tag, Status.FAILED_CLOSED) for tag in (1, 2, 3)]
    assert json.loads(replies[3][1])["state"] == "failed"
    assert all(not payload for _, payload in replies[:3])
    bench.page.state = ServiceState.OK
    assert statuses(bench.ask(read(32, 5))) == [(5, Status.OK)]


@pytest.mark.parametrize("length", [1, 32, 5000])
def test_degraded_is_said_in_every_reply(bench: Bench, length: int) -> None:
    """And only while it lasts."""
    bench.page.state = ServiceState.DEGRADED
    [(reply, payload)] = bench.ask(read(length, 1))
    assert reply == Reply(Status.OK, ReplyFlag.DEGRADED, 1, length)
    assert len(payload) == length
    bench.page.state = ServiceState.OK
    [(reply, _)] = bench.ask(read(length, 2))
    assert reply.flags == ReplyFlag(0)


def test_a_seed_that_never_comes_ends_the_connection(
    bench: Bench, mocker: MockerFixture
) -> None:
    """The page has moved and the worker has no seed for it: not a byte."""
    mocker.patch.object(generator_module, "SEED_WAIT", 0.002)
    bench.page.generation += 1
    bench.client.sendall(read(32, 1))
    # The header of the reply that was not to be is no secret and may stay.
    assert bench.connection.serve(bench.buffers, bench.load) is Wait.END
    assert bench.received() == []


# Prediction resistance


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED_CLOSED, Status.OVER_QUOTA])
def test_prediction_resistance_waits_for_its_answer(bench: Bench, status: Status) -> None:
    """The bytes when fresh entropy came, an error and none when it did not."""
    assert statuses(bench.ask(read(16, 1) + read(32, 2, 2) + read(16, 3))) == [(1, Status.OK)]
    assert bench.waits[-1] is Wait.FRESH
    bench.protocol.fresh = FreshAnswer(status)
    assert statuses(bench.settle()) == [(2, status), (3, Status.OK)]


@pytest.mark.parametrize("flags", [ReplyFlag(0), ReplyFlag.NOT_LIVE])
def test_an_answer_says_whether_it_is_live(bench: Bench, flags: ReplyFlag) -> None:
    """NOT_LIVE with what generators alone met, and with no other reply."""
    assert bench.ask(read(32, 1, 2) + read(16, 2)) == []
    bench.protocol.fresh = FreshAnswer(Status.OK, live=not flags)
    assert [reply.flags for reply, _ in bench.settle()] == [flags, ReplyFlag(0)]


def test_every_request_with_prediction_resistance_asks_anew(bench: Bench) -> None:
    """One answer is for one request."""
    bench.client.sendall(read(32, 1, 2) + read(32, 2, 2))
    assert bench.settle() == []
    bench.protocol.fresh = FreshAnswer(Status.OK, live=True)
    assert statuses(bench.settle()) == [(1, Status.OK)]
    assert bench.waits[-1] is Wait.FRESH
    bench.protocol.fresh = FreshAnswer(Status.OK, live=True)
    assert statuses(bench.settle()) == [(2, Status.OK)]


def test_an_answer_does_not_outlive_its_request(bench: Bench) -> None:
    """It came, and the service failed before it was used: the next request asks again."""
    assert bench.ask(read(32, 1, 2)) == []
    bench.protocol.fresh = FreshAnswer(Status.OK, live=True)
    bench.page.state = ServiceState.FAILED
    assert statuses(bench.settle()) == [(1, Status.FAILED_CLOSED)]
    bench.page.state = ServiceState.OK
    assert bench.ask(read(32, 2, 2)) == []
    assert bench.waits[-1] is Wait.FRESH


# Clients that do not read


def held(connection: ClientConnection) -> int:
    """Bytes that a parked connection keeps."""
    replies = sum(len(reply.fixed) for reply in connection._replies)
    requests = connection.protocol
    return replies + (requests.held if isinstance(requests, NativeProtocol) else 0)


@pytest.mark.parametrize("length", [1, 32, 1000, 5000, CHUNK_BYTES, MAX_READ])
def test_a_client_that_does_not_read_is_parked_and_then_served(
    bench: Bench, length: int
) -> None:
    """No output is kept for it; what it asked for is complete when it reads at last."""
    asked = 0
    while Wait.WRITABLE not in bench.waits:
        bench.client.sendall(read(length, asked % 65536))
        asked += 1
        # Far more than a socket's buffer holds, at 768 bytes or more for each reply.
        assert asked < 5000
        bench.serve()
        assert held(bench.connection) <= 64 * HEADER.size
    assert bench.serve() is Wait.WRITABLE
    for _ in range(20):
        bench.client.sendall(read(length, asked % 65536))
        asked += 1
    assert bench.serve() is Wait.WRITABLE
    assert held(bench.connection) <= 64 * HEADER.size
    replies = bench.received() + bench.settle()
    assert [reply.tag for reply, _ in replies] == [tag % 65536 for tag in range(asked)]
    assert all(len(payload) == length for _, payload in replies)
    assert bench.protocol.requests == asked


def test_what_is_drawn_anew_is_counted_once(bench: Bench) -> None:
    """A reply that was parked many times counts as its length."""
    assert len(bench.ask(read(MAX_READ, 1))) == 1
    assert bench.waits.count(Wait.WRITABLE) + bench.waits.count(Wait.YIELD) >= 2
    assert bench.generator.take_drawn() == MAX_READ


def test_a_client_that_closes_its_half_is_still_answered(bench: Bench) -> None:
    """All that it asked for; then the end."""
    bench.client.sendall(read(32, 1) + read(100_000, 2) + info(3) + b"half")
    bench.client.shutdown(socket.SHUT_WR)
    assert [reply.tag for reply, _ in bench.settle()] == [1, 2, 3]
    assert bench.waits[-1] is Wait.END


@pytest.mark.parametrize("length", [32, MAX_READ])
def test_a_client_that_has_gone_ends_the_connection(bench: Bench, length: int) -> None:
    """Before, and in the middle of, a reply."""
    bench.client.sendall(read(length, 1))
    if length == MAX_READ:
        while bench.serve() is not Wait.WRITABLE:
            pass
    bench.client.close()
    while bench.serve() in {Wait.WRITABLE, Wait.YIELD, Wait.INPUT}:
        assert len(bench.waits) < 10
    assert bench.waits[-1] is Wait.END


def test_with_others_waiting_a_connection_takes_turns(bench: Bench) -> None:
    """A pipeline of replies gives the thread up between chunks; not while threads idle."""
    bench.client.sendall(b"".join(read(TURN_BYTES // 4, tag) for tag in range(5)))
    first = bench.serve()
    replies = bench.received()
    if bench.load.quiet:
        assert first is Wait.INPUT
        assert len(replies) == 5
    else:
        assert first is Wait.YIELD
        assert len(replies) == 3
    assert len(replies + bench.settle()) == 5


@pytest.mark.parametrize(
    ("request_bytes", "most"),
    [(read(32), 64), (info(), 8), (encode_request(Request(Op.LEASE, RequestFlag(0), 0, 0)), 8)],
)
def test_a_turn_in_a_crowd_is_short(request_bytes: bytes, most: int) -> None:
    """Of 500 requests it answers some; of one that is large it sends a part."""
    with Bench().seeded() as bench:
        bench.client.sendall(request_bytes * 500)
        assert bench.serve() is Wait.YIELD
        assert 1 <= bench.protocol.requests <= most
    with Bench().seeded() as bench:
        bench.client.sendall(read(MAX_READ))
        assert bench.serve() is Wait.YIELD
        assert 0 < bench.received_bytes() <= TURN_BYTES


def test_no_more_is_made_than_the_socket_takes() -> None:
    """What does not go into a small send buffer is made anew later: that costs time."""
    with Bench(send_buffer=8192).seeded() as bench:
        sizes: list[int] = []
        bench.watch_sends(lambda size, _: sizes.append(size))
        bench.client.sendall(read(MAX_READ))
        assert len(bench.settle()) == 1
        assert len(sizes) > 10
        assert max(sizes) <= 2 * 8192


def test_in_a_crowd_nobody_waits_for_a_client() -> None:
    """Neither for its next request nor for it to take a reply: the other turns wait."""
    with Bench().seeded() as bench:
        forever = struct.pack("ll", 3600, 0)
        bench.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, forever)
        bench.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, forever)
        assert bench.serve() is Wait.INPUT
        asked = 0
        while bench.waits[-1] is not Wait.WRITABLE:
            bench.client.sendall(read(1000))
            asked += 1
            assert asked < 5000
            bench.serve()


def test_a_large_reply_under_way_goes_on_from_the_new_seed() -> None:
    """What is made once the generation has moved is nothing that the old seed says."""
    with Bench().seeded() as bench:
        bench.load.quiet = True
        bench.connection._chunk = 4096
        chunks = count()

        class Moves(nullcontext[None]):
            """The lock of whoever makes a piece, which the supervisor comes before."""

            def __enter__(self) -> None:
                if next(chunks) == 2:
                    bench.generator.seed(2, bytearray(b"t" * 32))
                    bench.page.generation = 2

        bench.load.bulk = cast("threading.Lock", Moves())
        [(_, data)] = bench.ask(read(8 * 4096))
    reference = Drbg(b"worker")
    reference.reseed([(b"parent", bytearray(b"s" * 32))])
    old = bytearray(8 * 4096)
    reference.keystream().fill(memoryview(old))
    # The third piece was begun as the generation moved.
    assert data[: 3 * 4096 - HEADER.size] == old[: 3 * 4096 - HEADER.size]
    assert data[3 * 4096 - HEADER.size :][:32] not in old
    assert next(chunks) > 3


@pytest.mark.parametrize("role", [Role.ENTROPY, Role.STREAM])
def test_one_large_reply_is_made_at_a_time_and_small_ones_go_on(role: Role) -> None:
    """While another thread makes a piece of one, a large one waits and a small one does not."""
    with (
        Bench(role).seeded() as large,
        Bench(page=large.page, generator=large.generator) as small,
    ):
        small.load = large.load
        if role is Role.ENTROPY:
            large.client.sendall(read(MAX_READ))
        thread = threading.Thread(target=large.serve)
        with large.load.bulk:
            thread.start()
            assert all(small.ask(read(32))[0][1] for _ in range(100))
            assert large.received_bytes() == 0
        thread.join()
        assert large.received_bytes() > 0


@pytest.mark.parametrize("alone", [False, True])
def test_who_does_not_read_keeps_no_other_from_a_large_reply(*, alone: bool) -> None:
    """A thread that waits for room lets others make theirs meanwhile."""
    with Bench(Role.STREAM).seeded() as bench:
        bench.load.quiet = True
        bench.load.alone = alone
        waits: list[bool] = []

        def watch(_: int, flags: int) -> None:
            if not flags & socket.MSG_DONTWAIT:
                waits.append(bench.load.bulk.locked())

        bench.watch_sends(watch)
        while bench.serve() is not Wait.WRITABLE:
            pass
        assert waits
        assert not any(waits)


# The stream


def test_a_stream_gives_bytes_as_long_as_they_are_taken() -> None:
    """Without a request; it is parked while nobody reads and holds nothing."""
    with Bench(Role.STREAM).seeded() as bench:
        got = bytearray()
        while len(got) < 3 * MAX_READ:
            wait = bench.serve()
            assert wait in {Wait.WRITABLE, Wait.YIELD}
            try:
                while True:
                    got += bench.client.recv(1 << 20)
            except BlockingIOError:
                pass
        assert held(bench.connection) == 0
        blocks = {bytes(got[at : at + 16]) for at in range(0, len(got) - 16, 16)}
        assert len(blocks) == (len(got) - 1) // 16
        assert bench.generator.take_drawn() == len(got)


def test_a_stream_waits_for_the_seed() -> None:
    """And begins with it."""
    with Bench(Role.STREAM) as bench:
        assert bench.serve() is Wait.SEED
        bench.seeded()
        assert bench.serve() in {Wait.WRITABLE, Wait.YIELD}
        assert bench.client.recv(32)


def test_a_stream_ends_when_the_service_fails_closed() -> None:
    """A stream has no status to say so."""
    with Bench(Role.STREAM).seeded() as bench:
        bench.serve()
        bench.page.state = ServiceState.FAILED
        assert bench.serve() is Wait.END


def test_two_connections_never_get_the_same_bytes() -> None:
    """They share a generator, not its output."""
    with Bench().seeded() as one, Bench(page=one.page, generator=one.generator) as other:
        drawn = [
            payload
            for bench in (one, other) * 50
            for length in (32, 2000)
            for _, payload in bench.ask(read(length))
        ]
        assert len({payload[:32] for payload in drawn}) == 200


def test_a_lease_that_is_not_taken_is_overwritten_at_the_end() -> None:
    """Its client has no room for it and goes: the seed does not stay behind in its reply."""
    lease = encode_request(Request(Op.LEASE, RequestFlag(0), 5, 0))
    with Bench(send_buffer=1).seeded() as bench:
        bench.client.sendall(200 * lease)
        bench.load.quiet = True
        assert bench.serve() is Wait.WRITABLE
        held = [reply.fixed for reply in bench.connection._replies]
        assert held
        assert all(any(one[-KEY_BYTES:]) for one in held)
        bench.connection.close()
        assert all(bytes(one) == bytes(len(one)) for one in held)


def test_a_lease_that_was_sent_is_overwritten() -> None:
    """As far as the kernel has taken it, it does not stay behind; what is left is as it was."""
    lease = bytes(range(HEADER.size + LEASE_BYTES))
    with Bench() as bench:
        reply = Sending(bytearray(lease))
        bench.connection._replies.append(reply)
        for sent, left in ((10, lease[10:]), (len(lease) - 10, b"")):
            before = reply.fixed
            bench.connection._advance(sent)
            assert before == bytes(len(before))
            assert reply.fixed == left
