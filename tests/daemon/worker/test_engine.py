"""Many connections over a few threads, with real sockets and a real page."""

# Races are made at inner seams:
# pyright: reportPrivateUsage=false

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.page import PageReader, PageWriter, ServiceState
from hwentropy_core.wire import HEADER, Op, Request, RequestFlag, Status, encode_request
from hwentropyd.channel import Assign
from hwentropyd.role import Role
from hwentropyd.worker import engine as module
from hwentropyd.worker.connection import Buffers, ClientConnection, Load, OneTurn
from hwentropyd.worker.drbg import WorkerDrbg
from hwentropyd.worker.engine import Engine
from hwentropyd.worker.protocols import FreshAnswer, LeaseTerms, Reply, Wait
from support.assigned import assigned

PATIENCE = 20.0
#: Fewer than a worker has, so that a test needs fewer connections to keep them busy.
THREADS = 4

KINDS = (Role.STREAM, Role.ENTROPY)


def read(length: int, tag: int = 0, flags: int = 0) -> bytes:
    """A READ."""
    return encode_request(Request(Op.READ, RequestFlag(flags), tag, length))


def until(condition: Callable[[], bool]) -> None:
    """Wait for other threads."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


class Bench:
    """An engine and its clients."""

    def __init__(self) -> None:
        self.page = PageWriter()
        self.generator = WorkerDrbg(PageReader(self.page.fd), lambda: None)
        self.ended: list[int] = []
        self.fresh_wanted: list[int] = []
        terms = LeaseTerms(1 << 30, 300, self.page.fd)
        self.engine = Engine(self.generator, terms, self.ended.append, self.fresh_wanted.append)
        self.clients: list[socket.socket] = []

    def seed(self) -> None:
        """A seed, and the state that goes with it."""
        self.generator.seed(self.page.generation + 1, bytearray(b"s" * 32))
        self.page.generation += 1
        self.page.state = ServiceState.OK

    def connect(
        self, role: Role = Role.ENTROPY, *, user: int = 1, bytes_per_second: int = 0
    ) -> socket.socket:
        """A client of a user; its connection's id is its number."""
        ours, client = socket.socketpair()
        client.settimeout(PATIENCE)
        self.clients.append(client)
        self.engine.adopt(ours, self._message(role, user, bytes_per_second))
        return client

    def _message(self, role: Role, user: int, bytes_per_second: int) -> Assign:
        number = len(self.clients) - 1
        return assigned(number, role, user=user, bytes_per_second=bytes_per_second)

    def waiting(self, wait: Wait) -> int:
        """How many connections wait for this."""
        with self.engine._lock:
            return sum(one is wait for _, one in self.engine._waiting.values())

    def end(self) -> None:
        """Close all clients."""
        for client in self.clients:
            client.close()
        until(lambda: not self.engine._by_fd)


@pytest.fixture
def bench(mocker: MockerFixture) -> Iterator[Bench]:
    """An engine at work, seeded."""
    mocker.patch.object(module, "THREADS", THREADS)
    one = Bench()
    one.seed()
    one.engine.start()
    yield one
    one.end()


@pytest.fixture
def unseeded(mocker: MockerFixture) -> Iterator[Bench]:
    """An engine at work, without a seed."""
    mocker.patch.object(module, "THREADS", THREADS)
    one = Bench()
    one.engine.start()
    yield one
    one.end()


def reply(client: socket.socket) -> tuple[int, int, bytes]:
    """Tag, status and payload of the next reply."""
    status, _, tag, length = HEADER.unpack(exactly(client, HEADER.size))
    return tag, status, exactly(client, length)


