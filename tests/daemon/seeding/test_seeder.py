"""What the seeder decides, event by event, on a clock of the test's own."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import pytest

from hwentropy_core.drbg import Drbg
from hwentropy_core.page import ServiceState
from hwentropyd.seeding.availability import AvailabilityPolicy, Cause
from hwentropyd.seeding.credit import GROUP_SECONDS, Backing, SeedPolicy
from hwentropyd.seeding.pool import Contribution
from hwentropyd.seeding.root import Root
from hwentropyd.seeding.seeder import (
    FRESH_SECONDS,
    Action,
    Announce,
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

#: A seed by the policy below.
FULL = 320.0

T = TypeVar("T")


@dataclass
class AnySource:
    """As much of a source as the seeder looks at."""

    name: str
    group: str
    credited: bool = True
    usable: bool = True
    strength: int | None = None


class Bench:
    """A seeder whose events come from the test."""

    def __init__(self, *sources: AnySource, min_groups: int = 1, min_bits: int = 320) -> None:
        self.sources = sources or (AnySource("a", "group-a"),)
        self.seeder = Seeder(
            SeederPolicy(
                SeedPolicy(min_bits, min_groups),
                AvailabilityPolicy(60.0, 1000, 600.0, 5000),
                fresh_seconds=10.0,
            ),
            self.sources,
        )

    def at(self, now: float, event: Event) -> list[Action]:
        """What is to be done for an event at this moment."""
        return self.seeder.handle(event, now)

    def give(
        self, now: float, bits: float = FULL, source: int = 0, started: float | None = None
    ) -> list[Action]:
        """Samples of a source, asked for at `started` or just now."""
        one = self.sources[source]
        since = now if started is None else started
        backing = None if one.strength is None else Backing(one.strength, 60.0, 0.0)
        contribution = Contribution(
            one.name, one.group, bytearray(range(40)), bits, since, backing
        )
        return self.at(now, Delivered(contribution))

    def seeded(self) -> "Bench":
        """Seeded at 0, by every source that is credited."""
        for number, source in 2 * list(enumerate(self.sources)):
            if source.credited:
                self.give(0.0, source=number)
        assert self.seeder.state is ServiceState.OK
        return self


def only(kind: type[T], actions: Iterable[Action]) -> list[T]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def test_the_first_seed_is_mixed_in_before_it_is_said() -> None:
    """Reseed comes before the state that lets bytes out; then there is nothing to say."""
    bench = Bench()
    assert bench.give(1.0, FULL - 1) == []
    assert bench.seeder.reason == "collecting the first seed"
    reseed, publish, announce = bench.give(2.0, 1)
    assert isinstance(reseed, Reseed)
    assert reseed.seed.credited == {"a": FULL}
    assert reseed.cause is Cause.FIRST
    assert publish == Publish(ServiceState.OK, 122.0, 722.0)
    assert announce == Announce(ServiceState.OK, "")
    assert (bench.seeder.state, bench.seeder.reason) == (ServiceState.OK, "")


def test_it_waits_for_no_moment_before_there_is_a_sample() -> None:
    """The ticks that come anyway are enough."""
    assert Bench().seeder.wake_at is None


def test_sources_are_asked_until_there_is_a_seed() -> None:
    """At every tick, and no more once it is there, until the next one is due."""
    bench = Bench()
    assert bench.at(0.5, Tick()) == [Demand()]
    bench.give(1.0)
    assert bench.at(1.5, Tick()) == bench.at(60.9, Tick()) == []
    assert bench.at(61.0, Tick()) == [Demand()]


def test_a_delivery_alone_asks_for_no_other() -> None:
    """Else a source that is asked for would be asked again by what it gives, for ever."""
    bench = Bench()
    assert bench.give(1.0, 8) == []
    bench.at(1.0, FreshWanted("x"))
    assert bench.give(1.1, 8) == []


def test_bytes_make_a_reseed_due() -> None:
    """From `reseed_bytes` on sources are asked, and what they give is a seed at once."""
    bench = Bench().seeded()
    assert bench.at(1.0, Drawn(999)) == []
    assert bench.at(1.0, Drawn(1)) == [Demand()]
    assert only(Reseed, bench.give(1.1))
    assert bench.at(1.2, Drawn(0)) == []


def test_claimed_bytes_reseed_no_faster_than_fresh_requests_do() -> None:
    """A worker in strange hands can claim any number: ten seconds of it, 100 times a second."""
    bench = Bench().seeded()
    reseeds = [0.0]
    for step in range(1, 1001):
        now = step / 100
        actions = [*bench.at(now, Drawn(1 << 60)), *bench.give(now)]
        reseeds += [now for _ in only(Reseed, actions)]
    pauses = [later - one for one, later in pairwise(reseeds)]
    assert min(pauses) >= FRESH_SECONDS
    assert len(reseeds) >= 10 / FRESH_SECONDS - 1


def test_a_seed_takes_as_many_healthy_groups_as_are_asked_for() -> None:
    """With `min_bits` alone met, the service would say `ok` and `degraded` in turn."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y", usable=False), min_groups=2)
    assert bench.give(1.0, 2 * FULL) == bench.give(1.0, 2 * FULL) == []
    assert "1 healthy credited groups" in bench.seeder.reason
    bench.sources[1].usable = True
    assert bench.at(1.5, SourceChanged("b", usable=True)) == []
    assert only(Reseed, bench.give(2.0, source=1))


