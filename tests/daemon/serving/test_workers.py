"""The pool of workers with processes of the test's own: a socket pair for each."""

import errno
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.limits import KEY_BYTES
from hwentropyd import channel
from hwentropyd.channel import Fresh, Pong, Ready
from hwentropyd.child import Child, Children
from hwentropyd.config.schema import ServerConfig
from hwentropyd.seeding.pool import Seed
from hwentropyd.seeding.root import Root
from hwentropyd.serving.incoming import Incoming
from hwentropyd.serving.workers import FORK_LOOKS, SILENT_LOOKS, WorkerPool
from hwentropyd.template_messages import NOT_STARTED
from support.fake_worker import FakeWorker, fill, run, until


class Bench:
    """A pool, its processes, and what it told others."""

    def __init__(self) -> None:
        self.processes: list[FakeWorker] = []
        self.failures: list[OSError] = []
        self.ended: list[int] = []
        self.over: list[str] = []
        self.root = Root()

    def start(self, role: str, *_: object) -> Child:
        """In the place of `Children.start`."""
        assert role == "worker"
        if self.failures:
            raise self.failures.pop()
        self.processes.append(FakeWorker())
        return self.processes[-1].child

    def pool(self, workers: int) -> WorkerPool:
        """Started; none of its workers is ready."""
        pool = WorkerPool(
            self.root,
            ServerConfig(workers=workers),
            cast("Children", self),
            drawn=lambda _: None,
            want_fresh=lambda *_: None,
            ended=lambda _, number: self.ended.append(number),
            refused=lambda *_: None,
        )
        pool.start()
        return pool

    def incoming(self, name: str) -> Incoming:
        """A connection that says when it is over."""
        ours, theirs = socket.socketpair()
        theirs.close()
        assign = lambda number: channel.Wake()  # noqa: E731, ARG005  (any message will do)
        made = SimpleNamespace(
            sock=ours,
            assign=assign,
            admission=SimpleNamespace(allowance=SimpleNamespace(pinned=False), user=0),
            ended=lambda _: self.over.append(name),
            turn_away=ours.close,
        )
        return cast("Incoming", made)

    def close(self) -> None:
        """All processes."""
        for process in self.processes:
            process.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """One of its own."""
    made = Bench()
    yield made
    made.close()


def test_all_workers_are_told_to_forget_and_a_new_one_has_nothing_to_forget(
    bench: Bench,
) -> None:
    """No seed goes to anybody before there is one of this copy's own."""

    async def talk() -> None:
        bench.root.reseed(Seed([(b"source a", bytearray(40))], {}, frozenset()), lambda _: None)
        pool = bench.pool(workers=2)
        for process in bench.processes:
            assert [type(one) for one in process.heard()] == [channel.Seed]
        bench.root.forget()
        pool.forget()
        for process in bench.processes:
            assert process.heard() == [channel.Forget()]
        bench.pool(workers=1)
        assert bench.processes[-1].heard() == []

    run(talk)


def test_a_workers_seed_is_its_own_alone(bench: Bench, mocker: MockerFixture) -> None:
    """It is overwritten here once it is sent."""

    async def talk() -> None:
        bench.root.reseed(Seed([(b"source a", bytearray(40))], {}, frozenset()), lambda _: None)
        seeds = mocker.spy(bench.root, "child_seed")
        bench.pool(workers=1)
        [message] = bench.processes[-1].heard()
        assert isinstance(message, channel.Seed)
        assert any(message.seed)
        assert seeds.spy_return == bytes(KEY_BYTES)

    run(talk)


def test_a_connection_does_not_overtake_a_message(bench: Bench) -> None:
    """Room in the channel is of the messages that wait; a connection is held meanwhile."""

    async def talk() -> None:
        pool = bench.pool(1)
        (process,) = bench.processes
        process.say(Ready())
        await until(lambda: not pool.full)
        worker = pool.workers[0]
        fill(worker)
        process.sock.recv(channel.MESSAGE_BYTES)  # there is room for one now
        with socket.socket() as sock:
            assert not worker.hand_over(cast("Any", channel.Wake()), sock.fileno())
        incoming = bench.incoming("held")
        pool.assign(incoming)
        assert pool.full
        heard: list[channel.Message] = []

        def handed_over() -> bool:
            heard.extend(process.heard())
            return not pool.full

        await until(handed_over)
        heard.extend(process.heard())
        # The stand-in for Assign came last, after all that waited.
        assert isinstance(heard[-1], channel.Wake)
        assert all(isinstance(one, Fresh) for one in heard[:-1])

    run(talk)


