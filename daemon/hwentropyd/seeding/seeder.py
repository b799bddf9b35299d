"""When to collect, when to reseed, whom to answer, what to say of it: pure.

    samples, alarms, bytes drawn, requests, clones, time  --handle(event, now)-->  actions

It owns the pool, the availability and the fresh requests.  Whoever calls it carries the
actions out in their order, before the next event; it is told of nothing else.

Sources are looked at as they are whenever an event is handled: an alarm takes a source's
credit at once, even where the event that tells of it is still on its way, and that event
takes it once more in its turn, should the source have recovered meanwhile.

A reseed that is due takes what was begun since, so that it heals.  It waits a moment for a
second group where there is one, and then goes on with what is sufficient.

What this does not protect against: bytes and seconds that it is not told of.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from hwentropy_core.memory import wipe
from hwentropy_core.page import ServiceState

from . import credit
from .availability import Availability, AvailabilityPolicy, Cause, Due
from .credit import GROUP_SECONDS, SeedPolicy
from .fresh_requests import FreshRequests
from .pool import Contribution, Pool, Seed

#: Seconds from one reseed to the next that is made for fresh requests, which share it.
#: With every reseed each worker and each lease rekeys.  A busy lease holder was measured to
#: lose 1.2 ms to it (at 700 reseeds a second, 84 % of its draws): at four a second 0.5 %,
#: and a tenth where twenty of them share what one had.
FRESH_SECONDS: Final = 0.25


class SourceView(Protocol):
    """What is to be known of a source, as it is now."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def group(self) -> str:
        """Its independence group."""
        ...

    @property
    def credited(self) -> bool:
        """False: mixed in, never credited."""
        ...

    @property
    def usable(self) -> bool:
        """Whether it is healthy."""
        ...

    @property
    def strength(self) -> int | None:
        """Bits that the DRBG behind it holds; None: a live source."""
        ...


@dataclass(frozen=True, slots=True)
class SeederPolicy:
    """What the configuration asks for."""

    seed: SeedPolicy
    availability: AvailabilityPolicy
    fresh_seconds: float
    """Seconds after which a fresh request is refused."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A source gave tested samples."""

    contribution: Contribution


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """A source changed its state; whether it was usable then."""

    name: str
    usable: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """So many bytes were handed out."""

    count: int


@dataclass(frozen=True, slots=True)
class FreshWanted:
    """Somebody waits for a reseed from samples that are read from now on."""

    who: Hashable


@dataclass(frozen=True, slots=True)
class FreshCancelled:
    """They do not wait any more."""

    who: Hashable


@dataclass(frozen=True, slots=True)
class Cloned:
    """This machine runs from memory that another one runs from too."""

    sign: str
    """What says so."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: twice a second, and at `wake_at`."""


Event: TypeAlias = (
    Delivered | SourceChanged | Drawn | FreshWanted | FreshCancelled | Cloned | Tick
)


@dataclass(frozen=True, slots=True)
class Demand:
    """Have every source sample what makes a seed, as soon as it can."""


@dataclass(frozen=True, slots=True)
class Reseed:
    """Mix this seed into the root and move the generation."""

    seed: Seed
    cause: Cause


@dataclass(frozen=True, slots=True)
class Forget:
    """Erase the state of every generator and end every lease, at once."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Show everybody this state, and until when it holds if nothing more is said."""

    state: ServiceState
    ok_until: float
    serves_until: float


