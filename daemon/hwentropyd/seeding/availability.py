"""When to reseed, when to serve on as degraded, when to fail closed: pure.

    starting --first full-strength seed--> ok <--full-strength seed-- degraded, failed
    ok --fewer than min_groups healthy credited groups, or no reseed in time--> degraded
    degraded --degraded_seconds or degraded_bytes used up--> failed
    any state --the machine was copied--> starting

`degraded_seconds` are counted from the moment at which the seed became too old, even
where nobody looked then (a suspend, a supervisor that was stopped): the generation page
has ended the service by itself.

A reseed is due after `reseed_seconds`, after `reseed_bytes`, when a group comes
in that the last seed had no part of, and when somebody asks.  It happens when
what was begun since suffices, so always in full strength, and heals from whoever
read the state before.  While nobody draws a byte there is nothing to heal; the time
limit holds all the same.
"""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hwentropy_core.page import ServiceState

#: A reseed that is this many times `reseed_seconds` old means that the sources,
#: though healthy, do not deliver.
OVERDUE: Final = 2.0

#: Seconds that the sources have for a seed when the service is found to be over, before it
#: is said to have failed: after a suspend they take milliseconds.  Nothing is served
#: meanwhile, and workers wait as long (RENEWAL_SECONDS).
GRACE_SECONDS: Final = 1.0

#: Seconds from a reseed to the next that is made for bytes drawn, as for fresh requests
#: (seeder.FRESH_SECONDS): a worker in strange hands can claim any number of bytes.
BYTES_SECONDS: Final = 0.25

#: The reason while the sources are at it.
COLLECTING: Final = "collecting the first seed"
COLLECTING_ANEW: Final = "this machine was copied ({}): collecting a new seed"


class Cause(StrEnum):
    """Why there was a reseed."""

    FIRST = "first"
    SCHEDULED_TIME = "scheduled_time"
    SCHEDULED_BYTES = "scheduled_bytes"
    NEW_GROUP = "new_group"
    REQUESTED = "requested"
    CLONE = "clone"


@dataclass(frozen=True, slots=True)
class Due:
    """A reseed that has to come."""

    cause: Cause
    since: float
    """What was begun before counts nothing for it."""
    noticed: float
    """From when on it waits a moment for the slower groups."""


@dataclass(frozen=True, slots=True)
class AvailabilityPolicy:
    """The limits of `[pool]`, in seconds and bytes."""

    reseed_seconds: float
    reseed_bytes: int
    degraded_seconds: float
    degraded_bytes: int


@dataclass(slots=True)
class Availability:
    """The service's state; `now` is in seconds of a clock that never goes back."""

    policy: AvailabilityPolicy
    state: ServiceState = ServiceState.STARTING
    reason: str = COLLECTING
    _collecting: str = COLLECTING
    _seeded_at: float = 0.0
    _drawn: int = 0
    _degraded_at: float = 0.0
    _fails_at: float = 0.0
    _degraded_drawn: int = 0
    _groups: AbstractSet[str] = field(default_factory=frozenset)
    """Groups that had part in a seed since they last came to health."""
    _due: Due | None = None

    def drawn(self, count: int) -> None:
        """So many bytes were handed out."""
        self._drawn += count
        if self.state is ServiceState.DEGRADED:
            self._degraded_drawn += count

    def reseeded(self, now: float, groups: AbstractSet[str]) -> None:
        """A full-strength seed from these groups went in."""
        self._seeded_at = now
        self._drawn = 0
        self._groups |= groups
        self._due = None
        self.state = ServiceState.OK
        self.reason = ""

    def cloned(self, sign: str) -> None:
        """The seed is another machine's too: it is as if there had been none."""
        self.state = ServiceState.STARTING
        self.reason = self._collecting = COLLECTING_ANEW.format(sign)
        self._groups = frozenset()
        self._due = None

    @property
    def due_at(self) -> float:
        """When the next reseed is due by the clock."""
        return self._seeded_at + self.policy.reseed_seconds

    def reseed_due(self, now: float, pooled: Mapping[str, float]) -> Due | None:
        """Why the root should be reseeded as soon as the pool suffices, if it should.

        `pooled` are the groups with credit in the pool, and when that was begun.
        """
        due = self._due_now(now, pooled)
        # A reseed for a new group does not heal; one that is due after it has to.
        if self._due is None or due is None or self._due.cause is Cause.NEW_GROUP != due.cause:
            self._due = due
        return self._due

    def observe(self, now: float, healthy: AbstractSet[str], shortage: str) -> bool:
        """Look at the clock and at the healthy credited groups; True if the state changed.

        `shortage` says why these can make no seed, and nothing where they can.
        """
        before = self.state
        self._groups &= healthy
        if before is ServiceState.STARTING:
            self.reason = shortage or self._collecting
        if before is ServiceState.OK:
            self._degrade_if(now, shortage)
        if self.state is ServiceState.DEGRADED:
            self._fail_if(now)
        return self.state is not before

    @property
    def deadlines(self) -> tuple[float, float]:
        """Until when it is `ok`, and serves at all, unless something happens before."""
        if self.state is ServiceState.DEGRADED:
            return self._degraded_at, self._degraded_at + self.policy.degraded_seconds
        overdue = self._seeded_at + OVERDUE * self.policy.reseed_seconds
        return overdue, overdue + self.policy.degraded_seconds

    def _due_now(self, now: float, pooled: Mapping[str, float]) -> Due | None:
        if self.state is ServiceState.STARTING:
            first = Cause.FIRST if self._collecting is COLLECTING else Cause.CLONE
            return Due(first, -math.inf, -math.inf)
        if now >= self.due_at:
            return Due(Cause.SCHEDULED_TIME, self.due_at, self.due_at)
        if self._drawn >= self.policy.reseed_bytes and now >= self._seeded_at + BYTES_SECONDS:
            return Due(Cause.SCHEDULED_BYTES, now, now)
        if new := pooled.keys() - self._groups:
            # What made it new counts: a slow one would not be in a seed otherwise.
            return Due(Cause.NEW_GROUP, min(pooled[group] for group in new), now)
        if self.state is not ServiceState.OK:
            # Degraded before its time: it has lost a group, and waits for one.
            return Due(Cause.NEW_GROUP, now, now)
        return None

    def _degrade_if(self, now: float, shortage: str) -> None:
        overdue_at = self._seeded_at + OVERDUE * self.policy.reseed_seconds
        if shortage:
            self.reason = shortage
        elif now > overdue_at:
            age = now - self._seeded_at
            self.reason = f"no reseed for {age:.0f} s: the sources do not give enough"
        else:
            return
        self.state = ServiceState.DEGRADED
        self._degraded_at = min(now, overdue_at)
        self._degraded_drawn = 0
        self._fails_at = self._degraded_at + self.policy.degraded_seconds
        if now > overdue_at:
            self._fails_at = max(self._fails_at, now + GRACE_SECONDS)

    def _fail_if(self, now: float) -> None:
        if now >= self._fails_at:
            limit = f"{self.policy.degraded_seconds:g} s (degraded_seconds)"
        elif self._degraded_drawn >= self.policy.degraded_bytes:
            limit = f"{self.policy.degraded_bytes} bytes (degraded_bytes)"
        else:
            return
        self.state = ServiceState.FAILED
        self.reason = f"{self.reason}; stopped after {limit}"
