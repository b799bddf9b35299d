"""The service's state on a clock of the test's own: reseed, degrade, fail, recover."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hwentropy_core.page import ServiceState
from hwentropyd.seeding import credit
from hwentropyd.seeding.availability import (
    BYTES_SECONDS,
    GRACE_SECONDS,
    OVERDUE,
    Availability,
    AvailabilityPolicy,
    Cause,
    Due,
)
from hwentropyd.worker.drbg import RENEWAL_SECONDS

POLICY = AvailabilityPolicy(
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


def look(
    service: Availability, now: float, healthy: frozenset[str], min_groups: int = 1
) -> bool:
    """`observe`, where any `min_groups` groups can make a seed."""
    holds = dict.fromkeys(healthy, math.inf)
    policy = credit.SeedPolicy(min_groups=min_groups)
    return service.observe(now, healthy, credit.shortage(policy, holds))


def cause_of(service: Availability, now: float, groups: frozenset[str]) -> Cause | None:
    """Why a reseed is due, where these groups have credit that was begun just now."""
    found = service.reseed_due(now, dict.fromkeys(groups, now))
    return None if found is None else found.cause


def test_it_starts_unseeded_and_says_why() -> None:
    """And no clock, no source and no demand changes that."""
    service = Availability(POLICY)
    assert service.state is ServiceState.STARTING
    assert service.reason
    assert not look(service, 1e9, A)
    assert cause_of(service, 0.0, NOBODY) is Cause.FIRST
    assert service.state is ServiceState.STARTING


def test_a_start_without_enough_sources_says_so() -> None:
    """Which is more than that it is collecting, and no longer than it is so."""
    service = Availability(POLICY)
    said = []
    for healthy in (NOBODY, A, A | B, B):
        assert not look(service, 1.0, healthy, 2)
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
    assert not look(service, 1.0, A)


@pytest.mark.parametrize(("seconds", "due"), [(0.0, False), (59.9, False), (60.0, True)])
def test_a_reseed_is_due_by_time(seconds: float, due: bool) -> None:  # noqa: FBT001 (a table)
    """From `reseed_seconds` on."""
    assert (cause_of(seeded(), seconds, A) is Cause.SCHEDULED_TIME) is due


@pytest.mark.parametrize(("count", "due"), [(0, False), (999, False), (1000, True)])
def test_a_reseed_is_due_by_bytes(count: int, due: bool) -> None:  # noqa: FBT001 (a table)
    """From `reseed_bytes` on, and the count starts again with the seed."""
    service = seeded()
    service.drawn(count // 2)
    service.drawn(count - count // 2)
    assert (cause_of(service, 1.0, A) is Cause.SCHEDULED_BYTES) is due
    service.reseeded(1.0, A)
    assert not cause_of(service, 2.0, A)


def test_a_new_group_is_one_reseed_and_no_loop() -> None:
    """It is due while the group has had no part in a seed, and never again for it."""
    service = seeded(groups=A)
    assert not cause_of(service, 1.0, A)
    assert cause_of(service, 1.0, A | B) is Cause.NEW_GROUP
    service.reseeded(2.0, A | B)
    for now in range(3, 50):
        look(service, float(now), A | B)
        assert not cause_of(service, float(now), A | B)
        assert not cause_of(service, float(now), B)


def test_what_was_begun_before_it_was_due_counts_nothing() -> None:
    """By time from the moment itself, by bytes from when they were noticed, on and on."""
    service = seeded()
    service.drawn(1000)
    assert service.reseed_due(5.0, {}) == Due(Cause.SCHEDULED_BYTES, 5.0, 5.0)
    assert service.reseed_due(70.0, {}) == Due(Cause.SCHEDULED_BYTES, 5.0, 5.0)
    service.reseeded(71.0, A)
    assert service.reseed_due(140.0, {}) == Due(Cause.SCHEDULED_TIME, 131.0, 131.0)
    assert service.reseed_due(141.0, {"b": 130.0}) == Due(Cause.SCHEDULED_TIME, 131.0, 131.0)


def test_what_made_a_group_new_counts() -> None:
    """A group slower than the others would not be in a seed otherwise; until time heals."""
    service = seeded()
    assert service.reseed_due(5.0, {"a": 1.0, "b": 4.0, "c": 3.0}) == Due(
        Cause.NEW_GROUP, 3.0, 5.0
    )
    assert service.reseed_due(59.0, {"b": 58.0}) == Due(Cause.NEW_GROUP, 3.0, 5.0)
    assert service.reseed_due(60.5, {"b": 58.0}) == Due(Cause.SCHEDULED_TIME, 60.0, 60.0)
    service.reseeded(61.0, A)
    assert service.reseed_due(62.0, {"b": 61.5}) == Due(Cause.NEW_GROUP, 61.5, 62.0)
    assert service.reseed_due(63.0, {}) is None


def test_a_seed_that_one_group_made_leaves_the_others_old() -> None:
    """Groups take turns in the pool: who had part in the last seed but one is not new."""
    service = seeded(groups=A)
    look(service, 1.0, A | B)
    service.reseeded(2.0, B)
    look(service, 3.0, A | B)
    assert not cause_of(service, 3.0, A)


def test_a_group_that_comes_back_to_health_is_new() -> None:
    """A device that was repaired has part in a seed at once, again once."""
    service = seeded(groups=A | B)
    look(service, 1.0, A)
    assert cause_of(service, 2.0, A | B)
    service.reseeded(2.0, A | B)
    look(service, 3.0, A | B)
    assert not cause_of(service, 3.0, A | B)


@pytest.mark.parametrize("min_groups", [1, 2, 3])
def test_too_few_groups_degrade(min_groups: int) -> None:
    """One fewer than `min_groups`, and the reason says both numbers."""
    service = seeded()
    groups = frozenset(f"g{number}" for number in range(min_groups))
    assert not look(service, 1.0, groups, min_groups)
    assert look(service, 2.0, groups - {"g0"}, min_groups)
    assert service.state is ServiceState.DEGRADED
    assert service.reason.startswith(f"{min_groups - 1} healthy credited groups")
    assert service.reason.endswith(f"asks for {min_groups}")


def test_sources_that_do_not_deliver_degrade() -> None:
    """Healthy, and no reseed in twice the time."""
    service = seeded()
    assert not look(service, OVERDUE * 60.0, A)
    assert look(service, OVERDUE * 60.0 + 0.1, A)
    assert service.state is ServiceState.DEGRADED
    assert "no reseed for 120 s" in service.reason


def test_a_service_that_nobody_looked_at_is_over_by_the_clock() -> None:
    """After a suspend its time is counted from when it was due, and sources have a second."""
    service = seeded()
    overdue = OVERDUE * 60.0
    assert look(service, overdue + 10_000.0, A)
    assert service.deadlines == (overdue, overdue + 600.0)
    assert not look(service, overdue + 10_000.0 + GRACE_SECONDS - 0.1, A)
    assert look(service, overdue + 10_000.0 + GRACE_SECONDS, A)
    assert service.state is ServiceState.FAILED


def test_sources_that_were_lost_long_ago_gain_no_time() -> None:
    """Nobody looked while they went: what the page allowed is over, and stays so."""
    service = seeded()
    assert look(service, 10_000.0, NOBODY)
    assert service.deadlines == (120.0, 720.0)
    assert look(service, 10_000.0 + GRACE_SECONDS, NOBODY)
    assert service.state is ServiceState.FAILED


def test_degraded_ends_by_time() -> None:
    """`degraded_seconds` after it began, not after the last seed."""
    service = seeded()
    look(service, 50.0, NOBODY)
    assert not look(service, 649.9, NOBODY)
    assert look(service, 650.0, NOBODY)
    assert service.state is ServiceState.FAILED
    assert "stopped after 600 s (degraded_seconds)" in service.reason


def test_degraded_ends_by_bytes() -> None:
    """`degraded_bytes` counted from its begin, not from the last seed."""
    service = seeded()
    service.drawn(4999)
    look(service, 1.0, NOBODY)
    service.drawn(4999)
    assert not look(service, 2.0, NOBODY)
    service.drawn(1)
    assert look(service, 3.0, NOBODY)
    assert service.state is ServiceState.FAILED
    assert "stopped after 5000 bytes (degraded_bytes)" in service.reason


def test_a_second_degraded_spell_has_the_whole_limits() -> None:
    """A seed in between pays for what was handed out before."""
    service = seeded()
    look(service, 1.0, NOBODY)
    service.drawn(4000)
    service.reseeded(100.0, A)
    look(service, 101.0, NOBODY)
    service.drawn(4000)
    assert not look(service, 700.0, NOBODY)
    assert service.state is ServiceState.DEGRADED


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 5000), (600.0, 0)])
def test_a_limit_of_nothing_fails_closed_at_once(seconds: float, count: int) -> None:
    """Who allows no degraded service gets none, in the same look."""
    service = seeded(AvailabilityPolicy(60.0, 1000, seconds, count))
    assert look(service, 1.0, NOBODY)
    assert service.state is ServiceState.FAILED


@pytest.mark.parametrize("limit", [ServiceState.DEGRADED, ServiceState.FAILED])
def test_only_a_full_strength_seed_recovers(limit: ServiceState) -> None:
    """Sources that are healthy again are not enough; their seed is."""
    service = seeded()
    look(service, 1.0, NOBODY)
    if limit is ServiceState.FAILED:
        service.drawn(5000)
        look(service, 2.0, NOBODY)
    assert service.state is limit
    assert not look(service, 3.0, A)
    assert service.state is limit
    assert cause_of(service, 3.0, NOBODY)
    service.reseeded(4.0, A)
    assert (service.state, service.reason) == (ServiceState.OK, "")


@given(st.lists(st.integers(0, 2000), max_size=20))
def test_bytes_drawn_outside_degraded_do_not_use_it_up(counts: list[int]) -> None:
    """However much was handed out while all was well."""
    service = seeded()
    for count in counts:
        service.drawn(count)
    assert look(service, 1.0, NOBODY)
    assert not look(service, 2.0, NOBODY)


class Anything(RuleBasedStateMachine):
    """Seeds, draws, sources that come and go and a clock, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.availability = Availability(POLICY)
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
        assert not cause_of(self.availability, self.now, groups)

    @rule()
    def look(self) -> None:
        """The state after a look follows from the one before."""
        before = self.availability.state
        changed = look(self.availability, self.now, self.healthy, 2)
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