def test_an_alarm_takes_the_credit_in_its_turn() -> None:
    """Even where it was over before it was heard: what came after it has its credit."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y"), min_groups=2)
    bench.give(1.0)
    bench.at(1.1, SourceChanged("a", usable=False))
    bench.at(1.2, SourceChanged("a", usable=True))
    bench.give(1.3, 8.0)
    assert not only(Reseed, bench.give(1.4, source=1))
    [reseed] = only(Reseed, bench.give(1.5, FULL - 8))
    assert reseed.seed.credited == {"a": FULL, "b": FULL}


def test_an_alarm_takes_the_credit_once_it_is_heard() -> None:
    """And word of a source that is healthy takes none."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y"), min_groups=2)
    bench.give(1.0)
    bench.at(1.1, SourceChanged("a", usable=True))
    assert bench.seeder._pool.group_credits() == {"x": FULL}
    bench.at(1.2, SourceChanged("a", usable=False))
    assert bench.seeder._pool.group_credits() == {}


def test_an_alarm_takes_the_credit_before_its_turn() -> None:
    """A source that is not healthy now has none, although nobody has told of it yet."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "x"))
    bench.give(1.0, FULL - 8)
    bench.sources[0].usable = False
    assert not only(Reseed, bench.give(1.1, 8.0))
    [reseed] = only(Reseed, bench.give(1.2, source=1))
    assert reseed.seed.credited == {"a": 0.0, "b": FULL}


def test_the_last_credited_source_goes_and_comes_back() -> None:
    """Said once each: degraded, failed after its limit, and ok with the next seed."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y", credited=False)).seeded()
    bench.sources[0].usable = False
    [said] = only(Announce, bench.at(1.0, SourceChanged("a", usable=False)))
    assert said == Announce(
        ServiceState.DEGRADED,
        "0 healthy credited groups of sources, min_groups asks for 1",
    )
    assert only(Announce, bench.at(600.9, Tick())) == []
    [said] = only(Announce, bench.at(601.0, Tick()))
    assert said.state is ServiceState.FAILED
    assert said.reason.endswith("stopped after 600 s (degraded_seconds)")
    bench.sources[0].usable = True
    assert only(Announce, bench.at(602.0, SourceChanged("a", usable=True))) == []
    assert only(Announce, bench.give(603.0)) == [Announce(ServiceState.OK, "")]


def test_every_seed_and_every_state_says_how_long_it_holds() -> None:
    """Twice `reseed_seconds` from the seed on, and `degraded_seconds` after it is degraded."""
    bench = Bench().seeded()
    bench.at(50.0, Drawn(1000))
    assert only(Publish, bench.give(50.0)) == [Publish(ServiceState.OK, 170.0, 770.0)]
    assert only(Publish, bench.at(170.0, Tick())) == []
    assert only(Publish, bench.at(170.5, Tick())) == [
        Publish(ServiceState.DEGRADED, 170.0, 770.0)
    ]


# Reseeds heal

KERNEL = AnySource("os", "kernel", strength=256)