def exactly(client: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = bytearray()
    while len(data) < size:
        got = client.recv(size - len(data))
        if not got:
            raise EOFError
        data += got
    return bytes(data)


def closed(client: socket.socket) -> bool:
    """Whether the engine ended the connection (without another byte)."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_many_connections_over_few_threads(bench: Bench) -> None:
    """Two hundred, in whatever order they ask, each gets its own bytes."""
    clients = [bench.connect() for _ in range(200)]
    for tag, client in enumerate(clients):
        client.sendall(read(32, tag))
    replies = [reply(client) for client in reversed(clients)]
    assert [tag for tag, _, _ in replies] == list(range(199, -1, -1))
    assert len({payload for _, _, payload in replies}) == 200
    assert bench.engine.totals() == 200


def test_nobody_starves_beside_greedy_clients(bench: Bench) -> None:
    """Three times as many of them as threads, streaming and pipelining without end."""
    stop = threading.Event()
    greedy = [bench.connect(KINDS[number % 2]) for number in range(3 * THREADS)]

    def take(client: socket.socket, *, ask: bool) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not stop.is_set():
                if ask:
                    client.sendall(read(200_000) * 2)
                    reply(client)
                    reply(client)
                else:
                    client.recv(1 << 20)

    threads = [
        threading.Thread(target=take, args=(client,), kwargs={"ask": number % 2 == 1})
        for number, client in enumerate(greedy)
    ]
    for thread in threads:
        thread.start()
    try:
        for tag in range(20):
            newcomer = bench.connect()
            newcomer.sendall(read(32, tag))
            assert reply(newcomer)[:2] == (tag, Status.OK)
        assert all(thread.is_alive() for thread in threads)
    finally:
        stop.set()
        for client in greedy:
            client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE)


def test_clients_that_never_read_cost_no_thread(bench: Bench) -> None:
    """Ten times as many as threads; they are parked and the next one is served."""
    for _ in range(10 * THREADS):
        bench.connect().sendall(read(1 << 20))
    for tag in range(20):
        client = bench.connect()
        client.sendall(read(32, tag))
        assert reply(client)[0] == tag


def test_one_users_crowd_is_one_turn_before_anothers_request(mocker: MockerFixture) -> None:
    """Five hundred are ready when another user asks: it is served within two turns."""
    bench = Bench()
    bench.seed()
    served: list[int] = []
    serve = ClientConnection.serve

    def watched(self: ClientConnection, *args: object) -> Wait:
        served.append(self.user)
        if len(served) == 5:
            other.sendall(read(32, 7))
        return serve(self, *args)  # type: ignore[arg-type]

    mocker.patch.object(ClientConnection, "serve", watched)
    crowd = [bench.connect(user=1) for _ in range(500)]
    other = bench.connect(user=2)
    for client in crowd:
        client.sendall(read(32) * 200)
    bench.engine.start()  # all are ready by now
    assert reply(other)[:2] == (7, Status.OK)
    assert served[:5] == [1] * 5
    assert served.index(2) <= 7
    bench.end()


def test_a_crowd_is_served_by_one_thread(bench: Bench, mocker: MockerFixture) -> None:
    """In turns, by the one that has the lead: none of the others stays with a connection."""
    serve = ClientConnection.serve
    loads: list[object] = []

    def watched(self: ClientConnection, buffers: Buffers, load: Load) -> Wait:
        loads.append(load)
        return serve(self, buffers, load)

    mocker.patch.object(ClientConnection, "serve", watched)
    crowd = [bench.connect() for _ in range(100)]
    for _ in range(5):
        for client in crowd:
            client.sendall(read(32) * 10)
        for client in crowd:
            for _ in range(10):
                assert reply(client)[1] == Status.OK
    turns = sum(isinstance(load, OneTurn) for load in loads)
    assert turns > 0.9 * len(loads)
    until(lambda: bench.engine._staying == 0)


def test_a_stream_keeps_to_its_users_rate(bench: Bench) -> None:
    """It pauses and goes on; another user's does not."""
    begun = time.monotonic()
    paced = bench.connect(Role.STREAM, user=5, bytes_per_second=100_000)
    assert len(exactly(paced, 130_000)) == 130_000
    # A second's worth at once; what goes beyond it a tenth of a second's at a time.
    assert time.monotonic() - begun >= 0.2
    assert len(exactly(bench.connect(Role.STREAM), 3_000_000)) == 3_000_000


def test_idle_connections_cost_no_thread(bench: Bench) -> None:
    """They wait in the kernel, and all threads are free."""
    for _ in range(100):
        bench.connect()
    until(lambda: bench.engine.quiet and bench.engine._staying == 0)


def test_a_connection_that_ends_is_told_once(bench: Bench) -> None:
    """By its number, whoever ended it; what it asked for stays counted."""
    clients = [bench.connect() for _ in range(20)]
    for client in clients:
        client.sendall(read(32))
        reply(client)
    for client in clients[:10]:
        client.close()
    for client in clients[10:]:
        client.sendall(b"\xff" * 8)
        assert reply(client)[1] == Status.BAD_REQUEST
        assert closed(client)
    until(lambda: len(bench.ended) == 20)
    assert Counter(bench.ended) == Counter(range(20))
    assert bench.engine.totals() == 30


# Waiting for a seed and for fresh entropy


def test_all_that_wait_for_the_seed_are_served_with_it(unseeded: Bench) -> None:
    """A hundred, streams among them."""
    clients = [unseeded.connect() for _ in range(100)]
    streams = [unseeded.connect(Role.STREAM) for _ in range(5)]
    for tag, client in enumerate(clients):
        client.sendall(read(32, tag))
    until(lambda: unseeded.waiting(Wait.SEED) == 105)
    unseeded.seed()
    unseeded.engine.resume()
    assert [reply(client)[0] for client in clients] == list(range(100))
    assert all(exactly(stream, 1000) for stream in streams)


def test_a_seed_that_comes_while_a_connection_is_put_away_is_seen(
    unseeded: Bench, mocker: MockerFixture
) -> None:
    """After it looked at the page, before it is among those who wait: no wake-up is lost."""
    serve = ClientConnection.serve
    seeded = threading.Event()

    def slow(self: ClientConnection, *args: object) -> Wait:
        wait = serve(self, *args)  # type: ignore[arg-type]
        if wait is Wait.SEED and not seeded.is_set():
            unseeded.seed()
            unseeded.engine.resume()
            seeded.set()
        return wait

    mocker.patch.object(ClientConnection, "serve", slow)
    client = unseeded.connect()
    client.sendall(read(32, 7))
    assert reply(client)[:2] == (7, Status.OK)
    assert seeded.is_set()


def test_a_connection_that_ends_while_it_waits(unseeded: Bench) -> None:
    """It is let go of at once, and those that stay are served."""
    clients = [unseeded.connect() for _ in range(20)]
    for tag, client in enumerate(clients):
        client.sendall(read(32, tag))
    until(lambda: unseeded.waiting(Wait.SEED) == 20)
    for client in clients[::2]:
        client.close()
    until(lambda: len(unseeded.ended) == 10)
    assert unseeded.waiting(Wait.SEED) == 10
    unseeded.seed()
    unseeded.engine.resume()
    assert [reply(client)[0] for client in clients[1::2]] == list(range(1, 20, 2))


class AtAnswer:
    """A protocol that asks for fresh entropy, does something at the answer and gives a byte."""

    REPLY = b"x"
    reads = False
    closing = False
    requests = 0

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do
        self._given: FreshAnswer | None = None
        self._done = False

    @property
    def fresh(self) -> FreshAnswer | None:
        """How the request for fresh entropy ended."""
        return self._given

    @fresh.setter
    def fresh(self, answer: FreshAnswer | None) -> None:
        self._do()
        self._given = answer

    def next(self) -> Reply | Wait:
        """Fresh entropy first."""
        if self._given is None:
            return Wait.FRESH
        if self._done:
            return Wait.INPUT
        self._done = True
        return Reply(self.REPLY)

    def answer_small(self, *_: object) -> int:
        """Nothing is small."""
        return 0


def test_a_connection_that_ends_on_its_way_back_is_left_alone(
    bench: Bench, mocker: MockerFixture
) -> None:
    """It ends between being taken off the list and being put back: that ends nothing else."""

    def go() -> None:
        clients[0].close()
        until(lambda: bench.ended == [0])

    made = [AtAnswer(go), AtAnswer(lambda: None)]
    mocker.patch("hwentropyd.worker.protocols.make", side_effect=made)
    clients = [bench.connect() for _ in made]
    until(lambda: bench.waiting(Wait.FRESH) == 2)
    for number in (0, 1):
        bench.engine.answer_fresh(number, FreshAnswer(Status.OK, live=True))
    assert exactly(clients[1], 1) == AtAnswer.REPLY
    assert bench.ended == [0]


@pytest.mark.parametrize("status", [Status.OK, Status.FAILED_CLOSED, Status.OVER_QUOTA])
def test_a_request_for_fresh_entropy_is_passed_on_and_answered(
    bench: Bench, status: Status
) -> None:
    """One message for each request, and its answer to that connection only."""
    clients = [bench.connect(), bench.connect()]
    for client in clients:
        client.sendall(read(32, 1, 2))
    until(lambda: sorted(bench.fresh_wanted) == [0, 1])
    until(lambda: bench.waiting(Wait.FRESH) == 2)
    bench.engine.resume()
    assert bench.waiting(Wait.FRESH) == 2
    bench.engine.answer_fresh(0, FreshAnswer(status, live=True))
    assert reply(clients[0])[:2] == (1, status)
    assert bench.waiting(Wait.FRESH) == 1
    bench.engine.answer_fresh(1, FreshAnswer(Status.OK, live=True))
    assert reply(clients[1])[:2] == (1, Status.OK)


def test_an_answer_to_nobody_is_nothing(bench: Bench) -> None:
    """Its connection has gone, or has not asked."""
    client = bench.connect()
    client.sendall(read(32, 1, 2))
    until(lambda: bench.waiting(Wait.FRESH) == 1)
    client.close()
    until(lambda: bench.ended == [0])
    bench.engine.answer_fresh(0, FreshAnswer(Status.OK, live=True))
    bench.engine.answer_fresh(99, FreshAnswer(Status.OK, live=True))
    other = bench.connect()
    other.sendall(read(32, 2))
    bench.engine.answer_fresh(1, FreshAnswer(Status.OK, live=True))
    assert reply(other)[:2] == (2, Status.OK)


def test_no_connection_is_served_by_two_threads(unseeded: Bench, mocker: MockerFixture) -> None:
    """While it is woken by its client, by resume and by its end all at once."""
    serve = ClientConnection.serve
    inside: set[int] = set()
    twice: list[int] = []
    lock = threading.Lock()

    def watched(self: ClientConnection, *args: object) -> Wait:
        with lock:
            if self.id in inside:
                twice.append(self.id)
            inside.add(self.id)
        try:
            return serve(self, *args)  # type: ignore[arg-type]
        finally:
            with lock:
                inside.discard(self.id)

    mocker.patch.object(ClientConnection, "serve", watched)
    clients = [unseeded.connect() for _ in range(40)]
    for round_ in range(30):
        # Seeded and not in turns: connections wait, and are woken from all sides.
        unseeded.page.state = ServiceState.STARTING
        for client in clients:
            client.sendall(read(32, round_))
        if round_ == 0:
            unseeded.seed()
        unseeded.page.state = ServiceState.OK
        wakers = [threading.Thread(target=unseeded.engine.resume) for _ in range(4)]
        for waker in wakers:
            waker.start()
        assert {reply(client)[0] for client in clients} == {round_}
        for waker in wakers:
            waker.join(PATIENCE)
    assert twice == []


# The end


def test_a_drain_answers_what_has_come(bench: Bench) -> None:
    """Pipelined, large, of a client that reads late; and takes nothing more."""
    earlier = bench.connect()
    earlier.close()
    until(lambda: bench.ended == [0])  # the engine has been empty before
    client = bench.connect()
    client.sendall(b"".join(read(1 << 20, tag) for tag in range(4)))
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(reply(client)[0] for _ in range(4)))
    exactly_one = client.recv(1, socket.MSG_PEEK)
    assert exactly_one
    reader.start()
    begun = time.monotonic()
    bench.engine.drain(PATIENCE)
    assert time.monotonic() - begun < PATIENCE
    assert not bench.engine._by_fd
    reader.join(PATIENCE)
    assert got == [0, 1, 2, 3]
    assert closed(client)


