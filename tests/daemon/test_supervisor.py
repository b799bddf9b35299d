"""What the supervisor remembers of those who wait, without processes or devices."""

# What it remembers is looked at from within:
# pyright: reportPrivateUsage=false

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropyd.config.load import load
from hwentropyd.operating.notify import Notifier
from hwentropyd.seeding.pool import Contribution
from hwentropyd.serving.listeners import Listeners
from hwentropyd.serving.workers import WorkerHandle
from hwentropyd.supervisor import NotEnoughEntropyError, Supervisor

Scenario = Callable[[Supervisor], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario with a supervisor whose sources were not started: no seed comes."""
    config = tmp_path / "hwentropyd.toml"
    config.write_text("[server]\nprediction_resistance_seconds = 0.1\n")

    def ran(scenario: Scenario) -> None:
        async def main() -> None:
            listeners = Listeners(tmp_path / "run")
            try:
                await scenario(Supervisor(load(config), listeners, Notifier({})))
            finally:
                listeners.close()

        asyncio.run(main())

    return ran


async def turn() -> None:
    """Let the tasks that are ready go on, and their callbacks."""
    for _ in range(5):
        await asyncio.sleep(0)


def a_worker(mocker: MockerFixture, number: int) -> WorkerHandle:
    """A worker that takes messages."""
    worker: WorkerHandle = mocker.create_autospec(WorkerHandle, instance=True)
    worker.number = number
    return worker


def test_wishes_of_connections_that_ended_are_forgotten(
    run: Callable[[Scenario], None], mocker: MockerFixture
) -> None:
    """Who asks for fresh entropy and goes away, again and again, takes no memory."""
    one, two = a_worker(mocker, 1), a_worker(mocker, 2)

    async def scenario(supervisor: Supervisor) -> None:
        waiting = [(worker, number) for worker in (one, two) for number in range(50)]
        for worker, number in waiting:
            supervisor._want_fresh(worker, number)
        await turn()
        assert len(supervisor._fresh_requests) == len(supervisor._answers) == 100
        random.Random(1).shuffle(waiting)
        for worker, number in waiting[1:]:
            supervisor._connection_ended(worker, number)
        await turn()
        last = waiting[0]
        assert len(supervisor._fresh_requests) == 1
        assert list(supervisor._answers) == [(last[0].number, last[1])]
        supervisor._connection_ended(*last)
        await turn()
        assert (len(supervisor._fresh_requests), supervisor._answers) == (0, {})

    run(scenario)
    assert not one.send.called  # type: ignore[attr-defined]
    assert not two.send.called  # type: ignore[attr-defined]


def test_a_wish_that_is_not_met_in_time_is_forgotten(
    run: Callable[[Scenario], None], mocker: MockerFixture
) -> None:
    """After `prediction_resistance_seconds` there is an error, with what is known of why."""

    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(NotEnoughEntropyError, match=r"^0 healthy credited groups"):
            await supervisor.reseed()
        assert not supervisor._fresh_requests
        mocker.patch.object(supervisor, "_healthy_groups", return_value={"somebody"})
        with pytest.raises(NotEnoughEntropyError, match="did not give a fresh seed in time"):
            await supervisor.reseed()

    run(scenario)


def test_an_alarm_counts_even_when_it_was_over_before_it_was_heard(
    run: Callable[[Scenario], None], mocker: MockerFixture
) -> None:
    """What a source gave before it counts nothing, what it gave after its recovery does."""

    async def scenario(supervisor: Supervisor) -> None:
        sampler = supervisor.samplers[0]
        mocker.patch.object(type(sampler), "usable", new=True)
        mocker.patch.object(Supervisor, "_evaluate")  # which would take the pool for a seed

        def give(bits: float) -> None:
            supervisor._deliver(Contribution(sampler.name, "group", bytearray(40), bits, 1.0))

        # All of it from the sampler's thread, while the loop was busy with something else.
        give(320.0)
        sampler._changed(False)
        sampler._changed(True)
        give(8.0)
        await turn()
        assert supervisor._pool.group_credits() == {"group": 8.0}

    run(scenario)
