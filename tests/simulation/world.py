"""A daemon's cores on a simulated clock, with everything around them that can go wrong.

    World(seed).run()

One seed is one policy, one set of sources, and what befalls them: faults of every kind,
a supervisor that is stopped, suspends, copies of the machine, clients that draw, wait,
flood and give up.  The seeder and what it owns, the sources' monitors and tests, and the
generation page are the daemon's own; the oracle looks on.
"""

import heapq
import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from hwentropy_core.page import PageReader, PageWriter, ServiceState
from hwentropyd.seeding.availability import AvailabilityPolicy
from hwentropyd.seeding.credit import SeedPolicy
from hwentropyd.seeding.pool import Contribution
from hwentropyd.seeding.seeder import (
    Answer,
    Cloned,
    Delivered,
    Demand,
    Drawn,
    Event,
    Forget,
    FreshCancelled,
    FreshWanted,
    Publish,
    Reseed,
    Seeder,
    SeederPolicy,
    SourceChanged,
    Tick,
)
from simulation.oracle import Oracle
from simulation.sources import Fault, Nature, SimulatedSource
from simulation.users import Crowd

#: Seconds within which a source whose fault is over is healthy again, but for the reads of
#: its startup test: the longest pause (60) and a hang that was under way.
HEALS: Final = 120.0

_SERVING: Final = {ServiceState.OK, ServiceState.DEGRADED}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


