"""The entropy pool: what healthy sources gave, condensed on arrival, and what it counts for.

    contribution --HKDF-SHA-512--> 64 bytes, and the samples are overwritten at once
    credit       by the rules of `credit`

Pure: time comes in with the contributions.  A source's digests are bounded; what is too
much is dropped oldest first and its credit with it, so credit never exceeds what is there.

What this does not protect against: who reads the pool knows what earlier samples bring to
the next seed.  So a reseed counts those alone that were begun after it was due.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Final

from hwentropy_core.drbg import Material
from hwentropy_core.hkdf import hkdf_into
from hwentropy_core.memory import wipe

from .credit import DIGEST_BITS, Backing, Ledger

#: Digests of one source kept for the next seed: enough for the largest `min_bits` (2,048)
#: at the least claim, where a batch of 1,024 samples of 1/32 bit is 32 bits.
SOURCE_DIGESTS: Final = 64

_INFO: Final = b"hwentropy/1 pool"


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
    backing: Backing | None = None
    """None: a live source."""

    def __repr__(self) -> str:
        return f"<Contribution of {self.source}: {len(self.data)} bytes, {self.bits} bits>"


@dataclass(frozen=True, slots=True)
class Seed:
    """What was in the pool, taken out for one reseed."""

    materials: list[Material]
    credited: dict[str, float]
    """Bits by source: its share of its group's credit in this seed."""
    groups: frozenset[str]
    """Groups with any credit."""
    brought: dict[str, float] = field(default_factory=dict)
    """Of the credited bits those that no seed has had before (see `credit.Ledger`)."""

    def __repr__(self) -> str:
        return f"<Seed from {sorted(self.credited)}>"

    @property
    def bits(self) -> float:
        """Credited bits of all groups."""
        return sum(self.credited.values())

    def wipe(self) -> None:
        """Overwrite the material once it is mixed in."""
        for _, data in self.materials:
            if isinstance(data, bytearray):
                wipe(data)


@dataclass(slots=True)
class _Sum:
    """What one source has in the pool."""

    bits: float
    backing: Backing | None
    """That of the least strength, if it ever had one."""
    drawn: float
    """When the last of it was begun."""

    def add(self, one: Contribution) -> None:
        self.bits += one.bits
        self.drawn = max(self.drawn, one.started)
        if self.backing is None or (
            one.backing is not None and one.backing.strength <= self.backing.strength
        ):
            self.backing = one.backing or self.backing

    @property
    def credit(self) -> float:
        return self.bits if self.backing is None else min(self.bits, self.backing.strength)


class Pool:
    """Collects contributions until they make a seed."""

    def __init__(self) -> None:
        self._sources: dict[str, deque[Contribution]] = {}
        self._ledger = Ledger()

    def add(self, contribution: Contribution) -> None:
        """Take a contribution; its data is overwritten."""
        digest = bytearray(DIGEST_BITS // 8)
        hkdf_into(digest, bytes(DIGEST_BITS // 8), contribution.data, _INFO)
        wipe(contribution.data)
        kept = self._sources.setdefault(contribution.source, deque())
        kept.append(
            replace(contribution, data=digest, bits=min(contribution.bits, DIGEST_BITS))
        )
        if len(kept) > SOURCE_DIGESTS:
            wipe(kept.popleft().data)

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

    def group_credits(
        self, since: float | None = None, *, live: bool = False
    ) -> dict[str, float]:
        """Credited bits by group, of contributions started at `since` or later.

        With `live` those of live sources alone.
        """
        sums = self._sums(since, live=live)
        return {group: best.credit for group, best in _best(sums).items()}

    def begun(self, groups: Container[str]) -> dict[str, float]:
        """Of these groups, those with credit, and when the first of it was begun."""
        starts: dict[str, float] = {}
        for contributions in self._sources.values():
            for one in contributions:
                if one.bits and one.group in groups:
                    starts[one.group] = min(one.started, starts.get(one.group, one.started))
        return starts

    def take(self, since: float | None = None) -> Seed:
        """Empty the pool into one seed; what was started before `since` counts nothing."""
        sums = self._sums(since)
        credited = dict.fromkeys(self._sources, 0.0)
        brought = dict.fromkeys(self._sources, 0.0)
        best = _best(sums)
        for group, one in best.items():
            new = self._ledger.count(group, one.credit, one.backing, one.drawn)
            members = {key[1]: sum_.credit for key, sum_ in sums.items() if key[0] == group}
            everybody = sum(members.values())
            for source, bits in members.items():
                credited[source] += one.credit * bits / everybody
                brought[source] += new * bits / everybody
        materials: list[Material] = [
            (f"source {source}".encode(), one.data)
            for source, contributions in sorted(self._sources.items())
            for one in contributions
        ]
        self._sources.clear()
        return Seed(materials, credited, frozenset(best), brought)

    def _sums(
        self, since: float | None = None, *, live: bool = False
    ) -> dict[tuple[str, str], _Sum]:
        """By group and source, what has any credit."""
        sums: dict[tuple[str, str], _Sum] = {}
        for source, contributions in self._sources.items():
            for one in contributions:
                if live and one.backing is not None:
                    continue
                if one.bits and (since is None or one.started >= since):
                    key = (one.group, source)
                    if key in sums:
                        sums[key].add(one)
                    else:
                        sums[key] = _Sum(one.bits, one.backing, one.started)
        return sums


def _best(sums: dict[tuple[str, str], _Sum]) -> dict[str, _Sum]:
    """By group, its source with the most credit."""
    best: dict[str, _Sum] = {}
    for (group, _), one in sums.items():
        if one.credit and (group not in best or one.credit > best[group].credit):
            best[group] = one
    return best