@dataclass(frozen=True, slots=True)
class Announce:
    """The state has changed: wake who waits for one; the reason, where it is not `ok`."""

    state: ServiceState
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell one who asked for fresh entropy that the last reseed holds it, or why none does."""

    who: Hashable
    met: bool
    reason: str = ""
    live: bool = False
    """Whether live sources met it."""


Action: TypeAlias = Demand | Reseed | Forget | Publish | Announce | Answer


class Seeder:
    """See the module's docstring; `now` is in seconds and never goes back."""

    def __init__(self, policy: SeederPolicy, sources: Sequence[SourceView]) -> None:
        self._policy = policy
        self._sources = sources
        self._pool = Pool()
        self._availability = Availability(policy.availability)
        self._fresh = FreshRequests()
        self._reseeded_at = float("-inf")
        self._demanded_at = float("-inf")
        """When sources were last asked for the sake of fresh requests."""
        self.clones = 0
        """Signs that the machine was copied."""
        self._cloned_at = float("-inf")
        self._now = float("-inf")
        self._due: Due | None = self._availability.reseed_due(float("-inf"), {})
        """A reseed that is due, for which sources were asked."""

    @property
    def state(self) -> ServiceState:
        """What the service may hand out."""
        return self._availability.state

    @property
    def reason(self) -> str:
        """Why the state is not `ok`, or nothing."""
        return self._availability.reason

    @property
    def wake_at(self) -> float | None:
        """The moment at which it wants a `Tick`, beside those that come anyway."""
        moments = list[float]()
        if (oldest := self._fresh.oldest) is not None:
            moments += [oldest + self._policy.fresh_seconds, self._next_demand]
        if self._due is None:
            at = self._availability.due_at
        else:
            at = self._due.noticed + GROUP_SECONDS
        if at > self._now:  # else it was looked at
            moments.append(at)
        return min(moments, default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take an event in; what has to be done for it, in this order."""
        self._now = now
        match event:
            case Delivered(contribution):
                if contribution.started < self._cloned_at:
                    wipe(contribution.data)  # the other machine has it too
                    return []
                self._pool.add(contribution)
                return self._evaluate_and_demand_once(now)
            case SourceChanged(name, usable):
                if not usable:
                    self._pool.discredit(name)
                return self._evaluate_and_demand_once(now)
            case Drawn(count):
                self._availability.drawn(count)
                return [*self._evaluate(now), *self._demand_if_due(now)]
            case Tick():
                actions = self._evaluate(now)
                actions += self._refuse_overdue(now)
                return [*actions, *self._demand_if_due(now)]
            case FreshWanted(who):
                self._fresh.add(who, now)
                return self._demand_if_fresh_wanted(now)
            case FreshCancelled(who):
                self._fresh.forget(who)
            case Cloned(sign):
                return self._forget(sign, now)
        return []

    def _forget(self, sign: str, now: float) -> list[Action]:
        """Begin anew, from samples that are read from now on."""
        self.clones += 1
        self._cloned_at = now
        self._pool.drop()
        self._availability.cloned(sign)
        self._note_due(now)
        return [Forget(), self._publish(), self._announce(), Demand()]

    def _evaluate(self, now: float) -> list[Action]:
        """Reseed if it is due or asked for and the pool suffices; then judge the state."""
        for source in self._sources:
            if not source.usable:
                self._pool.discredit(source.name)
        holds = self._holds()
        shortage = credit.shortage(self._policy.seed, holds)
        due = self._availability.reseed_due(now, self._pool.begun(holds))
        actions: list[Action] = []
        if shortage:
            # With enough in the pool alone, it would say `ok` and `degraded` in turn.
            pass
        elif due is not None and self._carries(due, now):
            actions += self._reseed(now, due.cause, due.since)
        elif (oldest := self._fresh.oldest) is not None and self._fresh_met(now):
            actions += self._reseed(now, Cause.REQUESTED, oldest)
        if self._availability.observe(now, holds.keys(), shortage):
            actions += [self._publish(), self._announce()]
        return actions

    def _carries(self, due: Due, now: float) -> bool:
        """Whether what was begun since then makes the seed that is due."""
        credits_, holds = self._pool.group_credits(due.since), self._holds()
        patient = now < due.noticed + GROUP_SECONDS
        if patient and not credit.on_two_groups(credits_, holds):
            return False
        return credit.sufficient(self._policy.seed, credits_, holds, patient=patient)

    def _fresh_met(self, now: float) -> int:
        """How many requests for fresh entropy a reseed would meet."""
        if now < self._reseeded_at + FRESH_SECONDS:
            return 0
        return self._fresh.met(self._sufficient_since(now))

    def _sufficient_since(self, now: float) -> Callable[[float], bool]:
        holds = self._holds()
        needs_live = self._has_live()

        def sufficient(since: float) -> bool:
            if needs_live and not credit.meets_live(self._pool.group_credits(since, live=True)):
                return False
            return credit.sufficient(
                self._policy.seed,
                self._pool.group_credits(since),
                holds,
                patient=now < since + GROUP_SECONDS,
            )

        return sufficient

    def _reseed(self, now: float, cause: Cause, since: float) -> list[Action]:
        met = self._fresh.take(self._fresh.met(self._sufficient_since(now)))
        live = self._has_live()
        seed = self._pool.take(since)
        before = self._availability.state
        self._availability.reseeded(now, seed.groups)
        self._reseeded_at = now
        actions: list[Action] = [Reseed(seed, cause), self._publish()]
        if before is not self._availability.state:
            actions.append(self._announce())
        return [*actions, *(Answer(who, met=True, live=live) for who in met)]

    def _evaluate_and_demand_once(self, now: float) -> list[Action]:
        """Sources are asked when a reseed comes due by what they gave, and not again for it.

        Else a source that is asked for would be asked again by what it gives, for ever.
        """
        asked = self._due
        actions = self._evaluate(now)
        return [*actions, Demand()] if self._note_due(now) not in {None, asked} else actions

    def _demand_if_due(self, now: float) -> list[Action]:
        if self._note_due(now) is not None:
            return [Demand()]
        return self._demand_if_fresh_wanted(now)

    def _note_due(self, now: float) -> Due | None:
        self._due = self._availability.reseed_due(now, self._pool.begun(self._holds()))
        return self._due

    def _demand_if_fresh_wanted(self, now: float) -> list[Action]:
        if not self._fresh or now < self._next_demand:
            return []
        self._demanded_at = now
        return [Demand()]

    @property
    def _next_demand(self) -> float:
        """When sources may be asked again for the sake of fresh requests.

        What is asked for earlier would be read before others asked who then share the reseed.
        """
        return max(self._reseeded_at, self._demanded_at) + FRESH_SECONDS

    def _refuse_overdue(self, now: float) -> list[Action]:
        overdue = self._fresh.take_until(now - self._policy.fresh_seconds)
        if not overdue:
            return []
        why = credit.shortage(self._policy.seed, self._holds())
        healthy = "live" if self._has_live() else "healthy"
        reason = why or f"the {healthy} sources did not give a fresh seed in time"
        return [Answer(who, met=False, reason=reason) for who in overdue]

    def _publish(self) -> Publish:
        return Publish(self._availability.state, *self._availability.deadlines)

    def _announce(self) -> Announce:
        return Announce(self._availability.state, self._availability.reason)

    def _has_live(self) -> bool:
        """Whether a live credited source is healthy: then fresh requests are met by such."""
        return any(
            source.usable and source.credited and source.strength is None
            for source in self._sources
        )

    def _holds(self) -> dict[str, float]:
        """The healthy credited groups, and how many bits each can give a seed."""
        return credit.holdings(
            (source.group, source.strength)
            for source in self._sources
            if source.usable and source.credited
        )