def stolen(bench: Bench, root: Root) -> Drbg:
    """The root's generator in the hands of one who reads its key and the pool, and reseeds."""
    thief = Drbg(b"root", key=bytearray(root._drbg._key))
    thief._reseeds = root.reseeds
    thief.reseed(copy.deepcopy(bench.seeder._pool).take().materials)
    return thief


def carried_out(root: Root, actions: Iterable[Action]) -> int:
    """How often the root was reseeded."""
    seeds = [action.seed for action in actions if isinstance(action, Reseed)]
    for seed in seeds:
        root.reseed(seed, lambda _: None)
    return len(seeds)


@pytest.mark.parametrize("due", ["time", "bytes"])
def test_who_read_key_and_pool_cannot_compute_the_next_key(due: str) -> None:
    """A reseed that is due takes samples that were read after it was."""
    bench, root = Bench(KERNEL), Root()
    carried_out(root, bench.give(0.0))
    assert not carried_out(root, bench.give(30.0) + bench.give(59.8))
    thief = stolen(bench, root)
    event, now = (Tick(), 60.0) if due == "time" else (Drawn(1000), 59.9)
    reseeds = carried_out(root, bench.at(now, event))
    reseeds += carried_out(root, bench.give(now + 0.1, started=59.8))
    contribution = Contribution("os", "kernel", bytearray(b"secret" * 8), FULL, 60.0)
    reseeds += carried_out(root, bench.at(60.2, Delivered(contribution)))
    assert reseeds == 1
    assert root._drbg._key != thief._key


def test_a_reseed_by_time_asks_at_that_moment_and_counts_from_it() -> None:
    """What was begun before is mixed in, and counts nothing."""
    bench = Bench(KERNEL).seeded()
    assert bench.seeder.wake_at == 60.0
    bench.give(59.9)
    assert bench.at(60.0, Tick()) == [Demand()]
    assert not only(Reseed, bench.give(60.1, started=59.99))
    [reseed] = only(Reseed, bench.give(60.2, started=60.0))
    assert reseed.cause is Cause.SCHEDULED_TIME
    assert len(reseed.seed.materials) == 4  # all since the first seed
    assert reseed.seed.credited == {"os": 256.0}


def test_a_delivery_that_finds_a_reseed_due_asks_once() -> None:
    """A tick was late; what is delivered next asks no more."""
    bench = Bench(KERNEL).seeded()
    assert bench.give(60.3, started=59.0) == [Demand()]
    assert bench.give(60.4, started=59.1) == []
    assert bench.at(60.5, Tick()) == [Demand()]


# What stands behind the sources


def test_the_kernel_alone_makes_the_first_seed_of_all_it_holds() -> None:
    """256 bits, at once and said as such; the defaults start where it is all there is."""
    bench = Bench(KERNEL)
    [reseed] = only(Reseed, bench.give(0.1, FULL))
    assert reseed.seed.credited == {"os": 256.0}
    assert bench.seeder.state is ServiceState.OK


def test_more_bits_than_the_sources_hold_are_waited_for_and_said() -> None:
    """min_bits = 2048 with the kernel alone: no seed, and the reason; RDSEED brings it."""
    noise = AnySource("rdseed", "cpu", usable=False)
    bench = Bench(KERNEL, noise, min_bits=2048)
    for number in range(20):
        assert bench.give(number / 10, 2048.0) == []
        bench.at(number / 10, Tick())
    assert bench.seeder.state is ServiceState.STARTING
    assert bench.seeder.reason == (
        "min_bits asks for 2048 bits; the healthy sources can hold 256"
    )
    bench.at(3.0, FreshWanted("x"))
    [refused] = only(Answer, bench.at(13.0, Tick()))
    assert refused.reason == bench.seeder.reason
    noise.usable = True
    assert bench.at(14.0, SourceChanged("rdseed", usable=True)) == []
    assert bench.seeder.reason == "collecting the first seed"
    given = [only(Reseed, bench.give(14.0, 512.0, source=1)) for _ in range(4)]
    assert [len(reseeds) for reseeds in given] == [0, 0, 0, 1]
    noise.usable = False
    [said] = only(Announce, bench.at(15.0, SourceChanged("rdseed", usable=False)))
    assert said.state is ServiceState.DEGRADED
    assert said.reason.endswith("the healthy sources can hold 256")