class World:
    """See the module's docstring."""

    def __init__(self, seed: str) -> None:
        chance = self._chance = random.Random(seed)
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        reseed_seconds = 10 ** chance.uniform(0, 4.9)
        self.tick_seconds = max(0.5, reseed_seconds / 4)
        """Sparse where nothing changes for hours; the daemon's own is 0.5."""
        self.hours = 0.0
        min_groups = chance.choice((1, 1, 2, 3))
        self.policy = SeederPolicy(
            SeedPolicy(chance.choice((320, 320, 512)), min_groups),
            AvailabilityPolicy(
                reseed_seconds,
                reseed_bytes=1000,
                degraded_seconds=chance.choice((0.0, reseed_seconds, 3600.0)),
                degraded_bytes=chance.choice((0, 5000, 1 << 30)),
            ),
            fresh_seconds=chance.choice((0.3, 10.0)),
        )
        self._writer = PageWriter()
        self._page = PageReader(self._writer.fd)
        self._inbox: deque[Event] = deque()
        self._frozen = False
        self._calm_since = self.now
        """Since when the supervisor has neither been stopped nor asleep."""
        self._lease: tuple[int, int, int] | None = None
        """Generation, epoch, and until when it gives bytes without a look at the page."""
        self._flooding = False
        self._healing = False
        self._next_client = 0
        self._sources: list[SimulatedSource] = []
        self._steady = chance.random() < 0.5
        self._make_sources(chance)
        #: A live source that breaks is waited for until it is seen to.
        self._fickle_live = any(
            one.credited and one.strength is None and not one.nature.steady
            for one in self._sources
        )
        self._slowest = max(one.nature.read_seconds for one in self._sources)
        self._heals = HEALS + max(one.longest_startup for one in self._sources)
        self._seeder = Seeder(self.policy, self._sources)
        self.oracle = Oracle(self.policy, self._sources)
        self._wake_at: float | None = None
        self._crowd = Crowd(chance)

    def run(self, ticks: int = 120) -> None:
        """For so many ticks; then everything heals, and has to."""
        began = self.now
        try:
            self.later(0.0, self._tick)
            self.later(0.0, self._draw)
            self.later(self._some(2.0), self._befall)
            end = self.now + max(ticks * self.tick_seconds, 60.0)
            self._go_on(end)
            self._heal()
            self._crowd.end()
        finally:
            self.hours = (self.now - began) / 3600
            os.close(self._writer.fd)

    # What a source needs.

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something called after so many seconds."""
        self._serial += 1
        heapq.heappush(self._calls, (self.now + seconds, self._serial, call))

    def delivered(self, contribution: Contribution) -> None:
        """Samples are on their way to the supervisor."""
        self._post(Delivered(contribution))

    def changed(self, name: str, *, usable: bool) -> None:
        """A source's state is on its way to the supervisor."""
        self._post(SourceChanged(name, usable))

    # The supervisor.

    def _post(self, event: Event) -> None:
        self._inbox.append(event)
        # Its loop may be busy with something else.
        self.later(self._chance.choice((0.0, 0.001, 0.2)), self._pump)

    def _pump(self) -> None:
        while self._inbox and not self._frozen:
            event = self._inbox.popleft()
            self.oracle.happens(event, self.now)
            actions = self._seeder.handle(event, self.now)
            self.oracle.decided(actions, self.now)
            for action in actions:
                match action:
                    case Demand():
                        for source in self._sources:
                            source.demand()
                    case Reseed(seed, _):
                        self._writer.generation += 1
                        seed.wipe()
                    case Forget():
                        self._writer.generation += 1
                    case Publish(state, ok_until, serves_until):
                        self._writer.publish(state, _ns(ok_until), _ns(serves_until))
                    case Answer(_, met):
                        calm = (
                            self.now - self._calm_since
                            > self._heals + 2 * self.tick_seconds + 20.0
                        )
                        awaited = self._steady and not self._fickle_live
                        if awaited and calm and self.policy.fresh_seconds >= 10.0:
                            assert met, "no fresh entropy of steady sources"
                        if self._flooding:
                            self._ask()
                    case _:
                        pass
            wake_at = self._seeder.wake_at
            if wake_at is not None and wake_at != self._wake_at:
                self.later(max(0.0, wake_at - self.now), self._wake)
            self._wake_at = wake_at

    def _wake(self) -> None:
        if self._wake_at is not None and self.now >= self._wake_at:
            self._inbox.append(Tick())
            self._pump()

    def _tick(self) -> None:
        self._inbox.append(Tick())
        self._pump()
        if not self._frozen:
            slack = 2 * self.tick_seconds + self._slowest + 1.0
            if self.now > self._calm_since + slack:
                self.oracle.waits(self.now, 1.5)
                self.oracle.fails_in_time(self.now, slack)
            if self._steady and self.now > self._calm_since + self._heals + slack:
                self.oracle.healthy_all_along(self.now, slack)
                assert self._page.state_at(_ns(self.now)) is ServiceState.OK, "not renewed"
        self.later(self.tick_seconds, self._tick)

    # Clients.

    def _draw(self) -> None:
        """A worker answers a request; a lease gives a byte; somebody asks for fresh entropy."""
        chance = self._chance
        state = self._page.state_at(_ns(self.now))
        if state in _SERVING:
            self.oracle.served(self.now, state)
            self._post(Drawn(chance.choice((0, 1, 100, 1000, 4000))))
        self._draw_from_lease(state)
        if chance.random() < 0.3:
            self._ask()
        if chance.random() < 0.1:
            self._crowd.step()
        self.later(self._some(self.tick_seconds), self._draw)

    def _draw_from_lease(self, state: ServiceState) -> None:
        """As LeasedDrbg: by the epoch, the lease's end and a second's memory of the page's."""
        words, now = self._page.words, _ns(self.now)
        if self._lease is not None:
            generation, epoch, until = self._lease
            if words[PageReader.EPOCH] == epoch and now < until:
                assert words[PageReader.GENERATION] == generation, (
                    "a lease of an old generation"
                )
                self.oracle.served(self.now, ServiceState.DEGRADED, late=1.0)
                return
        self._lease = None
        if state in _SERVING:
            until = min(now + _ns(1.0), words[PageReader.SERVES_UNTIL])
            self._lease = (words[PageReader.GENERATION], words[PageReader.EPOCH], until)

    def _ask(self) -> None:
        self._next_client += 1
        who = self._next_client
        self._post(FreshWanted(who))
        if self._chance.random() < 0.1:
            self.later(self._some(1.0), lambda: self._post(FreshCancelled(who)))

    # What befalls them.

    def _befall(self) -> None:
        if self._healing:
            return
        chance = self._chance
        what = chance.random()
        seconds = self._some(min(self.tick_seconds, 600.0))
        if what < 0.6:
            fickle = [one for one in self._sources if not one.nature.steady]
            if fickle:
                self._break(chance.choice(fickle), seconds)
        elif what < 0.75:
            self._freeze(seconds * chance.choice((1, 1, 10)))
        elif what < 0.8:
            # As it is noticed; what runs before is nobody's to see.
            self._calm_since = self.now
            for _ in range(chance.choice((1, 1, 3))):
                self._inbox.appendleft(Cloned("simulated"))
            self._pump()
        elif what < 0.88:
            self.now += seconds * chance.choice((1, 100))  # suspended
            self._calm_since = self.now
        elif not self._flooding:
            self._flooding = True
            for _ in range(chance.choice((1, 3, 20))):
                self._ask()
            self.later(min(seconds, 3.0), self._end_flood)
        self.later(self._some(4 * self.tick_seconds), self._befall)

    def _break(self, source: SimulatedSource, seconds: float) -> None:
        source.fault = self._chance.choice(list(Fault))

        def mend() -> None:
            source.fault = None

        self.later(seconds, mend)

    def _freeze(self, seconds: float) -> None:
        if self._frozen:
            return
        self._frozen = True
        self.later(seconds, self._thaw)

    def _thaw(self) -> None:
        self._frozen = False
        self._calm_since = self.now
        self._pump()

    def _end_flood(self) -> None:
        self._flooding = False

    def _heal(self) -> None:
        """No fault any more: every source comes back by itself, and with them the service."""
        self._healing = True
        self._flooding = False
        if self._frozen:
            self._thaw()
        if self._chance.random() < 0.2:
            for source in self._sources:
                if not source.nature.steady:
                    source.fault = self._chance.choice(list(Fault))
            self._go_on(self.now + 600.0)  # until the pauses are as long as they get
        for source in self._sources:
            source.fault = None
        self._go_on(self.now + self._heals + 3 * self.tick_seconds)
        for source in self._sources:
            assert source.usable, f"{source.name} did not come back"
        if self.oracle.can_be_seeded():
            assert self._seeder.state is ServiceState.OK, self._seeder.reason

    def _go_on(self, end: float) -> None:
        while self._calls and self._calls[0][0] <= end:
            at, _, call = heapq.heappop(self._calls)
            self.now = max(self.now, at)  # later than meant, after a suspend
            call()
        self.now = max(self.now, end)

    def _some(self, mean: float) -> float:
        """Seconds: sometimes far less, sometimes far more."""
        return self._chance.expovariate(1 / mean)

    def _make_sources(self, chance: random.Random) -> None:
        groups = self.policy.seed.min_groups + chance.choice((0, 1))
        poll_seconds = max(0.5, self.tick_seconds * chance.choice((0.5, 1.0, 20.0)))
        for number in range(groups + chance.choice((0, 1, 2))):
            steady = self._steady and number < self.policy.seed.min_groups
            # Those that are steady have to be enough.
            enough = (None, 256) if self.policy.seed.min_bits == 320 else (None,)
            strength = chance.choice(enough if steady else (None, None, 256, 128))
            nature = Nature(
                name=f"source-{number}",
                group=f"group-{number % groups}",
                credited=steady or chance.random() < 0.85,
                min_entropy=chance.choice((8.0, 8.0, 4.0, 1.0)),
                read_seconds=chance.choice((0.0, 0.001, 0.02, 0.2)),
                deadline=chance.choice((1.0, 5.0)),
                steady=steady,
                strength=strength,
                renewal_seconds=chance.choice((None, 60.0)) if strength else None,
            )
            self._sources.append(
                SimulatedSource(nature, self.policy.seed.min_bits, poll_seconds, chance, self)
            )


@contextmanager
def repeatable(seed: str) -> Iterator[None]:
    """Says of whatever goes wrong within how to have it again."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"to repeat it: SIMULATION_SEED={seed} make test-unit TESTS=tests/simulation"
        )
        raise
