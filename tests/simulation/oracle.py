"""What must always hold of the service, judged without its code.

Nothing before a seed of full strength, nor between a sign that the machine was copied
and a seed that was read after it; no group credited twice; a bad source hurts only
itself; reseeded in time, and fresh where that was asked for; no byte past the limits.
It is told of every event before the seeder, of every action, and of every byte served.
"""

from collections.abc import Sequence

from hwentropy_core.page import ServiceState
from hwentropyd.seeding.pool import SOURCE_BYTES, Contribution, Seed
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
    SourceView,
)

#: A full-strength seed, of SP 800-90C: 256 bits and 64 more.
LEAST_BITS = 320

#: Of a difference of times.
EPSILON = 1e-6


class Oracle:
    """Raises AssertionError at the first thing that must not be."""

    def __init__(self, policy: SeederPolicy, sources: Sequence[SourceView]) -> None:
        self._policy = policy
        self._limits = policy.availability
        self._sources = sources
        self._pooled: dict[str, list[tuple[Contribution, float]]] = {}
        """What each source gave since the last seed, and the credit that is left of it."""
        self._seed: list[tuple[Contribution, float]] = []
        """The last one."""
        self._seed_groups = frozenset[str]()
        self._state = ServiceState.STARTING
        self._drawn = 0
        self._degraded_at = 0.0
        self._degraded_drawn = 0
        self._waiting: dict[object, float] = {}
        self._cloned_at = float("-inf")
        self._forgets = False
        self.clones = 0
        self.seeded_at: float | None = None
        """None also after the machine was copied."""
        self.reseeds = 0
        self.answered = 0
        self.refused = 0

    def happens(self, event: Event, now: float) -> None:
        """An event that the seeder is about to handle."""
        match event:
            case Delivered(one) if one.started >= self._cloned_at:
                kept = self._pooled.setdefault(one.source, [])
                kept.append((one, one.bits))
                while len(kept) > 1 and sum(len(each.data) for each, _ in kept) > SOURCE_BYTES:
                    del kept[0]
            case SourceChanged(name, usable) if not usable:
                self._discredit(name)
            case Drawn(count):
                self._drawn += count
                if self._state is ServiceState.DEGRADED:
                    self._degraded_drawn += count
            case Cloned():
                self._cloned_at = now
                self._forgets = True
                self.clones += 1
                self._pooled = {}
                self._drawn = 0
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
                case Reseed(seed, _):
                    self._reseeded(seed, now)
                case Publish(state, _, _):
                    if state is ServiceState.DEGRADED and self._state is not state:
                        self._degraded_drawn = 0
                        self._degraded_at = now
                    self._state = state
                case Answer(who, met, reason):
                    since = self._waiting.pop(who)
                    if met:
                        assert any(isinstance(one, Reseed) for one in actions[:at])
                        self._fresh(since)
                        self.answered += 1
                    else:
                        assert reason, "refused without a reason"
                        assert now >= since + self._policy.fresh_seconds - EPSILON
                        self.refused += 1
                case _:
                    pass
        if self._state in {ServiceState.OK, ServiceState.DEGRADED}:
            assert self.seeded_at is not None, "serves without a seed"
        healthy = {one.group for one in self._sources if one.usable and one.credited}
        if self._state is ServiceState.OK:
            assert len(healthy) >= self._limits.min_groups, "ok without its groups"
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

    def _discredit(self, name: str) -> None:
        kept = self._pooled.get(name, [])
        self._pooled[name] = [(one, 0.0) for one, _ in kept]

    def _reseeded(self, seed: Seed, now: float) -> None:
        given = [one for kept in self._pooled.values() for one in kept]
        assert sorted(id(data) for _, data in seed.materials) == sorted(
            id(one.data) for one, _ in given
        ), "not all that was given is in the seed, once"
        late = all(one.started >= self._cloned_at for one, _ in given)
        assert late, "a seed of what was read before the machine was copied"
        groups = _credits(given)
        assert _strength(groups, self._policy.seed.min_groups) >= LEAST_BITS, "a weak seed"
        healthy = {one.group for one in self._sources if one.usable and one.credited}
        assert len(healthy) >= self._policy.seed.min_groups, "a seed of too few groups"
        by_group: dict[str, float] = {}
        for source in self._sources:
            bits = seed.credited.get(source.name, 0.0)
            by_group[source.group] = by_group.get(source.group, 0.0) + bits
            held = sum(len(one.data) for one, _ in self._pooled.get(source.name, []))
            assert bits <= 8 * held + EPSILON, "more bits than there are"
            assert not bits or source.credited, "credit for what is never credited"
        for group, bits in by_group.items():
            assert abs(bits - groups.get(group, 0.0)) < EPSILON, f"{group} credited twice"
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
        self.seeded_at = now
        self.reseeds += 1

    def _fresh(self, since: float) -> None:
        late = [(one, bits) for one, bits in self._seed if one.started >= since]
        strength = _strength(_credits(late), self._policy.seed.min_groups)
        assert strength >= LEAST_BITS, f"{strength} bits that were read after the request"


def _credits(given: list[tuple[Contribution, float]]) -> dict[str, float]:
    """Bits by group: those of its best source."""
    sources: dict[tuple[str, str], float] = {}
    for one, bits in given:
        key = (one.group, one.source)
        sources[key] = sources.get(key, 0.0) + bits
    groups: dict[str, float] = {}
    for (group, _), bits in sources.items():
        groups[group] = max(groups.get(group, 0.0), bits)
    return groups


def _strength(groups: dict[str, float], min_groups: int) -> float:
    """Bits that are left where an enemy knows all of the `min_groups - 1` best groups."""
    known = sorted(groups.values(), reverse=True)[: min_groups - 1]
    return sum(groups.values()) - sum(known)