def both(**natures: int | None) -> Bench:
    """The kernel and one more group, both seeded."""
    return Bench(KERNEL, *(AnySource(name, name, strength=natures[name]) for name in natures))


@pytest.mark.parametrize("strength", [None, 256, 128])
def test_a_seed_takes_from_two_groups_where_two_are_healthy(strength: int | None) -> None:
    """The quicker one waits for the slower, until it has given its part."""
    bench = both(other=strength).seeded()
    bench.at(60.0, Tick())
    assert bench.give(60.0) == []
    [reseed] = only(Reseed, bench.give(60.0 + GROUP_SECONDS - 0.1, source=1, started=60.0))
    assert reseed.seed.groups == {"kernel", "other"}


def test_a_second_group_that_does_not_give_delays_a_reseed_by_a_moment() -> None:
    """It is woken for at that moment, and the seed is what the first group holds."""
    bench = both(other=None).seeded()
    bench.at(60.0, Tick())
    assert bench.give(60.1) == []
    at = bench.seeder.wake_at
    assert at == 60.0 + GROUP_SECONDS
    assert not only(Reseed, bench.at(at - 0.001, Tick()))
    [reseed] = only(Reseed, bench.at(at, Tick()))
    assert reseed.seed.groups == {"kernel"}
    assert bench.seeder.state is ServiceState.OK


def test_a_second_group_that_fails_is_not_waited_for() -> None:
    """Its alarm ends the wait, and degrades nothing."""
    bench = both(other=None).seeded()
    bench.at(60.0, Tick())
    assert bench.give(60.1) == []
    bench.sources[1].usable = False
    [reseed] = only(Reseed, bench.at(60.2, SourceChanged("other", usable=False)))
    assert reseed.seed.groups == {"kernel"}
    assert bench.seeder.state is ServiceState.OK


def test_a_moment_that_was_looked_at_is_not_waited_for_again() -> None:
    """What it waits for has to come by itself then, and nobody turns in a circle."""
    bench = Bench().seeded()
    bench.at(60.0, Tick())
    assert bench.seeder.wake_at == 60.0 + GROUP_SECONDS
    bench.at(60.0 + GROUP_SECONDS, Tick())
    assert bench.seeder.wake_at is None


def test_the_first_seed_waits_for_nobody() -> None:
    """The group that was first serves; the next one is a reseed of its own."""
    bench = both(other=None)
    assert only(Reseed, bench.give(0.1))
    assert bench.give(0.2, source=1) == [Demand()]
    [reseed] = only(Reseed, bench.give(0.3))
    assert reseed.cause is Cause.NEW_GROUP
    assert reseed.seed.groups == {"kernel", "other"}


def test_a_new_group_that_is_slow_is_one_reseed() -> None:
    """Its samples take longer than anybody waits: they count, and it is not new again."""
    bench = both(slow=None)
    assert only(Reseed, bench.give(0.1))
    assert bench.give(10.0, source=1, started=5.0) == [Demand()]
    [reseed] = only(Reseed, bench.give(10.1))
    assert reseed.seed.groups == {"kernel", "slow"}
    assert bench.give(20.0, source=1, started=15.0) == []
    assert bench.give(20.1) == []


def test_a_group_that_a_source_has_left_is_none_of_the_healthy_ones() -> None:
    """hwrng moves when the kernel changes its device: what it gave before makes no second."""
    bench = Bench(AnySource("hwrng", "virtio"), min_groups=2)
    bench.give(1.0)
    bench.sources[0].group = "tpm0"
    assert not only(Reseed, bench.give(1.1))
    assert bench.seeder.reason.startswith("1 healthy credited groups")


def test_a_group_holds_what_its_best_source_does() -> None:
    """RDRAND's 128 bits are no bound where RDSEED is beside it, in whatever order."""
    bench = Bench(AnySource("rdseed", "cpu"), AnySource("rdrand", "cpu", strength=128))
    assert bench.give(0.1, FULL, source=1) == []
    assert bench.seeder.reason == "collecting the first seed"
    assert only(Reseed, bench.give(0.2))


# Requests for fresh entropy


