"""A worker's end of its channel, over a real one, with the test as the supervisor."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
import pytest
from pytest_mock import MockerFixture

from hwentropy_core.known_answers import KnownAnswerError
from hwentropy_core.page import PageWriter, ServiceState
from hwentropy_core.wire import HEADER, Op, RequestFlag, Status
from hwentropyd import channel
from hwentropyd.worker.process import WorkerProcess, prepare
from hwentropyd.worker.protocols import LeaseTerms
from hwentropyd.worker.settings import WorkerSettings
from support.assigned import assigned

PATIENCE = 20.0

M = TypeVar("M", bound=channel.Message)


class Bench:
    """The supervisor's end, and a worker that runs in a thread."""

    def __init__(self) -> None:
        self.page = PageWriter()
        self.sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        self._open: dict[int, socket.socket] = {}
        terms = LeaseTerms(1 << 20, 60, self.page.fd)
        self.thread = threading.Thread(target=WorkerProcess(self.theirs, terms).run)
        self.thread.start()
        self.heard(channel.Ready)

    def say(self, message: channel.Message, *fds: int) -> None:
        """As the supervisor would."""
        socket.send_fds(self.sock, [message.encode()], fds)

    def seed(self, generation: int) -> None:
        """A seed, then the page, then word of it."""
        self.say(channel.Seed(generation, bytearray([generation]) * 32))
        self.page.generation = generation
        self.page.state = ServiceState.OK
        self.say(channel.Wake())

    def heard(self, kind: type[M]) -> M:
        """The next message, which has to be of this kind."""
        message = channel.decode(self.sock.recv(channel.MESSAGE_BYTES))
        if isinstance(message, channel.Closed):
            self._open.pop(message.id).close()
        assert isinstance(message, kind), message
        return message

    def connect(self, number: int = 1) -> socket.socket:
        """A client that was handed over."""
        ours, client = socket.socketpair()
        client.settimeout(PATIENCE)
        self._open[number] = client
        with ours:
            self.say(assigned(number), ours.fileno())
        return client

    def end(self) -> None:
        """The supervisor is gone, its clients before it."""
        for client in self._open.values():
            client.close()
        while self._open and self.thread.is_alive():
            self.heard(channel.Closed)
        self.sock.close()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.theirs.close()
        os.close(self.page.fd)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """One of its own."""
    made = Bench()
    yield made
    made.end()


def status(client: socket.socket) -> Status:
    """That of the next reply, of which the rest is read too."""
    code, _, _, length = HEADER.unpack(client.recv(HEADER.size, socket.MSG_WAITALL))
    if length:
        assert len(client.recv(length, socket.MSG_WAITALL)) == length
    return Status(code)


READ = HEADER.pack(Op.READ, 0, 1, 32)
FRESH = HEADER.pack(Op.READ, RequestFlag.PREDICTION_RESISTANCE, 1, 32)


def test_a_connection_is_served_once_there_is_a_seed(bench: Bench) -> None:
    """What came before it waits; Wake has the worker look again."""
    with bench.connect() as client:
        client.sendall(READ)
        bench.seed(1)
        assert status(client) is Status.OK


def test_the_end_of_a_connection_is_reported(bench: Bench) -> None:
    """By its number, and so is one whose socket did not come along."""
    bench.connect(7).close()
    assert bench.heard(channel.Closed).id == 7
    bench.say(assigned(8))
    assert channel.decode(bench.sock.recv(channel.MESSAGE_BYTES)) == channel.Closed(8)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda number: channel.Fresh(number, met=True, live=True), Status.OK),
        (lambda number: channel.Fresh(number, met=False, live=False), Status.FAILED_CLOSED),
        (channel.FreshRefused, Status.OVER_QUOTA),
    ],
)
def test_fresh_entropy_is_asked_for_and_the_answer_told(
    bench: Bench, answer: Callable[[int], channel.Message], told: Status
) -> None:
    """The supervisor decides; the worker waits without a thread."""
    bench.seed(1)
    with bench.connect(3) as client:
        client.sendall(FRESH)
        wanted = bench.heard(channel.WantFresh)
        assert wanted.id == 3
        bench.say(answer(wanted.id))
        assert status(client) is told


