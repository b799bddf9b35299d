"""A sampler over a source that does everything wrong: each fault its alarm and no other.

The source is a fake at the contract's seam; monitor, health tests and thread are
the real ones.  The clock is the test's; threads are waited for, up to PATIENCE.
"""

# Faults go in at inner seams, and as lambdas in tables:
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.attestation import Attestation
from hwentropy_core.status import SourceStatus
from hwentropy_sources.contract import (
    STARTUP_SAMPLES,
    Claim,
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)
from hwentropy_sources.health import Alarm
from hwentropy_sources.health.monitor import FIRST_PAUSE, SourceState
from hwentropyd.sampling.faults import died
from hwentropyd.sampling.sampler import Sampler
from hwentropyd.sampling.shown import (
    TestResult as Outcome,  # pytest collects what is called Test…
)
from hwentropyd.seeding.credit import Backing
from hwentropyd.seeding.pool import Contribution

#: Seconds of real time that a thread may take to get somewhere on a busy machine.
PATIENCE = 20.0
DEADLINE = 5.0
#: Stands for entropy: nothing that holds it may be logged or shown.
MARKER = "MARKER-OF-ENTROPY"


class Fake(Source):
    """A healthy source of seeded pseudo-random bytes."""

    kind = "fake"

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.random = random.Random(7)
        self.opens = 0
        self.closes = 0
        self.given: list[bytearray] = []

    def describe(self) -> Description:
        """Eight bits a sample."""
        return Description("fakes", Claim(8, 8.0, "a test"), {"colour": "blue"})

    def open(self) -> None:
        """Counts."""
        self.opens += 1

    def read(self, samples: int, timeout: float) -> bytearray:
        """Fresh bytes."""
        assert timeout == DEADLINE
        data = bytearray(self.random.randbytes(samples))
        self.given.append(data)
        return data

    def close(self) -> None:
        """Counts."""
        self.closes += 1


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Bench:
    """A sampler with everything around it."""

    config: SourceConfig = field(default_factory=SourceConfig)
    min_bits: int = 320

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.source = Fake(self.config)
        self.delivered: list[Contribution] = []
        self.changes: list[bool] = []
        self.release = threading.Event()
        self.entered = threading.Event()
        self.sampler = Sampler(
            "mine",
            self.source,
            self.config,
            min_bits=self.min_bits,
            poll_seconds=5.0,
            deliver=self.delivered.append,
            changed=self.changes.append,
            monotonic=self.clock,
            wall=lambda: 1.7e9,
            boot=self.clock,
        )

    @property
    def state(self) -> SourceState:
        """Of the sampler's source."""
        return self.sampler.monitor.state

    @property
    def alarms(self) -> dict[Alarm, int]:
        """Raised so far."""
        return dict(self.sampler.monitor.alarms)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the sampler's thread, asking it for samples all the while."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{self.state}: {self.sampler.monitor.reason}"
            self.sampler.demand()
            threading.Event().wait(0.001)

    def healthy(self) -> None:
        """Start it and wait until it has delivered."""
        self.sampler.start()
        self.until(lambda: bool(self.delivered))
        assert self.state is SourceState.HEALTHY
        assert self.alarms == {}

    def failed(self) -> None:
        """Wait until it has failed and its thread is back."""
        self.until(lambda: self.state is SourceState.FAILED)
        assert not self.test().ran

    def test(self) -> Outcome:
        """Run the on-demand test; also shows that the thread has gone round."""
        results: list[Outcome] = []
        self.sampler.test(results.append)
        end = time.monotonic() + PATIENCE
        while not results:
            assert time.monotonic() < end
            threading.Event().wait(0.001)
        return results[0]

    def hang(self, *_: Any) -> bytearray:
        """A call that comes back when `release` is set."""
        self.entered.set()
        assert self.release.wait(PATIENCE)
        return bytearray(b"\x05" * 40)

    def comes_back(self) -> None:
        """After its pause, and not before, it is opened and delivers again."""
        opens, delivered = self.source.opens, len(self.delivered)
        self.clock.now = self.sampler.monitor.open_at - 0.001
        assert not self.test().ran
        assert self.source.opens == opens
        assert len(self.delivered) == delivered
        self.clock.now = self.sampler.monitor.open_at
        self.until(lambda: len(self.delivered) > delivered)
        assert self.source.opens == opens + 1
        assert self.state is SourceState.HEALTHY
        assert (self.sampler.monitor.reason, self.sampler.monitor.remedy) == ("", "")

    def end(self) -> None:
        """Let the thread go."""
        self.release.set()
        if self.sampler._thread.ident is not None:
            self.sampler.stop()
            self.sampler._thread.join(PATIENCE)
            assert not self.sampler._thread.is_alive()


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    """Makes samplers and ends them."""
    benches: list[Bench] = []

    def made(min_bits: int = 320, **config: Any) -> Bench:
        bench = Bench(SourceConfig(deadline=DEADLINE, **config), min_bits)
        benches.append(bench)
        return bench

    yield made
    for bench in benches:
        bench.end()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    """A sampler with the default keys."""
    return make()