def test_a_fresh_request_waits_a_moment_for_the_rest_and_no_longer() -> None:
    """The kernel's 256 bits answer it alone where a TPM does not give its own in time."""
    bench = both(tpm=256).seeded()
    bench.at(10.0, FreshWanted("x"))
    assert not only(Answer, bench.give(10.1))
    assert not only(Answer, bench.at(10.0 + GROUP_SECONDS - 0.01, Tick()))
    assert only(Answer, bench.at(10.0 + GROUP_SECONDS, Tick())) == [Answer("x", met=True)]


def test_a_fresh_request_is_met_by_what_is_read_after_it() -> None:
    """Sources are asked at once; samples that were asked for before it do not meet it."""
    bench = Bench().seeded()
    assert bench.at(1.0, FreshWanted("x")) == [Demand()]
    assert not only(Answer, bench.give(1.1, started=0.9))
    reseed, _, answer = bench.give(1.2, started=1.1)
    assert isinstance(reseed, Reseed)
    assert reseed.cause is Cause.REQUESTED
    assert answer == Answer("x", met=True, live=True)
    assert bench.seeder.wake_at == 61.2  # for the next one by time


def test_a_fresh_request_takes_a_seed_of_full_strength() -> None:
    """Less than that meets nobody, however fresh."""
    bench = Bench().seeded()
    bench.at(1.0, FreshWanted("x"))
    assert bench.give(1.1, FULL - 1) == []
    assert only(Answer, bench.give(1.2, 1.0)) == [Answer("x", met=True, live=True)]


def live_and_kernel() -> Bench:
    """Source 0 is live, source 1 the kernel's generator; seeded at 0."""
    return Bench(AnySource("noise", "cpu"), AnySource("os", "kernel", strength=256)).seeded()


def test_a_live_source_alone_meets_a_fresh_request_where_one_is_healthy() -> None:
    """What a generator gives after the request may be of before it: it counts nothing."""
    bench = live_and_kernel()
    bench.at(1.0, FreshWanted("x"))
    for now in (1.1, 1.2, 2.0):
        assert only(Answer, bench.give(now, source=1)) == []
    assert only(Answer, bench.give(2.1, FULL - 1)) == []
    assert only(Answer, bench.give(2.2, 1)) == [Answer("x", met=True, live=True)]


def test_what_a_live_source_gave_before_the_request_does_not_meet_it() -> None:
    """However much the kernel gives after it."""
    bench = live_and_kernel()
    bench.give(0.9)
    bench.at(1.0, FreshWanted("x"))
    bench.give(1.1, started=0.99)
    assert only(Answer, bench.give(1.2, source=1)) == []
    assert only(Answer, bench.at(11.0, Tick())) == [
        Answer("x", met=False, reason="the live sources did not give a fresh seed in time")
    ]


@pytest.mark.parametrize("why", ["not healthy", "not credited"])
def test_generators_meet_a_fresh_request_where_no_live_source_counts(why: str) -> None:
    """With the 256 bits that the kernel's holds; and the answer says so."""
    bench = live_and_kernel()
    noise = bench.sources[0]
    if why == "not healthy":
        noise.usable = False
    else:
        noise.credited = False
    bench.at(1.0, FreshWanted("x"))
    assert only(Answer, bench.give(0.9, source=1, started=0.9)) == []
    answers = [*only(Answer, bench.give(1.1, source=1)), *only(Answer, bench.at(2.0, Tick()))]
    assert answers == [Answer("x", met=True, live=False)]


def test_a_live_source_that_goes_while_somebody_waits_is_not_waited_for() -> None:
    """What it gave counts nothing; generators then meet the request, which is told of it."""
    bench = live_and_kernel()
    bench.at(1.0, FreshWanted("x"))
    bench.give(1.1, FULL / 2)
    assert only(Answer, bench.give(2.0, source=1)) == []
    bench.sources[0].usable = False
    answers = only(Answer, bench.at(2.1, SourceChanged("noise", usable=False)))
    assert answers == [Answer("x", met=True, live=False)]


def test_several_live_sources_meet_it_together() -> None:
    """Groups of their own, of which no one has enough."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y")).seeded()
    bench.at(1.0, FreshWanted("x"))
    assert only(Answer, bench.give(1.1, 200.0)) == []
    assert only(Answer, bench.give(1.2, 100.0, source=1)) == []
    assert only(Answer, bench.give(1.3, 20.0, source=1)) == [Answer("x", met=True, live=True)]


def test_live_sources_of_one_group_count_once() -> None:
    """Two of the same origin are no more than the better one."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "x")).seeded()
    bench.at(1.0, FreshWanted("x"))
    assert only(Answer, bench.give(1.1, 200.0)) == []
    assert only(Answer, bench.give(1.2, 200.0, source=1)) == []
    assert only(Answer, bench.give(1.3, 120.0)) == [Answer("x", met=True, live=True)]


