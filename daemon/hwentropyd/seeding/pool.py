"""The entropy pool: what healthy sources gave, what it counts for, when it suffices.

    credit of a source   sum of the bits of the contributions it has in the pool
    credit of a group    the largest credit of its sources (one origin counts once)
    sufficient           the groups' credits without the (min_groups - 1) largest
                         still sum to min_bits

The last rule means: with `min_groups = 2`, any one group may be wholly known to
an attacker and the seed is still of full strength.

Pure: time comes in with the contributions.  A source's material is bounded;
what is too much is dropped oldest first and its credit with it, so credit never
exceeds what is there.  What this does not protect against: a source that lies
about its claim; the claim is the operator's and the health tests' business.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from hwentropy_core.drbg import Material
from hwentropy_core.limits import MIN_SEED_BITS
from hwentropy_core.memory import wipe

#: Bytes of one source kept for the next seed.  Enough for the largest `min_bits`
#: (2,048) from a source that claims as little as half a bit per byte.
SOURCE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Contribution:
    """Tested samples of one source on their way into the pool."""

    source: str
    group: str
    data: bytearray
    bits: float
    """Credited min-entropy; 0 when it is mixed in but not credited."""
    started: float
    """The seeder's clock before the first sample was asked for, in seconds."""

    def __repr__(self) -> str:
        return f"<Contribution of {self.source}: {len(self.data)} bytes, {self.bits} bits>"


@dataclass(frozen=True, slots=True)
class SeedPolicy:
    """How much makes a seed."""

    min_bits: int = MIN_SEED_BITS
    min_groups: int = 1


@dataclass(frozen=True, slots=True)
class Seed:
    """What was in the pool, taken out for one reseed."""

    materials: list[Material]
    credited: dict[str, float]
    """Bits by source: its share of its group's credit in this seed."""
    groups: frozenset[str]
    """Groups with any credit."""

    def __repr__(self) -> str:
        return f"<Seed from {sorted(self.credited)}>"

    def wipe(self) -> None:
        """Overwrite the material once it is mixed in."""
        for _, data in self.materials:
            if isinstance(data, bytearray):
                wipe(data)


class Pool:
    """Collects contributions until they make a seed."""

    def __init__(self, policy: SeedPolicy) -> None:
        self.policy = policy
        self._sources: dict[str, deque[Contribution]] = {}

    def add(self, contribution: Contribution) -> None:
        """Take a contribution; its data belongs to the pool from now on."""
        kept = self._sources.setdefault(contribution.source, deque())
        kept.append(contribution)
        size = sum(len(one.data) for one in kept)
        while size > SOURCE_BYTES and len(kept) > 1:
            oldest = kept.popleft()
            size -= len(oldest.data)
            wipe(oldest.data)

    def discredit(self, source: str) -> None:
        """The source is not healthy any more: what it gave is mixed in, and counts nothing.

        A test raises its alarm some samples after the fault began.
        """
        kept = self._sources.get(source)
        if kept and any(one.bits for one in kept):
            self._sources[source] = deque(replace(one, bits=0.0) for one in kept)

    def drop(self) -> None:
        """Overwrite all that is in it."""
        for kept in self._sources.values():
            for one in kept:
                wipe(one.data)
        self._sources.clear()

    def group_credits(self, since: float | None = None) -> dict[str, float]:
        """Credited bits by group, of contributions started at `since` or later."""
        credits_: dict[str, float] = {}
        for (group, _), bits in self._sums(since).items():
            if bits > credits_.get(group, 0.0):
                credits_[group] = bits
        return credits_

    def _sums(self, since: float | None = None) -> dict[tuple[str, str], float]:
        """Bits by group and source."""
        sums: dict[tuple[str, str], float] = {}
        for source, contributions in self._sources.items():
            for one in contributions:
                if since is None or one.started >= since:
                    key = (one.group, source)
                    sums[key] = sums.get(key, 0.0) + one.bits
        return sums

    def sufficient(self, since: float | None = None) -> bool:
        """Whether the policy is met, by contributions started at `since` or later."""
        ordered = sorted(self.group_credits(since).values())
        # Not below 0, where a slice would count from the other end.
        spared = ordered[: max(0, len(ordered) - (self.policy.min_groups - 1))]
        return sum(spared) >= self.policy.min_bits

    def take(self) -> Seed:
        """Empty the pool into one seed."""
        groups = self.group_credits()
        sums = self._sums()
        credited = dict.fromkeys(self._sources, 0.0)
        for (group, source), bits in sums.items():
            if bits:
                everybody = sum(other for (one, _), other in sums.items() if one == group)
                credited[source] += groups[group] * bits / everybody
        materials: list[Material] = [
            (f"source {source}".encode(), one.data)
            for source, contributions in sorted(self._sources.items())
            for one in contributions
        ]
        self._sources.clear()
        return Seed(materials, credited, frozenset(groups))
