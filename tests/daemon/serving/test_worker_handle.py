"""One worker as the supervisor sees it, over a real channel: its messages, its answers."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from hwentropyd.channel import Fresh, Ping, Seed, Wake
from hwentropyd.serving.worker_handle import ANSWER_SECONDS, WorkerHandle
from support.fake_worker import FakeWorker, fill, run, until


@pytest.fixture
def process() -> Iterator[FakeWorker]:
    """The worker's end."""
    made = FakeWorker()
    yield made
    made.close()


@pytest.fixture
def handle(process: FakeWorker) -> Callable[[], WorkerHandle]:
    """Makes its handle, in the running loop."""
    return lambda: WorkerHandle(process.child, 1, asyncio.get_running_loop(), 100.0)


def test_messages_come_in_their_order_and_none_is_lost(
    process: FakeWorker, handle: Callable[[], WorkerHandle]
) -> None:
    """Those that found the channel full as well: they go as soon as there is room."""

    async def talk() -> None:
        sent = fill(handle())
        heard: list[int] = []

        def all_heard() -> bool:
            heard.extend(cast("Fresh", one).id for one in process.heard())
            return len(heard) >= sent

        await until(all_heard)
        assert heard == list(range(sent))

    run(talk)


def test_a_connection_goes_now_or_not_at_all(
    process: FakeWorker, handle: Callable[[], WorkerHandle]
) -> None:
    """Not while a message waits, nor where the channel is full: its owner asks another."""

    async def talk() -> None:
        worker = handle()
        own = worker.sock.fileno()
        assert worker.hand_over(cast("Any", Wake()), own)
        assert process.heard() == [Wake()]
        fill(worker)
        assert not worker.hand_over(cast("Any", Wake()), own)
        process.heard()
        assert not worker.hand_over(cast("Any", Wake()), own)

    run(talk)


def test_it_serves_while_it_answers(
    process: FakeWorker, handle: Callable[[], WorkerHandle]
) -> None:
    """Ready, and no ping unanswered for longer than a busy one takes."""

    async def talk() -> None:
        worker = handle()
        assert not worker.serves(100.0)
        worker.ready = True
        assert worker.serves(1000.0)
        worker.ask(1000.0)
        assert process.heard() == [Ping()]
        assert worker.serves(1000.0 + ANSWER_SECONDS - 0.01)
        assert not worker.serves(1000.0 + ANSWER_SECONDS)
        assert worker.status(1000.0 + ANSWER_SECONDS).serving is False
        worker.asked = None
        assert worker.serves(1000.0 + ANSWER_SECONDS)
        worker.hung_up = True
        assert not worker.serves(1000.0 + ANSWER_SECONDS)

    run(talk)


def test_to_one_that_has_gone_nothing_is_said(
    process: FakeWorker, handle: Callable[[], WorkerHandle]
) -> None:
    """Neither to a closed end, nor over our own closed one: no error."""

    async def talk() -> None:
        worker = handle()
        process.sock.close()
        worker.send(Wake())
        assert worker.waiting == 0
        worker.close()
        worker.send(Wake())
        assert worker.waiting == 0

    run(talk)


@pytest.mark.parametrize("end", ["sent", "closed"])
def test_a_seed_that_waited_is_overwritten(
    process: FakeWorker, handle: Callable[[], WorkerHandle], end: str
) -> None:
    """Once it is sent, and where its worker is closed first."""
    seed = Seed(7, bytearray(b"seed of a worker, 32 bytes long."))

    async def talk() -> None:
        worker = handle()
        fill(worker)
        worker.send(seed)
        waiting = worker._queue[-1]
        assert waiting == seed.encode()
        if end == "sent":
            await until(lambda: seed in process.heard())
        else:
            worker.close()
        assert waiting == bytes(len(waiting))

    run(talk)
