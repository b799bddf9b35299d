"""Real workers that are stopped, slow or left alone, with the pool's clock in our hands."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.page import ServiceState
from hwentropyd.child import Child, Children
from hwentropyd.config.schema import ServerConfig
from hwentropyd.seeding.pool import Seed
from hwentropyd.seeding.root import Root
from hwentropyd.serving.starts import LIVED_SECONDS
from hwentropyd.serving.worker_handle import ANSWER_SECONDS, WorkerHandle
from hwentropyd.serving.workers import SILENT_LOOKS, WorkerPool
from support.raw_client import PATIENCE

pytestmark = pytest.mark.process


def ignore(*_: object) -> None:
    """Hear of bytes drawn or of a request, and do nothing."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@asynccontextmanager
async def started(clock: Clock) -> AsyncIterator[WorkerPool]:
    """A pool of two workers that serve, and have lived for a while."""
    root = Root()
    root.reseed(Seed([(b"test", bytearray(range(40)))], {}, frozenset()), ignore)
    with closing(Children()) as children:
        pool = WorkerPool(
            root,
            ServerConfig(workers=2),
            children,
            drawn=ignore,
            want_fresh=ignore,
            ended=ignore,
            refused=ignore,
            clock=clock,
        )
        pool.start()
        async with asyncio.timeout(PATIENCE):
            await pool.ready()
        clock.now += LIVED_SECONDS
        yield pool
        await pool.stop()


async def until_answered(worker: WorkerHandle) -> None:
    """Wait for the answer to a ping."""
    async with asyncio.timeout(PATIENCE):
        while worker.asked is not None:
            await asyncio.sleep(0.001)


async def until_replaced(pool: WorkerPool, lost: WorkerHandle) -> None:
    """Wait until another one is there, and ready."""
    async with asyncio.timeout(PATIENCE):
        while lost in pool.workers or sum(one.ready for one in pool.workers) < 2:
            await asyncio.sleep(0.001)


def is_stopped(pid: int) -> bool:
    """Whether a process has stopped."""
    return "State:\tT" in Path(f"/proc/{pid}/status").read_text()


async def frozen(worker: WorkerHandle) -> None:
    """Stop a worker (SIGSTOP), and wait until it is."""
    os.kill(worker.pid, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE):
        while not is_stopped(worker.pid):
            await asyncio.sleep(0.001)


def test_a_frozen_worker_gets_no_connection_and_is_replaced_in_the_end() -> None:
    """None from ANSWER_SECONDS on, killed after SILENT_LOOKS; the other serves all along."""

    async def scenario() -> None:
        clock = Clock()
        async with started(clock) as pool:
            stopped, well = pool.workers
            await frozen(stopped)
            for look in range(SILENT_LOOKS):
                pool.tick()
                await until_answered(well)
                assert not stopped.child.ended
                assert well.serves(clock.now)
                assert stopped.serves(clock.now) is (look == 0)
                clock.now += ANSWER_SECONDS
            pool.tick()
            await until_replaced(pool, stopped)
            assert well in pool.workers
            assert stopped.child.ended == "died of SIGKILL"

    asyncio.run(scenario())


def test_looks_count_and_not_seconds() -> None:
    """A machine that was stopped for a minute after a ping costs nobody its worker."""

    async def scenario() -> None:
        clock = Clock()
        async with started(clock) as pool:
            workers = list(pool.workers)
            for worker in workers:
                await frozen(worker)
            pool.tick()
            clock.now += 60.0
            pool.tick()
            assert pool.full
            assert pool.shortage() == (ServiceState.FAILED, "no worker answers")
            for worker in workers:
                os.kill(worker.pid, signal.SIGCONT)
                await until_answered(worker)
            assert pool.workers == workers
            assert pool.shortage() is None
            assert not pool.full

    asyncio.run(scenario())


def test_a_worker_that_cannot_be_started_is_tried_again(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """No process to be had for a moment (EAGAIN): one line, and both are back."""

    async def scenario() -> None:
        async with started(Clock()) as pool:
            lost, well = pool.workers
            real = Children.start
            failures = [OSError(errno.EAGAIN, "try again")] * 3

            def sometimes(children: Children, *given: object) -> Child:
                if failures:
                    raise failures.pop()
                return real(children, *given)  # type: ignore[arg-type]

            mocker.patch.object(Children, "start", sometimes)
            mocker.patch("hwentropyd.serving.starts.RESPAWN_SECONDS", 0.01)
            os.kill(lost.pid, signal.SIGKILL)
            await until_replaced(pool, lost)
            assert well in pool.workers
            assert failures == []

    asyncio.run(scenario())
    said = [text for text in caplog.messages if "cannot be started" in text]
    assert said == ["a worker cannot be started: try again; tried again"]


def test_a_supervisor_that_slept_blames_no_worker() -> None:
    """After an hour in which nobody pinged (a frozen service), every worker lives on."""

    async def scenario() -> None:
        clock = Clock()
        async with started(clock) as pool:
            workers = list(pool.workers)
            for _ in range(3):
                clock.now += 3600.0
                pool.tick()
                for worker in workers:
                    await until_answered(worker)
            assert pool.workers == workers
            assert not any(worker.child.ended for worker in workers)

    asyncio.run(scenario())


def test_messages_to_a_slow_worker_wait() -> None:
    """More seeds than the channel holds: none kills the worker that is slow."""

    async def scenario() -> None:
        async with started(Clock()) as pool:
            slow = pool.workers[0]
            await frozen(slow)
            # Some hundred datagrams fill the channel (net.core.wmem_default / 768).
            for generation in range(1, 3001):
                pool.send_seeds(generation)
            os.kill(slow.pid, signal.SIGCONT)
            pool.tick()
            await until_answered(slow)
            assert slow in pool.workers
            await pool.stop()
            assert slow.child.ended == "ended with exit code 0"

    asyncio.run(scenario())