# What a healthy source gives


def test_the_first_samples_are_tested_and_not_used(bench: Bench) -> None:
    """1,024 samples pass before the first one counts; what was tested is overwritten."""
    bench.healthy()
    startup = -(-STARTUP_SAMPLES // 40)
    assert bench.sampler.monitor.samples >= STARTUP_SAMPLES + 40
    assert all(data == bytes(40) for data in bench.source.given[:startup])
    assert bench.delivered[0].data is bench.source.given[startup]
    assert bench.delivered[0].data != bytes(40)


def test_a_batch_carries_a_seed_alone(bench: Bench) -> None:
    """As many samples as credit `min_bits`, with the time from before they were asked for."""
    bench.healthy()
    contribution = bench.delivered[0]
    assert (contribution.source, contribution.group) == ("mine", "fakes")
    assert (len(contribution.data), contribution.bits) == (40, 320.0)
    assert contribution.started == bench.clock.now


def test_samples_are_as_old_as_the_moment_they_were_asked_for(
    bench: Bench, mocker: MockerFixture
) -> None:
    """Not as young as their arrival: what a slow read took may have been there before."""
    bench.healthy()
    read = bench.source.read
    asked: dict[int, float] = {}

    def slow(samples: int, timeout: float) -> bytearray:
        at = bench.clock.now
        data = read(samples, timeout)
        asked[id(data)] = at  # `given` keeps it, so nothing else gets its id
        bench.clock.now += 1.0
        return data

    mocker.patch.object(bench.source, "read", slow)
    bench.until(lambda: id(bench.delivered[-1].data) in asked)
    contribution = bench.delivered[-1]
    assert contribution.started == asked[id(contribution.data)]


@pytest.mark.parametrize(
    ("keys", "size", "bits"),
    [
        ({"credit": False}, 40, 0.0),
        ({"min_entropy": 4.0}, 80, 320.0),
        ({"min_entropy": 0.5}, 640, 320.0),
        ({"min_entropy": 64.0}, 40, 320.0),
        ({"min_entropy": 7.0}, 46, 322.0),
    ],
)
def test_the_operators_claim_holds(
    make: Callable[..., Bench], keys: dict[str, Any], size: int, bits: float
) -> None:
    """In place of the kind's own, up to what a sample can hold."""
    bench = make(**keys)
    bench.healthy()
    assert (len(bench.delivered[0].data), bench.delivered[0].bits) == (size, bits)


def test_what_cannot_count_does_not(bench: Bench, mocker: MockerFixture) -> None:
    """A kind that refuses credit gets none, whatever its table says."""
    mocker.patch.object(Fake, "credited", new=False)
    other = Bench(SourceConfig(deadline=DEADLINE, credit=True))
    other.healthy()
    assert other.delivered[0].bits == 0.0
    assert other.sampler.status().credit is False
    other.end()


def test_the_group_can_be_set(make: Callable[..., Bench]) -> None:
    """For a device that the source cannot tell apart."""
    bench = make(group="tpm0")
    bench.healthy()
    assert bench.delivered[0].group == bench.sampler.group == "tpm0"


def test_a_claim_of_next_to_nothing_is_not_credited(
    bench: Bench, mocker: MockerFixture
) -> None:
    """No seed could be made of it, and each fresh request would wait for one in vain."""
    claim = Claim(8, 1e-6, "a test")
    mocker.patch.object(bench.source, "describe", return_value=Description("fakes", claim))
    bench.healthy()
    assert not bench.sampler.credited
    assert not bench.sampler.status().credit
    assert bench.delivered[0].bits == 0.0


def test_a_demand_of_next_to_nothing_comes_to_an_end(
    bench: Bench, mocker: MockerFixture
) -> None:
    """With what the pool keeps of one source, however little that is."""
    claim = Claim(8, 1e-6, "a test")
    mocker.patch.object(bench.source, "describe", return_value=Description("fakes", claim))
    bench.healthy()
    end = time.monotonic() + PATIENCE
    while bench.sampler._bits_wanted:
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def test_it_waits_between_looks_unless_asked(bench: Bench) -> None:
    """A healthy source is left alone until `poll_seconds` are over."""
    bench.healthy()
    end = time.monotonic() + PATIENCE
    while bench.sampler._bits_wanted:
        assert time.monotonic() < end
        threading.Event().wait(0.001)
    assert bench.test().passed  # the thread has gone round after the last demand
    delivered = len(bench.delivered)
    assert bench.test().passed
    assert len(bench.delivered) == delivered
    bench.clock.now += 5.0
    bench.sampler.test(lambda _: None)  # wakes it; the clock does the rest
    end = time.monotonic() + PATIENCE
    while len(bench.delivered) == delivered:
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def test_one_demand_brings_a_full_seed_in_several_batches(make: Callable[..., Bench]) -> None:
    """A source of which little is claimed is not left half-way until its next look."""
    bench = make(min_entropy=0.125)  # 320 bits are 2,560 samples: three batches of 1,024
    bench.sampler.start()
    end = time.monotonic() + PATIENCE
    while not bench.delivered or bench.sampler._bits_wanted:
        assert time.monotonic() < end
        threading.Event().wait(0.001)
    assert bench.test().passed  # the thread has gone round
    bench.delivered.clear()
    bench.sampler.demand()
    while len(bench.delivered) < 3:
        assert time.monotonic() < end
        threading.Event().wait(0.001)
    assert bench.test().passed
    assert [len(one.data) for one in bench.delivered] == [1024] * 3


def test_what_it_says_of_itself_is_kept_up(bench: Bench, mocker: MockerFixture) -> None:
    """Facts that change while a source is open are shown; its group and claim stay."""
    bench.healthy()
    other = Description("others", Claim(8, 1.0, "another"), {"colour": "red"})
    mocker.patch.object(bench.source, "describe", return_value=other)
    bench.until(lambda: bench.sampler.status().facts == {"colour": "red"})
    assert bench.sampler.group == "fakes"
    assert bench.sampler.status().min_entropy == 8.0


def test_its_status_has_what_it_is(bench: Bench) -> None:
    """State, claim and origin as the source gave them, and what was tested."""
    bench.healthy()
    status = bench.sampler.status()
    assert status.samples >= STARTUP_SAMPLES
    assert status == SourceStatus(
        name="mine",
        kind="fake",
        group="fakes",
        state="healthy",
        reason="",
        remedy="",
        since="2023-11-14T22:13:20.000+00:00",
        samples=status.samples,
        alarms=0,
        alarm_counts={},
        credited_bits=0,
        credit=True,
        min_entropy=8.0,
        bits_per_sample=8,
        provenance="a test",
        facts={"colour": "blue"},
        strength=None,
        renewal="",
        live=True,
    )


def test_a_batch_is_no_more_than_a_digest_holds(make: Callable[..., Bench]) -> None:
    """512 bits of those that are asked for: the pool would count no more of it."""
    bench = make(min_entropy=4.0, min_bits=2048)
    bench.healthy()
    assert [(len(one.data), one.bits) for one in bench.delivered[:1]] == [(128, 512.0)]


def test_what_it_gives_says_what_stands_behind_it(
    make: Callable[..., Bench], mocker: MockerFixture
) -> None:
    """Strength, renewal and the moment at which it was opened; nothing where it is live."""
    live = make()
    live.healthy()
    assert live.delivered[0].backing is None
    drbg = Description("fakes", Claim(8, 8.0, "a test", True, 256, "hourly", 3600.0))
    mocker.patch.object(Fake, "describe", return_value=drbg)
    bench = make()
    bench.healthy()
    assert bench.sampler.strength == 256
    assert bench.delivered[0].backing == Backing(256, 3600.0, bench.clock.now)


def test_what_stands_behind_it_is_not_the_configurations(
    make: Callable[..., Bench], mocker: MockerFixture
) -> None:
    """`min_entropy` changes the figure and its provenance, not what holds the state."""
    drbg = Description("fakes", Claim(8, 4.0, "a test", True, 256, "daily", 86400.0))
    mocker.patch.object(Fake, "describe", return_value=drbg)
    status = make(min_entropy=1.0).sampler.status()
    assert (status.min_entropy, status.provenance) == (1.0, "set in the configuration")
    assert (status.strength, status.renewal, status.live) == (256, "daily", False)


# Induced failures


def biased(bench: Bench) -> Callable[[int, float], bytearray]:
    """Every second sample the same, in turn the odd and the even ones of a read.

    No run for an RCT, and every word another.
    """
    odd = False

    def read(samples: int, _: float) -> bytearray:
        nonlocal odd
        odd = not odd
        data = bytearray(bench.source.random.randbytes(samples))
        data[odd::2] = b"\xa5" * len(data[odd::2])
        return data

    return read


FAULTS: dict[str, tuple[Callable[[Bench], Any], Alarm]] = {
    "stuck": (lambda _: lambda n, _: bytearray(n), Alarm.RCT),
    "biased": (biased, Alarm.APT),
    "repeats a word": (
        lambda _: lambda n, _: bytearray(b"\1\2\3\4\5\6\7\x08" * n)[:n],
        Alarm.WORD_RCT,
    ),
    "short": (lambda bench: lambda n, _: bench.source.random.randbytes(n - 1), Alarm.SHORT),
    "empty": (lambda _: lambda _n, _t: b"", Alarm.SHORT),
    "long": (lambda bench: lambda n, _: bench.source.random.randbytes(n + 1), Alarm.LENGTH),
    "source error": (lambda _: SourceError("it broke", "mend it"), Alarm.ERROR),
    "os error": (lambda _: OSError(5, MARKER), Alarm.ERROR),
    "any exception": (lambda _: ValueError(MARKER), Alarm.ERROR),
    "any exception at all": (lambda _: SystemExit(MARKER), Alarm.ERROR),
    "a number": (lambda _: lambda n, _: n, Alarm.ERROR),
    "nothing": (lambda _: lambda _n, _t: None, Alarm.ERROR),
    "gone": (lambda _: SourceAbsent("unplugged", "plug it in"), Alarm.GONE),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_raises_its_alarm_and_no_other(
    bench: Bench, mocker: MockerFixture, fault: str
) -> None:
    """Nothing of it is used, and the sampler comes back by itself once it is over."""
    bench.healthy()
    behaviour, alarm = FAULTS[fault]
    assert not bench.test().reason
    good = {id(one) for one in bench.delivered}
    patch = mocker.patch.object(bench.source, "read", side_effect=behaviour(bench))
    bench.failed()
    assert set(bench.alarms) == {alarm}
    assert not bench.sampler.usable
    mocker.stop(patch)
    late = [one for one in bench.delivered if id(one) not in good]
    if alarm is not Alarm.APT:  # a bias shows over a window, not in its first batch
        assert all(one.started == 1000.0 for one in late)
        assert bench.alarms == {alarm: 1}
        assert bench.sampler.monitor.open_at - bench.clock.now == FIRST_PAUSE
    assert bench.source.closes >= 1
    bench.comes_back()
    assert set(bench.alarms) == {alarm}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "biased"])