def test_one_reseed_meets_all_whom_it_can() -> None:
    """Those who asked before its samples; who asked later waits for later ones."""
    bench = Bench().seeded()
    for number in range(100):
        bench.at(1.0, FreshWanted(number))
    bench.at(1.2, FreshWanted("late"))
    actions = bench.give(1.3, started=1.1)
    assert only(Answer, actions) == [
        Answer(number, met=True, live=True) for number in range(100)
    ]
    assert len(only(Reseed, actions)) == 1
    assert bench.seeder.wake_at == pytest.approx(1.3 + FRESH_SECONDS)


def test_a_reseed_for_its_own_sake_meets_them_too() -> None:
    """It is due by time, and its samples are late enough."""
    bench = Bench().seeded()
    bench.give(59.9, started=59.9)
    bench.at(60.0, FreshWanted("x"))
    reseed, _, answer = bench.give(60.0, started=60.0)
    assert isinstance(reseed, Reseed)
    assert reseed.cause is Cause.SCHEDULED_TIME
    assert answer == Answer("x", met=True, live=True)


def flood(bench: Bench, seconds: float, *, reads: float) -> int:
    """Reseeds where somebody always asks, and sources give `reads` seconds after a demand."""
    reseeds, now, due = 0, 100.0, list[float]()
    end = now + seconds
    waiting = False
    while now < end:
        actions = list[Action]()
        if not waiting:
            actions += bench.at(now, FreshWanted("x"))
            waiting = True
        if due and now >= due[0] + reads:
            actions += bench.give(now, started=due.pop(0))
        wake_at = bench.seeder.wake_at
        if wake_at is not None and now >= wake_at:
            actions += bench.at(now, Tick())
        for action in actions:
            reseeds += isinstance(action, Reseed)
            if isinstance(action, Answer):
                assert action.met
                waiting = False
            if isinstance(action, Demand):
                due.append(now)
        now += 0.001
    return reseeds


@pytest.mark.parametrize("reads", [0.0, 0.02, 0.1, 0.6])
def test_fresh_requests_make_a_few_reseeds_a_second(reads: float) -> None:
    """Who asks again at once gets its answers, but costs the others no more than that."""
    seconds = 10.0
    reseeds = flood(Bench().seeded(), seconds, reads=reads)
    slowest = FRESH_SECONDS + 2 * reads + 0.003
    assert seconds / slowest - 1 <= reseeds <= seconds / FRESH_SECONDS + 1


def test_samples_that_come_anyway_are_kept_for_the_next_turn() -> None:
    """Where they would meet a request too early they do so as soon as they may."""
    bench = Bench().seeded()
    bench.at(10.0, FreshWanted("x"))
    assert only(Answer, bench.give(10.0))
    assert bench.at(10.05, FreshWanted("y")) == []
    assert bench.give(10.1) == []
    at = bench.seeder.wake_at
    assert at is not None
    assert at == pytest.approx(10.0 + FRESH_SECONDS)
    assert only(Answer, bench.at(at, Tick())) == [Answer("y", met=True, live=True)]


def test_sources_are_asked_again_while_somebody_waits() -> None:
    """One may have failed in between and given less than it was asked for."""
    bench = Bench().seeded()
    assert bench.at(1.0, FreshWanted("x")) == [Demand()]
    assert bench.at(1.1, FreshWanted("y")) == []
    assert bench.at(1.0 + FRESH_SECONDS, Tick()) == [Demand()]


