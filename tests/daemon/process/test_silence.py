"""Real workers that are stopped, slow or left alone, with the pool's clock in our hands."""

import asyncio
import errno
import os
import signal
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropyd.config.schema import ServerConfig
from hwentropyd.seeding.pool import Seed
from hwentropyd.seeding.root import Root
from hwentropyd.serving import workers as workers_module
from hwentropyd.serving.workers import SILENT_SECONDS, WorkerHandle, WorkerPool
from support.raw_client import PATIENCE

pytestmark = pytest.mark.process


def ignore(*_: object) -> None:
    """Hear of bytes drawn or of a request, and do nothing."""


async def started() -> WorkerPool:
    """A pool of two workers that serve."""
    root = Root()
    root.reseed(Seed([(b"test", bytearray(range(40)))], {}, frozenset()), ignore)
    pool = WorkerPool(
        root,
        ServerConfig(workers=2),
        drawn=ignore,
        want_fresh=ignore,
        ended=ignore,
        refused=ignore,
    )
    pool.start()
    async with asyncio.timeout(PATIENCE):
        await pool.ready()
    return pool


async def until_answered(worker: WorkerHandle) -> None:
    """Wait for the answer to a ping."""
    async with asyncio.timeout(PATIENCE):
        while worker.asked is not None:
            await asyncio.sleep(0.001)


def test_a_worker_that_does_not_answer_is_replaced() -> None:
    """SILENT_SECONDS after an unanswered ping a stopped worker is killed; the other is not."""

    async def scenario() -> None:
        pool = await started()
        stopped, well = pool.workers
        os.kill(stopped.pid, signal.SIGSTOP)
        pool.tick(100.0)
        await until_answered(well)
        pool.tick(100.0 + SILENT_SECONDS - 0.1)
        assert stopped.process.poll() is None
        await until_answered(well)
        pool.tick(100.0 + SILENT_SECONDS)
        async with asyncio.timeout(PATIENCE):
            while stopped in pool.workers or len(pool.workers) < 2:
                await asyncio.sleep(0.001)
        assert well in pool.workers
        assert stopped.process.returncode == -signal.SIGKILL
        await pool.stop()

    asyncio.run(scenario())


def test_a_worker_that_cannot_be_started_is_tried_again(mocker: MockerFixture) -> None:
    """No process to be had for a moment (EAGAIN) does not leave the service short for ever."""

    async def scenario() -> None:
        pool = await started()
        lost, well = pool.workers
        real = workers_module.WorkerHandle
        failures = iter([OSError(errno.EAGAIN, "try again")])

        def sometimes(*given: Any) -> WorkerHandle:
            for error in failures:
                raise error
            return real(*given)

        mocker.patch.object(workers_module, "WorkerHandle", sometimes)
        mocker.patch.object(workers_module, "RESPAWN_SECONDS", 0.01)
        os.kill(lost.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while lost in pool.workers or len(pool.workers) < 2:
                await asyncio.sleep(0.001)
        assert well in pool.workers
        assert next(failures, None) is None
        await pool.stop()

    asyncio.run(scenario())


def test_a_supervisor_that_slept_blames_no_worker() -> None:
    """After an hour in which nobody pinged (a frozen service), every worker lives on."""

    async def scenario() -> None:
        pool = await started()
        workers = list(pool.workers)
        for now in (100.0, 3700.0, 7300.0):
            pool.tick(now)
            for worker in workers:
                await until_answered(worker)
        assert pool.workers == workers
        assert all(worker.process.poll() is None for worker in workers)
        await pool.stop()

    asyncio.run(scenario())


def test_messages_to_a_slow_worker_wait_and_keep_their_order() -> None:
    """More seeds than the channel holds: none is lost, none kills the worker that is slow."""

    async def scenario() -> None:
        pool = await started()
        slow = pool.workers[0]
        os.kill(slow.pid, signal.SIGSTOP)
        # Some hundred datagrams fill the channel (net.core.wmem_default / 768).
        for generation in range(1, 3001):
            pool.send_seeds(generation)
        os.kill(slow.pid, signal.SIGCONT)
        pool.tick(0.0)
        await until_answered(slow)
        assert slow in pool.workers
        await pool.stop()
        assert slow.process.returncode == 0

    asyncio.run(scenario())