def test_nothing_is_handed_to_a_worker_that_is_not_ready(bench: Bench) -> None:
    """Connections wait for one that is, whatever else is started."""

    async def talk() -> None:
        pool = bench.pool(2)
        assert pool.full
        bench.processes[1].say(Ready())
        await until(lambda: not pool.full)
        for name in "abc":
            pool.assign(bench.incoming(name))
        assert [len(one.connections) for one in pool.workers] == [0, 3]
        assert bench.processes[0].heard() == []

    run(talk)


def test_the_end_of_a_worker_is_the_end_of_its_connections(bench: Bench) -> None:
    """Each is reported once, with the others' spared; a new worker takes its place."""

    async def talk() -> None:
        pool = bench.pool(2)
        for process in bench.processes:
            process.say(Ready())
        await until(lambda: all(one.ready for one in pool.workers))
        for name in "abcd":
            pool.assign(bench.incoming(name))
        lost = pool.workers[0]
        numbers = sorted(lost.connections)
        assert len(numbers) == 2
        bench.processes[0].sock.close()
        bench.processes[0].report.close()
        await until(lambda: lost not in pool.workers)
        assert sorted(bench.ended) == numbers
        assert bench.over == ["a", "c"]
        await until(lambda: len(bench.processes) == 3)

    run(talk)


def test_a_connection_that_a_worker_reports_is_over(bench: Bench) -> None:
    """It counts no more, and whoever was to be told is."""

    async def talk() -> None:
        pool = bench.pool(1)
        (process,) = bench.processes
        process.say(Ready())
        await until(lambda: not pool.full)
        pool.assign(bench.incoming("a"))
        (number,) = pool.workers[0].connections
        process.say(channel.Closed(number))
        process.say(channel.Closed(number))  # a second time is not heard
        process.say(Pong(1, 2, 3))
        await until(lambda: pool.workers[0].requests == 1)
        assert (bench.ended, bench.over) == ([number], ["a"])
        assert not pool.workers[0].connections

    run(talk)


def test_why_no_worker_can_be_started_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, mocker: Any
) -> None:
    """However often it is tried, by however many workers; and when all are back, that."""
    mocker.patch("hwentropyd.serving.starts.RESPAWN_SECONDS", 0.001)
    mocker.patch("hwentropyd.serving.starts.LONGEST_RESPAWN_SECONDS", 0.004)
    bench.failures = [OSError(errno.EAGAIN, "no process to be had")] * 9

    async def talk() -> None:
        pool = bench.pool(2)
        await until(lambda: len(bench.processes) == 2)
        first = bench.processes[0]
        first.report.send(NOT_STARTED + b"ImportError: no such thing")
        await until(lambda: len(bench.processes) == 3)
        shortage = pool.shortage()
        assert shortage is not None
        assert shortage[0].label == "failed"
        assert "could not start (ImportError: no such thing)" in shortage[1]
        for process in bench.processes[1:]:
            process.say(Ready())
        await until(lambda: all(one.ready for one in pool.workers))
        pool.tick()
        assert pool.shortage() is None

    run(talk)
    said = [text for text in caplog.messages if "cannot be started" in text]
    assert said == [
        "a worker cannot be started: no process to be had; tried again",
        (
            "a worker cannot be started: its process could not start "
            "(ImportError: no such thing); tried again"
        ),
    ]


@pytest.mark.parametrize("answered", [True, False])
def test_a_template_that_forks_no_more_is_replaced_soon(
    bench: Bench,
    answered: bool,  # noqa: FBT001 (a table)
) -> None:
    """Killed after FORK_LOOKS; one that is still at its imports has as long as a worker."""

    async def talk() -> None:
        pool = bench.pool(1)
        (process,) = bench.processes
        process.answered = answered
        pool.tick()  # asks
        killed = []
        for _ in range(SILENT_LOOKS):
            pool.tick()
            killed.append(process.killed)
        assert killed.index(True) + 1 == (FORK_LOOKS if answered else SILENT_LOOKS)

    run(talk)