@pytest.mark.parametrize(
    ("usable", "why"),
    [
        (True, "the live sources did not give a fresh seed in time"),
        (False, "0 healthy credited groups of sources, min_groups asks for 1"),
    ],
)
def test_a_fresh_request_is_refused_in_time(usable: bool, why: str) -> None:  # noqa: FBT001 (a table)
    """With the reason; later ones go on waiting until their own time is over."""
    bench = Bench(AnySource("a", "x", usable=usable))
    bench.at(1.0, FreshWanted("x"))
    bench.at(2.0, FreshWanted("y"))
    assert not only(Answer, bench.at(10.9, Tick()))
    assert only(Answer, bench.at(11.0, Tick())) == [Answer("x", met=False, reason=why)]
    assert bench.seeder.wake_at is not None
    assert only(Answer, bench.at(12.0, Tick())) == [Answer("y", met=False, reason=why)]
    assert bench.seeder.wake_at is None


def test_who_is_gone_is_not_answered() -> None:
    """Nor asked for: with the last one the sources are left alone."""
    bench = Bench().seeded()
    bench.at(1.0, FreshWanted("x"))
    bench.at(1.0, FreshWanted("y"))
    assert bench.at(1.0, FreshCancelled("x")) == []
    assert only(Answer, bench.give(1.1)) == [Answer("y", met=True, live=True)]
    bench.at(2.0, FreshWanted("z"))
    bench.at(2.0, FreshCancelled("z"))
    assert bench.seeder.wake_at == 61.1  # for the next one by time
    assert bench.at(2.5, Tick()) == bench.give(2.6) == []


# Copies of the machine

COPIED = "this machine was copied (a sign): collecting a new seed"


def test_a_copied_machine_forgets_before_anything_else() -> None:
    """State first, then what is shown and said, then the demand for samples of its own."""
    bench = Bench().seeded()
    forget, publish, announce, demand = bench.at(7.0, Cloned("a sign"))
    assert forget == Forget()
    assert isinstance(publish, Publish)
    assert publish.state is ServiceState.STARTING
    assert announce == Announce(ServiceState.STARTING, COPIED)
    assert demand == Demand()
    assert bench.seeder.clones == 1
    assert bench.at(7.5, Tick()) == [Demand()]
    assert bench.seeder.reason == COPIED


def test_a_copied_machine_is_seeded_from_what_is_read_after_the_sign_alone() -> None:
    """What was pooled, and what was being read, the other machine has too."""
    bench = Bench(AnySource("a", "x"), AnySource("b", "y")).seeded()
    pooled = bytearray(b"known")
    bench.at(6.0, Delivered(Contribution("b", "y", pooled, FULL, 6.0)))
    bench.at(7.0, Cloned("a sign"))
    assert pooled == bytes(5)
    under_way = bytearray(b"known too")
    assert bench.at(7.1, Delivered(Contribution("a", "x", under_way, FULL, 6.9))) == []
    assert under_way == bytes(9)
    [reseed] = only(Reseed, bench.give(7.2, started=7.0))
    assert [label for label, _ in reseed.seed.materials] == [b"source a"]
    assert reseed.cause is Cause.CLONE
    assert bench.seeder.state is ServiceState.OK


def test_a_delivery_to_a_copied_machine_asks_for_no_other() -> None:
    """Sources were asked when the sign came."""
    bench = Bench().seeded()
    assert only(Demand, bench.at(1.0, Cloned("a test")))
    assert bench.give(1.1, 8.0) == []


def test_every_sign_counts_and_begins_anew() -> None:
    """A copy may be copied: what was read between two signs is not the last one's own."""
    bench = Bench().seeded()
    bench.at(7.0, Cloned("one"))
    bench.give(7.1, FULL - 1)
    assert only(Announce, bench.at(7.2, Cloned("another")))[0].reason == COPIED.replace(
        "a sign", "another"
    )
    assert not only(Reseed, bench.give(7.3, 1))
    assert only(Reseed, bench.give(7.4, FULL - 1))
    assert bench.seeder.clones == 2


@pytest.mark.parametrize("usable", [True, False])
def test_who_waits_for_fresh_entropy_waits_for_that_of_this_copy(usable: bool) -> None:  # noqa: FBT001 (a table)
    """It is met by the new seed, and refused at its own time where none comes."""
    bench = Bench(AnySource("a", "x")).seeded()
    bench.at(7.0, FreshWanted("x"))
    bench.at(7.1, Cloned("a sign"))
    bench.sources[0].usable = usable
    if usable:
        assert only(Answer, bench.give(7.2)) == [Answer("x", met=True, live=True)]
    else:
        assert "0 healthy" in only(Answer, bench.at(17.0, Tick()))[0].reason