def test_no_bad_sample_is_delivered(bench: Bench, mocker: MockerFixture, fault: str) -> None:
    """From the first bad batch on nothing reaches the pool."""
    bench.healthy()
    assert bench.test().passed
    assert bench.test().passed
    delivered = len(bench.delivered)
    mocker.patch.object(bench.source, "read", side_effect=FAULTS[fault][0](bench))
    bench.failed()
    assert len(bench.delivered) == delivered


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_is_bad_from_the_start_is_never_used(
    bench: Bench, mocker: MockerFixture, fault: str
) -> None:
    """It fails its startup test, or is absent; it never counts as healthy."""
    behaviour, alarm = FAULTS[fault]
    patch = mocker.patch.object(bench.source, "read", side_effect=behaviour(bench))
    bench.sampler.start()
    bench.until(lambda: bench.state in {SourceState.FAILED, SourceState.ABSENT})
    if alarm is Alarm.GONE:
        assert bench.state is SourceState.ABSENT
        assert bench.alarms == {}
    else:
        assert bench.alarms == {alarm: 1}
    assert bench.delivered == []
    mocker.stop(patch)
    bench.comes_back()


@pytest.mark.parametrize("method", ["open", "read", "close", "describe"])
@pytest.mark.parametrize("error", [ValueError(MARKER), OSError(5, MARKER), SystemExit(MARKER)])
def test_what_a_strangers_exception_says_is_never_shown(
    bench: Bench,
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
    method: str,
    error: BaseException,
) -> None:
    """It may hold samples: neither log nor status has more than its type."""
    caplog.set_level(logging.DEBUG)
    bench.healthy()
    mocker.patch.object(bench.source, method, side_effect=error)
    mocker.patch.object(
        bench.source, "read", side_effect=error if method == "read" else SourceError("over")
    )
    bench.failed()
    bench.clock.now = bench.sampler.monitor.open_at
    bench.until(lambda: bench.sampler.monitor.alarms.total() >= 2 or method == "close")
    bench.end()
    shown = caplog.text + repr(bench.sampler.status()) + repr(bench.delivered)
    assert MARKER not in shown
    assert type(error).__name__ in shown