def test_a_drain_ends_who_waits_idles_or_streams(bench: Bench) -> None:
    """At once: there is nothing to answer."""
    idle, waits, stream = bench.connect(), bench.connect(), bench.connect(Role.STREAM)
    waits.sendall(read(32, 1, 2))
    until(lambda: bench.waiting(Wait.FRESH) == 1)
    bench.engine.drain(PATIENCE)
    assert not bench.engine._by_fd
    until(lambda: sorted(bench.ended) == [0, 1, 2])
    assert closed(idle)
    assert closed(waits)
    with contextlib.suppress(ConnectionResetError):
        while stream.recv(1 << 20):
            pass


def test_a_drain_of_nobody_returns_at_once(bench: Bench) -> None:
    """Without its seconds."""
    begun = time.monotonic()
    bench.engine.drain(PATIENCE)
    assert time.monotonic() - begun < PATIENCE / 2


def test_a_drain_does_not_wait_for_ever(bench: Bench) -> None:
    """A client that does not read has so many seconds, and no more."""
    client = bench.connect()
    client.sendall(read(1 << 20))
    assert client.recv(1, socket.MSG_PEEK)
    begun = time.monotonic()
    bench.engine.drain(0.05)
    assert 0.05 <= time.monotonic() - begun < PATIENCE / 2
    assert bench.engine._by_fd


def test_a_connection_that_cannot_be_watched_is_turned_away_alone(
    mocker: MockerFixture,
) -> None:
    """With epoll's watches used up, the client sees its end and the others go on."""
    epoll = mocker.Mock(wraps=select.epoll())
    epoll.register.side_effect = OSError(28, "No space left on device")
    mocker.patch("hwentropyd.worker.engine.select.epoll", return_value=epoll)
    bench = Bench()
    bench.seed()
    bench.engine.start()
    assert bench.connect().recv(1) == b""
    assert bench.ended == [0]
    epoll.register.side_effect = None
    client = bench.connect()
    client.sendall(read(4))
    assert len(client.recv(64)) == HEADER.size + 4
    bench.end()