def test_a_ping_is_answered_with_the_counts(bench: Bench) -> None:
    """Requests and bytes in all, and the bytes that were not told yet."""
    bench.seed(1)
    with bench.connect() as client:
        client.sendall(READ)
        assert status(client) is Status.OK
        bench.say(channel.Ping())
        first = bench.heard(channel.Pong)
        bench.say(channel.Ping())
        second = bench.heard(channel.Pong)
    assert (first.requests, first.bytes, first.drawn) == (1, 32, 32)
    assert (second.requests, second.bytes, second.drawn) == (1, 32, 0)


def test_told_to_stop_it_answers_what_came_and_ends(bench: Bench) -> None:
    """Nobody is cut off in the middle."""
    bench.seed(1)
    with bench.connect() as client:
        client.sendall(READ * 3)
        bench.say(channel.Stop())
        assert [status(client) for _ in range(3)] == [Status.OK] * 3
        assert client.recv(1) == b""
    assert bench.heard(channel.Closed)
    bench.thread.join(PATIENCE)
    assert not bench.thread.is_alive()


def test_it_takes_its_settings_and_gives_up_its_rights_before_it_serves(
    mocker: MockerFixture,
) -> None:
    """`prepare` returns what serves; nothing is served with more rights than that."""
    page = PageWriter()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    limit = mocker.patch("hwentropyd.confinement.raise_descriptor_limit")
    confine = mocker.patch("hwentropyd.confinement.confine_worker")
    with ours, theirs:
        settings = WorkerSettings(1 << 20, 60)
        socket.send_fds(ours, [msgspec.msgpack.encode(settings)], [page.fd])
        serve = prepare(theirs)
        limit.assert_called_once_with()
        confine.assert_called_once_with()
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(ours.recv(64))  # it does not say that it is ready
        ours.shutdown(socket.SHUT_WR)
        serve()
        assert channel.decode(ours.recv(channel.MESSAGE_BYTES)) == channel.Ready()


def test_no_seed_stays_in_what_it_was_received_by(mocker: MockerFixture) -> None:
    """The channel's buffer is overwritten behind every message."""
    decoded = mocker.spy(channel, "decode")
    made = Bench()
    made.seed(1)
    made.say(channel.Ping())
    made.heard(channel.Pong)
    [buffer] = {
        id(given.obj): given.obj
        for (given,) in (call.args for call in decoded.call_args_list)
        if isinstance(given, memoryview)
    }.values()
    assert isinstance(buffer, bytearray)
    assert len(buffer) == channel.MESSAGE_BYTES
    assert not any(buffer[len(channel.Ping().encode()) :])
    made.end()


def test_a_worker_that_computes_wrongly_does_not_begin(mocker: MockerFixture) -> None:
    """It ends before it takes its settings, so it never has a connection."""
    mocker.patch("hwentropy_core.known_answers.check", side_effect=KnownAnswerError("the DRBG"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(KnownAnswerError):
        prepare(theirs)


def test_a_worker_that_begins_to_compute_wrongly_ends_when_asked(
    mocker: MockerFixture,
) -> None:
    """It says nothing more, least of all that it passed."""
    page = PageWriter()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    with ours, theirs:
        worker = WorkerProcess(theirs, LeaseTerms(1 << 20, 60, page.fd))
        mocker.patch(
            "hwentropy_core.known_answers.check", side_effect=KnownAnswerError("the DRBG")
        )
        ours.send(channel.Check().encode())
        with pytest.raises(KnownAnswerError):
            worker.run()
        assert isinstance(channel.decode(ours.recv(channel.MESSAGE_BYTES)), channel.Ready)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(channel.MESSAGE_BYTES)
    os.close(page.fd)