def test_the_sources_have_as_long_as_workers_wait_for_them() -> None:
    """Less, and it is over while they would have given; more, and nobody waits for it."""
    assert GRACE_SECONDS == RENEWAL_SECONDS


def test_a_copied_machine_owes_its_own_seed_and_forgets_who_had_part_in_the_other() -> None:
    """Whatever was due before; and each group has part in a seed of this copy's own."""
    service = seeded(groups=A | B)
    assert cause_of(service, 60.0, A) is Cause.SCHEDULED_TIME
    service.cloned("a test")
    assert cause_of(service, 61.0, A) is Cause.CLONE
    service.reseeded(62.0, A)
    assert cause_of(service, 63.0, A | B) is Cause.NEW_GROUP


def test_reseeds_by_bytes_come_no_faster_than_so_many_a_second() -> None:
    """The next one is due at its moment, not before."""
    service = Availability(POLICY)
    service.reseeded(1.0, A)
    service.drawn(POLICY.reseed_bytes)
    assert cause_of(service, 1.0 + BYTES_SECONDS - 0.01, A) is None
    assert cause_of(service, 1.0 + BYTES_SECONDS, A) is Cause.SCHEDULED_BYTES


def test_the_reason_says_how_old_the_seed_is() -> None:
    """Counted from its reseed, whenever that was."""
    service = Availability(POLICY)
    service.reseeded(1000.0, A)
    assert look(service, 1130.0, A)
    assert service.reason.startswith("no reseed for 130 s:")