def test_a_sources_own_words_are_shown(
    bench: Bench, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Reason and remedy of a SourceError are for the operator."""
    bench.healthy()
    mocker.patch.object(bench.source, "read", side_effect=SourceError("it broke", "mend it"))
    with caplog.at_level(logging.WARNING):
        bench.failed()
    assert "source mine failed: it broke; mend it; tried again in 1 s" in caplog.messages
    status = bench.sampler.status()
    assert (status.state, status.reason, status.remedy) == (
        "failed",
        "it broke",
        "mend it",
    )
    assert status.alarm_counts == {"error": 1}


def test_what_is_logged_of_a_source_is_healthy_suspect_or_failed(
    bench: Bench, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Each once; neither that it is absent nor that it is in its startup test."""
    caplog.set_level(logging.INFO)
    patch = mocker.patch.object(bench.source, "open", side_effect=SourceAbsent("no", "do"))
    bench.sampler.start()
    bench.until(lambda: bench.state is SourceState.ABSENT)
    assert not bench.test().ran
    assert caplog.messages == []
    mocker.stop(patch)
    bench.clock.now = bench.sampler.monitor.open_at
    bench.until(lambda: bool(bench.delivered))
    assert caplog.messages == ["source mine is healthy"]
    mocker.patch.object(bench.source, "read", side_effect=SourceError("it broke"))
    bench.failed()
    assert caplog.messages == [
        "source mine is healthy",
        "source mine failed: it broke; tried again in 2 s",
    ]


def test_a_source_that_is_not_there_is_absent(bench: Bench, mocker: MockerFixture) -> None:
    """No alarm, the reason and the remedy; and it is used once it is there."""
    patch = mocker.patch.object(
        bench.source, "open", side_effect=SourceAbsent("no device", "plug it in")
    )
    bench.sampler.start()
    bench.until(lambda: bench.state is SourceState.ABSENT)
    assert bench.sampler.settled
    status = bench.sampler.status()
    assert (status.reason, status.remedy, status.alarms) == (
        "no device",
        "plug it in",
        0,
    )
    mocker.stop(patch)
    bench.comes_back()


def test_a_source_that_fails_again_waits_longer(bench: Bench, mocker: MockerFixture) -> None:
    """1, 2, 4 … 60 seconds."""
    bench.healthy()
    mocker.patch.object(bench.source, "open", side_effect=SourceError("still broken"))
    mocker.patch.object(bench.source, "read", side_effect=SourceError("broken"))
    pauses = []
    for number in range(1, 9):
        bench.until(lambda number=number: bench.sampler.monitor.alarms.total() == number)  # type: ignore[misc]
        pauses.append(bench.sampler.monitor.open_at - bench.clock.now)
        bench.clock.now = bench.sampler.monitor.open_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


# What hangs


@pytest.mark.parametrize("method", ["read", "open", "describe"])
def test_a_call_that_hangs_is_declared_so_at_its_deadline(
    bench: Bench, mocker: MockerFixture, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Once, by the event loop's look at the clock, whatever the thread is stuck in."""
    if method == "read":
        bench.healthy()
    else:
        bench.sampler._description = bench.source.describe()
    patch = mocker.patch.object(bench.source, method, side_effect=bench.hang)
    if method != "read":
        bench.sampler.start()
    bench.until(bench.entered.is_set)
    bench.clock.now += DEADLINE - 0.01
    bench.sampler.tick()
    assert bench.alarms == {}
    bench.clock.now += 0.01
    changes = len(bench.changes)
    for _ in range(3):
        bench.sampler.tick()
    assert bench.alarms == {Alarm.HANG: 1}
    assert bench.state is SourceState.FAILED
    assert len(bench.changes) == changes + 1
    assert "no answer within 5 s" in bench.sampler.status().reason
    mocker.stop(patch)
    bench.release.set()
    bench.comes_back()
    assert bench.alarms == {Alarm.HANG: 1}
    assert caplog.text.count("no answer within 5 s") == 1


def test_data_that_comes_after_the_deadline_is_thrown_away(
    bench: Bench, mocker: MockerFixture
) -> None:
    """And overwritten, however good it is."""
    bench.healthy()
    assert bench.test().passed
    assert bench.test().passed
    delivered = len(bench.delivered)
    late = bytearray(bench.source.random.randbytes(40))

    def read(*_: Any) -> bytearray:
        bench.hang()
        return late

    patch = mocker.patch.object(bench.source, "read", side_effect=read)
    bench.until(bench.entered.is_set)
    bench.clock.now += DEADLINE
    bench.sampler.tick()
    mocker.stop(patch)
    bench.release.set()
    assert not bench.test().ran
    bench.until(lambda: bench.source.closes == 1)
    assert len(bench.delivered) == delivered
    assert late == bytes(40)
    bench.comes_back()


def test_a_close_that_hangs_is_an_alarm_of_its_own(bench: Bench, mocker: MockerFixture) -> None:
    """Beside that of the fault it follows; the sampler goes on when it comes back."""
    bench.healthy()
    read = mocker.patch.object(bench.source, "read", side_effect=SourceError("over"))
    close = mocker.patch.object(bench.source, "close", side_effect=bench.hang)
    bench.until(bench.entered.is_set)
    assert bench.alarms == {Alarm.ERROR: 1}
    bench.clock.now += DEADLINE
    bench.sampler.tick()
    assert bench.alarms == {Alarm.ERROR: 1, Alarm.HANG: 1}
    mocker.stop(read)
    mocker.stop(close)
    bench.release.set()
    bench.comes_back()


def test_a_hung_sampler_holds_nobody_up(bench: Bench, mocker: MockerFixture) -> None:
    """Everything that the event loop calls returns while the thread is stuck."""
    bench.healthy()
    mocker.patch.object(bench.source, "read", side_effect=bench.hang)
    bench.until(bench.entered.is_set)
    bench.clock.now += DEADLINE
    bench.sampler.tick()
    bench.sampler.demand()
    assert bench.sampler.status().state == "failed"
    assert not bench.test().ran
    bench.sampler.stop()


# The on-demand test


def test_the_on_demand_test_passes(bench: Bench) -> None:
    """1,024 samples, none of which is used."""
    bench.healthy()
    before = bench.sampler.monitor.samples
    result = bench.test()
    assert result == Outcome(ran=True, passed=True, samples=STARTUP_SAMPLES, reason="")
    assert bench.sampler.monitor.samples >= before + STARTUP_SAMPLES
    used = {id(one.data) for one in bench.delivered}
    assert all(data == bytes(len(data)) for data in bench.source.given if id(data) not in used)


@pytest.mark.parametrize(
    ("behaviour", "alarm", "reason"),
    [
        (lambda n, _: bytearray(n), Alarm.RCT, "on-demand test: repetition count test"),
        (SourceError("it broke"), Alarm.ERROR, "it broke"),
        (lambda n, _: bytearray(n - 1), Alarm.SHORT, "gave 39 bytes when asked for 40"),
    ],
    ids=["stuck", "raises", "short"],
)
def test_the_on_demand_test_fails(
    bench: Bench, mocker: MockerFixture, behaviour: Any, alarm: Alarm, reason: str
) -> None:
    """With its reason, and the source has failed with it."""
    bench.healthy()
    assert bench.test().passed
    assert bench.test().passed
    patch = mocker.patch.object(bench.source, "read", side_effect=behaviour)
    result = bench.test()
    assert result.ran
    assert not result.passed
    assert result.reason.startswith(reason)
    assert bench.alarms == {alarm: 1}
    assert bench.state is SourceState.FAILED
    mocker.stop(patch)
    bench.comes_back()


def keep_testing(bench: Bench) -> list[Outcome]:
    """Have the sampler always find another test to do; the outcomes so far."""
    outcomes: list[Outcome] = []

    def again(outcome: Outcome) -> None:
        outcomes.append(outcome)
        bench.sampler.test(again)

    bench.sampler.test(again)
    bench.sampler.test(again)
    return outcomes


def test_tests_without_end_leave_the_source_its_turn(bench: Bench) -> None:
    """There is a batch for each demand, at most one test after it, and by time too."""
    bench.healthy()
    outcomes = keep_testing(bench)
    for _ in range(5):
        delivered, tested = len(bench.delivered), len(outcomes)
        bench.sampler.demand()
        end = time.monotonic() + PATIENCE
        while len(bench.delivered) == delivered or len(outcomes) < tested + 6:
            assert time.monotonic() < end
            threading.Event().wait(0.001)
    assert all(one.passed for one in outcomes)
    delivered = len(bench.delivered)
    bench.clock.now += 5.0
    end = time.monotonic() + PATIENCE
    while len(bench.delivered) == delivered:
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def test_tests_without_end_do_not_keep_a_failed_source_closed(
    bench: Bench, mocker: MockerFixture
) -> None:
    """It is opened again when its pause is over, and passes its startup test."""
    bench.healthy()
    patch = mocker.patch.object(bench.source, "read", side_effect=SourceError("it broke"))
    bench.failed()
    mocker.stop(patch)
    outcomes = keep_testing(bench)
    bench.until(lambda: len(outcomes) > 10)
    assert not any(one.ran for one in outcomes)
    bench.clock.now = bench.sampler.monitor.open_at
    bench.until(lambda: bench.state is SourceState.HEALTHY)
    bench.until(lambda: outcomes[-1].passed)


def test_a_source_that_is_not_open_cannot_be_tested(
    bench: Bench, mocker: MockerFixture
) -> None:
    """The answer says that it did not run, and why."""
    mocker.patch.object(bench.source, "open", side_effect=SourceAbsent("no device"))
    bench.sampler.start()
    bench.until(lambda: bench.state is SourceState.ABSENT)
    assert bench.test() == Outcome(ran=False, passed=False, samples=0, reason="no device")


def test_a_test_that_hangs_is_answered_at_the_deadline(
    bench: Bench, mocker: MockerFixture
) -> None:
    """Also the one that waits behind it; each once."""
    bench.healthy()
    assert bench.test().passed
    assert bench.test().passed
    mocker.patch.object(bench.source, "read", side_effect=bench.hang)
    results: list[Outcome] = []
    bench.sampler.test(results.append)
    assert bench.entered.wait(PATIENCE)
    bench.sampler.test(results.append)
    bench.clock.now += DEADLINE
    bench.sampler.tick()
    assert [(one.ran, one.passed) for one in results] == [(True, False)] * 2
    assert all("no answer" in one.reason for one in results)
    bench.end()
    assert len(results) == 2


# The end


def test_stop_ends_the_thread(bench: Bench) -> None:
    """And closes the source."""
    bench.healthy()
    bench.end()
    assert bench.source.closes == 1


def test_stop_while_it_waits_for_its_pause(bench: Bench, mocker: MockerFixture) -> None:
    """At once, however long the pause is."""
    mocker.patch.object(bench.source, "open", side_effect=SourceAbsent("no device"))
    bench.sampler.start()
    bench.until(lambda: bench.state is SourceState.ABSENT)
    bench.end()
    assert bench.source.opens == 0


def test_stop_while_a_read_hangs(bench: Bench, mocker: MockerFixture) -> None:
    """`stop` returns; the thread ends once the device lets go of it."""
    bench.healthy()
    mocker.patch.object(bench.source, "read", side_effect=bench.hang)
    bench.until(bench.entered.is_set)
    bench.sampler.stop()
    assert bench.sampler._thread.is_alive()
    bench.end()


# What its device signs


def attested(bench: Bench) -> tuple[Attestation | None, str]:
    """What the sampler answers."""
    answers: list[tuple[Attestation | None, str]] = []
    bench.sampler.attest(b"a statement", lambda one, why: answers.append((one, why)))
    end = time.monotonic() + PATIENCE
    while not answers:
        assert time.monotonic() < end
        threading.Event().wait(0.001)
    return answers[0]


def test_a_statement_is_signed_by_the_sources_device(
    bench: Bench, mocker: MockerFixture
) -> None:
    """In the sampler's thread, between two reads."""
    bench.healthy()
    signed = Attestation(b"key", b"attested", b"signature")
    attest = mocker.patch.object(bench.source, "attest", return_value=signed)
    assert attested(bench)[0] is signed
    attest.assert_called_once_with(b"a statement")


def test_a_device_that_refuses_to_sign_is_as_healthy_as_before(
    bench: Bench, mocker: MockerFixture
) -> None:
    """The reason goes to who asked; there is no alarm."""
    bench.healthy()
    mocker.patch.object(bench.source, "attest", side_effect=SourceError("not allowed"))
    assert attested(bench) == (None, "not allowed")
    assert attested(bench) == (None, "not allowed")
    assert bench.state is SourceState.HEALTHY
    assert bench.alarms == {}


def test_a_source_that_cannot_sign_says_so(bench: Bench) -> None:
    """As most: the contract's own answer; and one that is not open."""
    bench.healthy()
    assert attested(bench) == (None, "its device does not sign")


def test_a_process_that_dies_of_it_is_a_fault(bench: Bench, mocker: MockerFixture) -> None:
    """The sampler notes it as at a read, and answers."""
    bench.healthy()
    mocker.patch.object(bench.source, "attest", side_effect=died("died of SIGSEGV"))
    assert attested(bench) == (None, "its process died of SIGSEGV")
    assert bench.alarms == {Alarm.DIED: 1}
    assert bench.state is SourceState.FAILED
    assert attested(bench) == (None, "the source is failed")
