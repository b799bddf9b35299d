"""The service's state and status, put together from the parts that know it."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropy_core import VERSION
from hwentropy_core.page import ServiceState
from hwentropy_core.status import PolicyStatus, UserStatus, WorkerStatus
from hwentropyd.config.schema import PoolConfig, SeedLogConfig
from hwentropyd.operating.history import History
from hwentropyd.operating.status import StatusReporter, merged_state
from hwentropyd.sampling.sampler import Sampler
from hwentropyd.seeding.pool import Seed
from hwentropyd.seeding.root import Root
from hwentropyd.seeding.seeder import Seeder
from hwentropyd.serving.shares import Shares
from hwentropyd.serving.workers import WorkerPool

SEED = Seed([], {"os": 256.0, "rdseed": 200.9}, frozenset({"kernel", "cpu"}))

STARTING, OK = ServiceState.STARTING, ServiceState.OK
DEGRADED, FAILED = ServiceState.DEGRADED, ServiceState.FAILED


@pytest.mark.parametrize("state", list(ServiceState))
def test_while_a_worker_serves_the_state_is_the_seeders(state: ServiceState) -> None:
    """Whatever it is, with its reason."""
    assert merged_state((state, "of sources"), None) == (state, "of sources")


@pytest.mark.parametrize(
    ("seeded", "shortage", "told"),
    [
        (OK, STARTING, "workers"),
        (OK, FAILED, "workers"),
        (DEGRADED, STARTING, "workers"),
        (DEGRADED, FAILED, "workers"),
        (STARTING, FAILED, "workers"),
        (STARTING, STARTING, "sources"),
        (FAILED, STARTING, "sources"),
        (FAILED, FAILED, "sources"),
    ],
)
def test_without_a_worker_the_graver_state_holds(
    seeded: ServiceState, shortage: ServiceState, told: str
) -> None:
    """A seed that nobody can draw from is not `ok`; of two alike the seeder's is told."""
    state, reason = merged_state((seeded, "sources"), (shortage, "workers"))
    assert reason == told
    assert state is (seeded if told == "sources" else shortage)


class Parts:
    """A reporter on parts that say what the test has them say."""

    def __init__(self, mocker: MockerFixture) -> None:
        self.now = 100.0
        self.seeder: Any = mocker.create_autospec(Seeder, instance=True)
        self.seeder.state, self.seeder.reason = OK, ""
        self.workers: Any = mocker.create_autospec(WorkerPool, instance=True)
        self.workers.shortage.return_value = None
        self.workers.status.return_value = [
            WorkerStatus(pid=7, connections=1, requests=2, bytes=3)
        ]
        self.seeder.clones = 6
        self.sampler: Any = mocker.create_autospec(Sampler, instance=True)
        self.root: Any = mocker.create_autospec(Root, instance=True)
        self.root.generation, self.root.reseeds = 4, 5
        self.shares: Any = mocker.create_autospec(Shares, instance=True)
        self.shares.status.return_value = list[UserStatus]()
        self.reporter = StatusReporter(
            PoolConfig(min_bits=640, min_groups=2),
            ["/run/x/entropy.sock"],
            self.root,
            self.seeder,
            [self.sampler],
            self.workers,
            self.shares,
            History(SeedLogConfig(enabled=False), Path(), []),
            {"clock": "watched"},
            monotonic=lambda: self.now,
            wall_clock=lambda: 1.5,
        )


def test_the_status_is_what_the_parts_say(mocker: MockerFixture) -> None:
    """Each field from the part that knows it."""
    parts = Parts(mocker)
    parts.now += 2.5
    status = parts.reporter.status()
    assert (status.state, status.reason) == ("ok", "")
    assert (status.generation, status.reseeds, status.clones) == (4, 5, 6)
    assert (status.version, status.pid) == (VERSION, os.getpid())
    assert status.uptime_seconds == 2.5
    assert status.workers == parts.workers.status.return_value
    assert status.sources == [parts.sampler.status.return_value]
    assert status.policy == PolicyStatus(min_bits=640, min_groups=2)
    assert status.sockets == ["/run/x/entropy.sock"]
    assert status.users == []
    assert status.clone_signs == {"clock": "watched"}


def test_a_seed_is_dated_when_it_goes_in(mocker: MockerFixture) -> None:
    """None before the first; UTC to the millisecond."""
    reporter = Parts(mocker).reporter
    assert reporter.status().seeded_at is None
    reporter.note_seed(SEED)
    assert reporter.status().seeded_at == "1970-01-01T00:00:01.500+00:00"


def test_the_seed_in_force_is_told_by_its_groups_and_bits(mocker: MockerFixture) -> None:
    """Nothing before the first, and after the machine was copied; whole bits."""
    parts = Parts(mocker)
    parts.reporter.note_seed(SEED)
    parts.root.seeded = True
    status = parts.reporter.status()
    assert (status.seed_groups, status.seed_bits) == (["cpu", "kernel"], 456)
    parts.root.seeded = False
    status = parts.reporter.status()
    assert (status.seed_groups, status.seed_bits) == ([], 0)


def test_a_service_without_a_worker_says_so(mocker: MockerFixture) -> None:
    """In the status and in the state that is shown to the service manager."""
    parts = Parts(mocker)
    parts.workers.shortage.return_value = FAILED, "no worker answers"
    assert parts.reporter.state() == (FAILED, "no worker answers")
    status = parts.reporter.status()
    assert (status.state, status.reason) == ("failed", "no worker answers")
