"""What must always hold of the service, judged without its code.

Nothing before a seed of full strength, nor between a sign that the machine was copied
and a seed that was read after it; no group credited twice, nor with more than stands
behind it, in one seed and in all; what is due is read after it was, from two groups where
there are two; a bad source hurts only itself; reseeded in time, and fresh where that was
asked for; no byte past the limits.
It is told of every event before the seeder, of every action, and of every byte served.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwentropy_core.page import ServiceState
from hwentropyd.seeding.availability import Cause
from hwentropyd.seeding.credit import GROUP_SECONDS
from hwentropyd.seeding.pool import SOURCE_DIGESTS, Seed
from hwentropyd.seeding.seeder import (
    FRESH_SECONDS,
    Action,
    Answer,
    Cloned,
    Delivered,
    Drawn,
    Event,
    Forget,
    FreshCancelled,
    FreshWanted,
    Publish,
    Reseed,
    SeederPolicy,
    SourceChanged,
)
from simulation.sources import SimulatedSource
from support.conditioning import condensed

#: A full-strength seed, of SP 800-90C: 256 bits and 64 more.
LEAST_BITS = 320

#: What the kernel's generator has, where there is nothing else.
LONE_BITS = 256

#: Of a difference of times.
EPSILON = 1e-6


@dataclass(frozen=True)
class Given:
    """What a source gave, as it should be in the pool."""

    source: str
    group: str
    digest: bytes
    bits: float
    started: float


class Oracle:
    """Raises AssertionError at the first thing that must not be."""

    def __init__(self, policy: SeederPolicy, sources: Sequence[SimulatedSource]) -> None:
        self._policy = policy
        self._limits = policy.availability
        self._sources = sources
        self._pooled: dict[str, list[Given]] = {}
        """What each source gave since the last seed."""
        self._seed: list[Given] = []
        """The last one."""
        self._seed_groups = frozenset[str]()
        self._state = ServiceState.STARTING
        self._drawn = 0
        self._bytes_due_at = math.inf
        self._brought: dict[str, float] = {}
        """By group, in all seeds."""
        self._degraded_at = 0.0
        self._degraded_drawn = 0
        self._waiting: dict[object, float] = {}
        self._cloned_at = float("-inf")
        self._forgets = False
        self._looks = True
        self.clones = 0
        self.seeded_at: float | None = None
        """None also after the machine was copied."""
        self.reseeds = 0
        self.answered = 0
        self.answered_live = 0
        self.refused = 0

    def happens(self, event: Event, now: float) -> None:
        """An event that the seeder is about to handle."""
        # Who gives up changes nothing, so the seeder does not look at its sources then; what
        # befell them while the supervisor stood still is in the events behind.
        self._looks = not isinstance(event, FreshCancelled)
        match event:
            case Delivered(one) if one.started >= self._cloned_at:
                kept = self._pooled.setdefault(one.source, [])
                bits = min(one.bits, 512.0)
                digest = condensed(bytes(one.data))
                kept.append(Given(one.source, one.group, digest, bits, one.started))
                del kept[:-SOURCE_DIGESTS]
            case SourceChanged(name, usable) if not usable:
                self._discredit(name)
            case Drawn(count):
                self._drawn += count
                if self._drawn >= self._limits.reseed_bytes:
                    self._bytes_due_at = min(now, self._bytes_due_at)
                if self._state is ServiceState.DEGRADED:
                    self._degraded_drawn += count
            case Cloned():
                self._cloned_at = now
                self._forgets = True
                self.clones += 1
                self._pooled = {}
                self._drawn = 0
                self._bytes_due_at = math.inf
                self.seeded_at = None
            case FreshWanted(who):
                self._waiting.setdefault(who, now)
            case FreshCancelled(who):
                self._waiting.pop(who, None)
            case _:
                pass
        for source in self._sources:
            if not source.usable:
                self._discredit(source.name)

    def decided(self, actions: Sequence[Action], now: float) -> None:
        """What it decided for that."""
        if self._forgets:
            self._forgets = False
            assert [type(one) for one in actions[:2]] == [Forget, Publish], "not at once"
        for at, action in enumerate(actions):
            match action:
                case Reseed(seed, cause):
                    self._reseeded(seed, cause, now)
                case Publish(state, _, _):
                    if state is ServiceState.DEGRADED and self._state is not state:
                        self._degraded_drawn = 0
                        self._degraded_at = now
                    self._state = state
                case Answer(who, met, reason, live):
                    since = self._waiting.pop(who)
                    if met:
                        assert any(isinstance(one, Reseed) for one in actions[:at])
                        self._fresh(since, live=live)
                        self.answered += 1
                        self.answered_live += live
                    else:
                        assert reason, "refused without a reason"
                        assert now >= since + self._policy.fresh_seconds - EPSILON
                        self.refused += 1
                case _:
                    pass
        if self._state in {ServiceState.OK, ServiceState.DEGRADED}:
            assert self.seeded_at is not None, "serves without a seed"
        if self._state is ServiceState.OK and self._looks:
            assert self._suffices(self._holds()), "ok without its groups"
        if self._state is ServiceState.DEGRADED:
            assert self._degraded_drawn < self._limits.degraded_bytes, (
                "more than degraded_bytes"
            )

    def served(self, now: float, state: ServiceState, late: float = 0.0) -> None:
        """Bytes left a worker, or a lease whose last look was `late` seconds ago."""
        assert state in {ServiceState.OK, ServiceState.DEGRADED}
        assert self.seeded_at is not None, "bytes before the first seed"
        age = now - self.seeded_at - late
        overdue = 2 * self._limits.reseed_seconds
        if state is ServiceState.OK:
            assert age < overdue + EPSILON, f"unflagged from a seed of {age} s"
        last = overdue + self._limits.degraded_seconds
        assert age < last + EPSILON, f"served from a seed of {age} s"

    def waits(self, now: float, slack: float) -> None:
        """Nobody waits for longer than the policy lets them."""
        for since in self._waiting.values():
            waited = now - since
            assert waited <= self._policy.fresh_seconds + slack, f"waited for {waited} s"

    def fails_in_time(self, now: float, slack: float) -> None:
        """`degraded` does not last; the page ends the service, but somebody has to say so."""
        if self._state is ServiceState.DEGRADED:
            lasted = now - self._degraded_at
            assert lasted <= self._limits.degraded_seconds + slack, f"degraded for {lasted} s"

    def healthy_all_along(self, now: float, slack: float) -> None:
        """Enough groups are steady: it was reseeded in time, and is `ok`."""
        assert self._state is ServiceState.OK, f"{self._state.label} with steady sources"
        assert self.seeded_at is not None
        age = now - self.seeded_at
        assert age <= self._limits.reseed_seconds + slack, f"no reseed for {age} s"
        if self._drawn >= self._limits.reseed_bytes:
            assert age <= slack + self._limits.reseed_seconds

    def can_be_seeded(self) -> bool:
        """Whether the sources, all of them well, could make a seed."""
        return self._suffices(self._holds())

    def _holds(self) -> dict[str, float]:
        """By group, the bits that it can give a seed: healthy ones that are credited."""
        holds: dict[str, float] = {}
        for one in self._sources:
            if one.usable and one.credited:
                most = math.inf if one.strength is None else one.strength
                holds[one.group] = max(most, holds.get(one.group, 0.0))
        return holds

    def _suffices(self, groups: dict[str, float]) -> bool:
        """Whether these bits are a seed by the policy, or all that some groups hold."""
        policy = self._policy.seed
        if _strength(groups, policy.min_groups) >= policy.min_bits:
            return True
        holds = self._holds()
        full = {
            group: bits
            for group, bits in groups.items()
            if bits >= LEAST_BITS or bits == holds.get(group)
        }
        lone = _strength(full, policy.min_groups)
        return policy.min_bits == LEAST_BITS and lone >= LONE_BITS

    def _credits(self, given: list[Given]) -> dict[str, float]:
        """Bits by group: those of its best source, of which none has more than it holds."""
        strengths = {one.name: one.strength for one in self._sources}
        sources: dict[tuple[str, str], float] = {}
        for one in given:
            key = (one.group, one.source)
            sources[key] = sources.get(key, 0.0) + one.bits
        groups: dict[str, float] = {}
        for (group, source), bits in sources.items():
            strength = strengths[source]
            most = bits if strength is None else min(bits, strength)
            groups[group] = max(groups.get(group, 0.0), most)
        return groups

    def _discredit(self, name: str) -> None:
        kept = self._pooled.get(name, [])
        self._pooled[name] = [replace(one, bits=0.0) for one in kept]

    def _reseeded(self, seed: Seed, cause: Cause, now: float) -> None:
        given = [one for kept in self._pooled.values() for one in kept]
        assert sorted(bytes(data) for _, data in seed.materials) == sorted(
            one.digest for one in given
        ), "not all that was given is in the seed, once"
        late = all(one.started >= self._cloned_at for one in given)
        assert late, "a seed of what was read before the machine was copied"
        assert self._suffices(self._credits(given)), "a weak seed"
        self._due(seed, cause, given, now)
        self._credited(seed, given, now)
        if self.seeded_at is not None and now < self.seeded_at + FRESH_SECONDS - EPSILON:
            assert (
                self._state is not ServiceState.OK
                or now - self.seeded_at >= self._limits.reseed_seconds
                or self._drawn >= self._limits.reseed_bytes
                or seed.groups - self._seed_groups
            ), "reseeded too often"
        self._seed, self._seed_groups = given, seed.groups
        self._pooled = {}
        self._drawn = 0
        self._bytes_due_at = math.inf
        self.seeded_at = now
        self.reseeds += 1

    def _due(self, seed: Seed, cause: Cause, given: list[Given], now: float) -> None:
        """What is due by the clock or by bytes heals, and rests on two groups or has waited."""
        since = self._bytes_due_at
        if cause is Cause.SCHEDULED_TIME:
            assert self.seeded_at is not None
            since = self.seeded_at + self._limits.reseed_seconds
        elif cause is not Cause.SCHEDULED_BYTES:
            return
        assert now >= since - EPSILON, "before it was due"
        fresh = self._credits([one for one in given if one.started >= since - EPSILON])
        assert self._suffices(fresh), "a seed of what was read before it was due"
        for group in seed.groups:
            assert fresh.get(group), "credit for what was read before it was due"
        if now < since + GROUP_SECONDS - EPSILON:
            holds = self._holds()
            carry = sum(fresh.get(group, 0.0) >= min(256, holds[group]) for group in holds)
            assert carry >= min(2, len(holds)), "waited for no second group"

    def _credited(self, seed: Seed, given: list[Given], now: float) -> None:
        """No bit twice, and no more than there are."""
        groups = self._credits(given)
        by_group: dict[str, float] = {}
        for source in self._sources:
            bits = seed.credited.get(source.name, 0.0)
            by_group[source.group] = by_group.get(source.group, 0.0) + bits
            held = sum(len(one.digest) for one in self._pooled.get(source.name, []))
            assert bits <= 8 * held + EPSILON, "more bits than there are"
            assert bits <= (source.strength or math.inf) + EPSILON, "more than it holds"
            assert not bits or source.credited, "credit for what is never credited"
            brought = seed.brought.get(source.name, 0.0)
            assert brought <= bits + EPSILON, "brought more than it was credited with"
            self._brought[source.group] = self._brought.get(source.group, 0.0) + brought
        for group, bits in by_group.items():
            assert bits <= groups.get(group, 0.0) + EPSILON, f"{group} credited twice"
            members = [one for one in self._sources if one.group == group]
            most = sum(_ever(one, now) for one in members)
            assert self._brought[group] <= most + EPSILON, f"{group} brought what is not there"

    def _fresh(self, since: float, *, live: bool) -> None:
        late = [one for one in self._seed if one.started >= since]
        assert self._suffices(self._credits(late)), "not read after the request"
        noise = {one.name for one in self._sources if one.strength is None}
        bits = sum(self._credits([one for one in late if one.source in noise]).values())
        if live:
            assert bits >= LEAST_BITS, "said to be live, and generators made it"
        else:
            healthy = {one.name for one in self._sources if one.usable and one.credited}
            assert not noise & healthy, "met by generators beside a live source"


def _ever(source: SimulatedSource, now: float) -> float:
    """Bits that a source can have brought until now."""
    nature = source.nature
    if nature.strength is None:
        return math.inf
    if nature.renewal_seconds is None:
        return float(nature.strength * len(source.openings))
    return nature.strength * (1 + (now - source.openings[0]) // nature.renewal_seconds)


def _strength(groups: dict[str, float], min_groups: int) -> float:
    """Bits that are left where an enemy knows all of the `min_groups - 1` best groups."""
    return sum(sorted(groups.values(), reverse=True)[min_groups - 1 :])
