"""What samples count for in a seed: pure rules over bits by group.

    a source      the bits of its samples, at most what the DRBG behind it holds
    a group       the largest of its sources (one origin counts once)
    what is left  the groups' bits without the (min_groups - 1) largest: with
                  `min_groups = 2` any one group may be wholly known to an attacker
    sufficient    what is left is `min_bits`

A group of DRBGs has no more to give once it has given what they hold.  Where that is less
than the least `min_bits` (the kernel's generator holds 256 bits, a seed takes 320), groups
that gave all they hold, or a seed each, are sufficient if they leave 256; a larger
`min_bits` waits.

What this does not protect against: a source that says of itself that it is live, or holds
more than it does.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hwentropy_core.limits import KEY_BYTES, MIN_SEED_BITS

#: What one digest can hold: the pool condenses a contribution to 64 bytes.
DIGEST_BITS: Final = 512

#: The strength of the generator that is seeded (SP 800-90A).
FULL_STRENGTH: Final = 8 * KEY_BYTES

#: Seconds that a reseed waits for the slower groups: the longest stall seen of a virtio-rng
#: device, where a TPM takes 20 ms; and half of what a service that is over has left
#: (availability.GRACE_SECONDS).
GROUP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class SeedPolicy:
    """How much makes a seed."""

    min_bits: int = MIN_SEED_BITS
    min_groups: int = 1


@dataclass(frozen=True, slots=True)
class Backing:
    """The DRBG behind a source; a live source has none."""

    strength: int
    """Bits that its state holds."""
    renewal_seconds: float | None
    """Seconds after which that state has been renewed; None: not known."""
    opened: float
    """The seeder's clock when the source was opened, which counts as a renewal where
    nothing more is known."""


def holdings(sources: Iterable[tuple[str, int | None]]) -> dict[str, float]:
    """Bits that each group can give a seed, of its sources' groups and strengths."""
    holds: dict[str, float] = {}
    for group, strength in sources:
        most = math.inf if strength is None else strength
        holds[group] = max(most, holds.get(group, 0.0))
    return holds


def left(groups: Mapping[str, float], min_groups: int) -> float:
    """Bits that nobody knows who knows all of the `min_groups - 1` best groups."""
    ordered = sorted(groups.values())
    # Not below 0, where a slice would count from the other end.
    return sum(ordered[: max(0, len(ordered) - (min_groups - 1))])


def least_held(policy: SeedPolicy) -> int:
    """Bits that groups have to be able to hold, so that there can be a seed."""
    return policy.min_bits if policy.min_bits > MIN_SEED_BITS else FULL_STRENGTH


def shortage(policy: SeedPolicy, holds: Mapping[str, float]) -> str:
    """Why groups that can hold so many bits can make no seed, or nothing where they can."""
    if len(holds) < policy.min_groups:
        return (
            f"{len(holds)} healthy credited groups of sources, "
            f"min_groups asks for {policy.min_groups}"
        )
    can = left(holds, policy.min_groups)
    if can >= least_held(policy):
        return ""
    without = f" without the best {policy.min_groups - 1}" if policy.min_groups > 1 else ""
    return (
        f"min_bits asks for {policy.min_bits} bits; "
        f"the healthy sources{without} can hold {can:.0f}"
    )


def sufficient(
    policy: SeedPolicy,
    credits_: Mapping[str, float],
    holds: Mapping[str, float],
    *,
    patient: bool,
) -> bool:
    """Whether these credits, of healthy groups that can hold so many bits, make a seed.

    `patient`: there is time yet for those that have not given theirs.
    """
    if left(credits_, policy.min_groups) >= policy.min_bits:
        return True
    if policy.min_bits > MIN_SEED_BITS:
        return False
    if patient and left(holds, policy.min_groups) >= policy.min_bits:
        return False
    done = {
        group: bits
        for group, bits in credits_.items()
        if bits >= min(policy.min_bits, holds.get(group, math.inf))
    }
    return left(done, policy.min_groups) >= FULL_STRENGTH


def meets_live(credits_: Mapping[str, float]) -> bool:
    """Whether these credits, of live sources alone, are prediction resistance by themselves.

    All of them together: whoever knows the state learns nothing that follows while there
    are a generator's 256 bits and the 64 of a full-entropy seed that they do not know.
    """
    return sum(credits_.values()) >= MIN_SEED_BITS


def on_two_groups(credits_: Mapping[str, float], holds: Mapping[str, float]) -> bool:
    """Whether two groups, of healthy ones that are two or more, each carry the seed."""
    carry = sum(
        bits >= min(FULL_STRENGTH, holds.get(group, math.inf))
        for group, bits in credits_.items()
    )
    return carry >= min(2, len(holds))


class Ledger:
    """What groups brought over all seeds: of a DRBG what it holds, once a renewal.

    A second seed within one renewal is as good by computation; entropy it brings none.
    """

    def __init__(self) -> None:
        self._given: dict[str, tuple[float, float]] = {}
        """By group: when the first bits of this renewal were drawn, and how many."""

    def count(self, group: str, bits: float, backing: Backing | None, drawn: float) -> float:
        """How many of the bits that a group's best source was credited with are new."""
        if backing is None:
            return bits
        since, given = self._given.get(group, (-math.inf, 0.0))
        if backing.renewal_seconds is None:
            renewed = backing.opened > since
        else:
            renewed = drawn >= since + backing.renewal_seconds
        if renewed:
            since, given = drawn, 0.0
        new = min(bits, max(0.0, backing.strength - given))
        self._given[group] = (since, given + new)
        return new
