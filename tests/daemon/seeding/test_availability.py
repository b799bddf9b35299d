"""The service's state on a clock of the test's own: reseed, degrade, fail, recover."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hwentropy_core.page import ServiceState
from hwentropyd.seeding.availability import (
    GRACE_SECONDS,
    OVERDUE,
    Availability,
    AvailabilityPolicy,
    Cause,
)

POLICY = AvailabilityPolicy(
    min_groups=1,
    reseed_seconds=60.0,
    reseed_bytes=1000,
    degraded_seconds=600.0,
    degraded_bytes=5000,
)
A, B = frozenset({"a"}), frozenset({"b"})
NOBODY: frozenset[str] = frozenset()


def seeded(policy: AvailabilityPolicy = POLICY, groups: frozenset[str] = A) -> Availability:
    """A service that was seeded at 0."""
    service = Availability(policy)
    service.reseeded(0.0, groups)
    return service


def with_groups(min_groups: int) -> AvailabilityPolicy:
    """The policy with another min_groups."""
    return AvailabilityPolicy(min_groups, 60.0, 1000, 600.0, 5000)


def test_it_starts_unseeded_and_says_why() -> None:
    """And no clock, no source and no demand changes that."""
    service = Availability(POLICY)
    assert service.state is ServiceState.STARTING
    assert service.reason
    assert not service.observe(1e9, A)
    assert service.reseed_due(0.0, NOBODY) is Cause.FIRST
    assert service.state is ServiceState.STARTING


def test_a_start_without_enough_sources_says_so() -> None:
    """Which is more than that it is collecting, and no longer than it is so."""
    service = Availability(with_groups(2))
    said = []
    for healthy in (NOBODY, A, A | B, B):
        assert not service.observe(1.0, healthy)
        said.append(service.reason)
    assert said == [
        "0 healthy credited groups of sources, min_groups asks for 2",
        "1 healthy credited groups of sources, min_groups asks for 2",
        "collecting the first seed",
        "1 healthy credited groups of sources, min_groups asks for 2",
    ]


def test_the_first_seed_makes_it_ok() -> None:
    """With nothing left to say."""
    service = seeded()
    assert (service.state, service.reason) == (ServiceState.OK, "")
    assert not service.observe(1.0, A)


@pytest.mark.parametrize(("seconds", "due"), [(0.0, False), (59.9, False), (60.0, True)])
def test_a_reseed_is_due_by_time(seconds: float, due: bool) -> None:  # noqa: FBT001 (a table)
    """From `reseed_seconds` on."""
    assert (seeded().reseed_due(seconds, A) is Cause.SCHEDULED_TIME) is due


@pytest.mark.parametrize(("count", "due"), [(0, False), (999, False), (1000, True)])
def test_a_reseed_is_due_by_bytes(count: int, due: bool) -> None:  # noqa: FBT001 (a table)
    """From `reseed_bytes` on, and the count starts again with the seed."""
    service = seeded()
    service.drawn(count // 2)
    service.drawn(count - count // 2)
    assert (service.reseed_due(1.0, A) is Cause.SCHEDULED_BYTES) is due
    service.reseeded(1.0, A)
    assert not service.reseed_due(2.0, A)


def test_a_new_group_is_one_reseed_and_no_loop() -> None:
    """It is due while the group has had no part in a seed, and never again for it."""
    service = seeded(groups=A)
    assert not service.reseed_due(1.0, A)
    assert service.reseed_due(1.0, A | B) is Cause.NEW_GROUP
    service.reseeded(2.0, A | B)
    for now in range(3, 50):
        service.observe(float(now), A | B)
        assert not service.reseed_due(float(now), A | B)
        assert not service.reseed_due(float(now), B)


def test_a_seed_that_one_group_made_leaves_the_others_old() -> None:
    """Groups take turns in the pool: who had part in the last seed but one is not new."""
    service = seeded(groups=A)
    service.observe(1.0, A | B)
    service.reseeded(2.0, B)
    service.observe(3.0, A | B)
    assert not service.reseed_due(3.0, A)


def test_a_group_that_comes_back_to_health_is_new() -> None:
    """A device that was repaired has part in a seed at once, again once."""
    service = seeded(groups=A | B)
    service.observe(1.0, A)
    assert service.reseed_due(2.0, A | B)
    service.reseeded(2.0, A | B)
    service.observe(3.0, A | B)
    assert not service.reseed_due(3.0, A | B)


@pytest.mark.parametrize("min_groups", [1, 2, 3])
def test_too_few_groups_degrade(min_groups: int) -> None:
    """One fewer than `min_groups`, and the reason says both numbers."""
    service = seeded(with_groups(min_groups))
    groups = frozenset(f"g{number}" for number in range(min_groups))
    assert not service.observe(1.0, groups)
    assert service.observe(2.0, groups - {"g0"})
    assert service.state is ServiceState.DEGRADED
    assert service.reason.startswith(f"{min_groups - 1} healthy credited groups")
    assert service.reason.endswith(f"asks for {min_groups}")


def test_sources_that_do_not_deliver_degrade() -> None:
    """Healthy, and no reseed in twice the time."""
    service = seeded()
    assert not service.observe(OVERDUE * 60.0, A)
    assert service.observe(OVERDUE * 60.0 + 0.1, A)
    assert service.state is ServiceState.DEGRADED
    assert "no reseed for 120 s" in service.reason


def test_a_service_that_nobody_looked_at_is_over_by_the_clock() -> None:
    """After a suspend its time is counted from when it was due, and sources have a second."""
    service = seeded()
    overdue = OVERDUE * 60.0
    assert service.observe(overdue + 10_000.0, A)
    assert service.deadlines == (overdue, overdue + 600.0)
    assert not service.observe(overdue + 10_000.0 + GRACE_SECONDS - 0.1, A)
    assert service.observe(overdue + 10_000.0 + GRACE_SECONDS, A)
    assert service.state is ServiceState.FAILED


def test_sources_that_were_lost_long_ago_gain_no_time() -> None:
    """Nobody looked while they went: what the page allowed is over, and stays so."""
    service = seeded()
    assert service.observe(10_000.0, NOBODY)
    assert service.deadlines == (120.0, 720.0)
    assert service.observe(10_000.0 + GRACE_SECONDS, NOBODY)
    assert service.state is ServiceState.FAILED


def test_degraded_ends_by_time() -> None:
    """`degraded_seconds` after it began, not after the last seed."""
    service = seeded()
    service.observe(50.0, NOBODY)
    assert not service.observe(649.9, NOBODY)
    assert service.observe(650.0, NOBODY)
    assert service.state is ServiceState.FAILED
    assert "stopped after 600 s (degraded_seconds)" in service.reason


def test_degraded_ends_by_bytes() -> None:
    """`degraded_bytes` counted from its begin, not from the last seed."""
    service = seeded()
    service.drawn(4999)
    service.observe(1.0, NOBODY)
    service.drawn(4999)
    assert not service.observe(2.0, NOBODY)
    service.drawn(1)
    assert service.observe(3.0, NOBODY)
    assert service.state is ServiceState.FAILED
    assert "stopped after 5000 bytes (degraded_bytes)" in service.reason


def test_a_second_degraded_spell_has_the_whole_limits() -> None:
    """A seed in between pays for what was handed out before."""
    service = seeded()
    service.observe(1.0, NOBODY)
    service.drawn(4000)
    service.reseeded(100.0, A)
    service.observe(101.0, NOBODY)
    service.drawn(4000)
    assert not service.observe(700.0, NOBODY)
    assert service.state is ServiceState.DEGRADED


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 5000), (600.0, 0)])
def test_a_limit_of_nothing_fails_closed_at_once(seconds: float, count: int) -> None:
    """Who allows no degraded service gets none, in the same look."""
    service = seeded(AvailabilityPolicy(1, 60.0, 1000, seconds, count))
    assert service.observe(1.0, NOBODY)
    assert service.state is ServiceState.FAILED


@pytest.mark.parametrize("limit", [ServiceState.DEGRADED, ServiceState.FAILED])
def test_only_a_full_strength_seed_recovers(limit: ServiceState) -> None:
    """Sources that are healthy again are not enough; their seed is."""
    service = seeded()
    service.observe(1.0, NOBODY)
    if limit is ServiceState.FAILED:
        service.drawn(5000)
        service.observe(2.0, NOBODY)
    assert service.state is limit
    assert not service.observe(3.0, A)
    assert service.state is limit
    assert service.reseed_due(3.0, NOBODY)
    service.reseeded(4.0, A)
    assert (service.state, service.reason) == (ServiceState.OK, "")


@given(st.lists(st.integers(0, 2000), max_size=20))
def test_bytes_drawn_outside_degraded_do_not_use_it_up(counts: list[int]) -> None:
    """However much was handed out while all was well."""
    service = seeded()
    for count in counts:
        service.drawn(count)
    assert service.observe(1.0, NOBODY)
    assert not service.observe(2.0, NOBODY)


class Anything(RuleBasedStateMachine):
    """Seeds, draws, sources that come and go and a clock, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.availability = Availability(with_groups(2))
        self.now = 0.0
        self.healthy: frozenset[str] = NOBODY
        self.before = self.availability.state
        self.was_seeded = False
        self.since_degraded = 0

    @rule(seconds=st.floats(0, 500))
    def time_passes(self, seconds: float) -> None:
        """The clock."""
        self.now += seconds

    @rule(groups=st.frozensets(st.sampled_from("abc")))
    def sources_change(self, groups: frozenset[str]) -> None:
        """Which groups are healthy."""
        self.healthy = groups

    @rule(count=st.integers(0, 4000))
    def draw(self, count: int) -> None:
        """Clients."""
        self.availability.drawn(count)
        if self.availability.state is ServiceState.DEGRADED:
            self.since_degraded += count

    @rule(groups=st.frozensets(st.sampled_from("abc"), min_size=2))
    def reseed(self, groups: frozenset[str]) -> None:
        """A full-strength seed."""
        self.availability.reseeded(self.now, groups)
        self.was_seeded = True
        assert self.availability.state is ServiceState.OK
        assert not self.availability.reseed_due(self.now, groups)

    @rule()
    def look(self) -> None:
        """The state after a look follows from the one before."""
        before = self.availability.state
        changed = self.availability.observe(self.now, self.healthy)
        after = self.availability.state
        assert changed == (after is not before)
        allowed = {
            ServiceState.STARTING: {ServiceState.STARTING},
            ServiceState.OK: {ServiceState.OK, ServiceState.DEGRADED},
            ServiceState.DEGRADED: {ServiceState.DEGRADED, ServiceState.FAILED},
            ServiceState.FAILED: {ServiceState.FAILED},
        }
        assert after in allowed[before]
        if before is ServiceState.OK:
            assert (len(self.healthy) >= 2) or after is ServiceState.DEGRADED
            self.since_degraded = 0
        if after is ServiceState.DEGRADED:
            assert self.since_degraded < 5000

    @invariant()
    def nothing_before_a_seed(self) -> None:
        """It serves only after a seed, and says why whenever not all is well."""
        assert self.was_seeded or self.availability.state is ServiceState.STARTING
        assert bool(self.availability.reason) == (
            self.availability.state is not ServiceState.OK
        )


TestAnything = Anything.TestCase
