"""The supervisor without processes or devices: whom it tells what the seeder decided."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropyd.channel import Fresh
from hwentropyd.child import Children
from hwentropyd.config.load import load
from hwentropyd.events.clones import CloneWatch
from hwentropyd.operating.notify import Notifier
from hwentropyd.seeding.seeder import Seeder
from hwentropyd.serving.listeners import Listeners
from hwentropyd.serving.worker_handle import WorkerHandle
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
                with closing(Children()) as children:
                    supervisor = Supervisor(
                        load(config),
                        listeners,
                        Notifier({}),
                        children,
                        tmp_path,
                        CloneWatch(signs={}),
                    )
                    await scenario(supervisor)
            finally:
                listeners.close()

        asyncio.run(main())

    return ran


def a_worker(mocker: MockerFixture, number: int) -> Any:
    """A worker that takes messages."""
    worker = mocker.create_autospec(WorkerHandle, instance=True)
    worker.number = number
    return worker


def test_a_reseed_that_is_not_possible_says_why(run: Callable[[Scenario], None]) -> None:
    """After `prediction_resistance_seconds`, with what is known of it."""

    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(NotEnoughEntropyError, match=r"^0 healthy credited groups"):
            await supervisor.reseed()

    run(scenario)


def test_connections_that_wait_are_answered_and_others_are_not(
    run: Callable[[Scenario], None], mocker: MockerFixture
) -> None:
    """Each by its worker and number; who has gone meanwhile is not sent for."""
    pool = mocker.patch("hwentropyd.supervisor.WorkerPool")
    one, two = a_worker(mocker, 1), a_worker(mocker, 2)

    async def scenario(supervisor: Supervisor) -> None:
        told = pool.call_args.kwargs
        for worker in (one, two):
            for number in (7, 8):
                told["want_fresh"](worker, number)
        told["ended"](one, 8)
        told["ended"](two, 7)
        with pytest.raises(NotEnoughEntropyError):
            await supervisor.reseed()  # which was asked for last, so refused last

    run(scenario)
    assert [call.args for call in one.send.call_args_list] == [
        (Fresh(7, met=False, live=False),)
    ]
    assert [call.args for call in two.send.call_args_list] == [
        (Fresh(8, met=False, live=False),)
    ]


def test_a_decision_that_cannot_be_carried_out_ends_the_daemon(
    run: Callable[[Scenario], None], mocker: MockerFixture
) -> None:
    """What was decided and what was done must not part: no serving on after that."""
    pool = mocker.patch("hwentropyd.supervisor.WorkerPool", autospec=True)
    pool.return_value.shortage.return_value = None
    mocker.patch.object(Seeder, "handle", side_effect=MemoryError)

    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(MemoryError):
            await supervisor.run(lambda _: None)

    run(scenario)
