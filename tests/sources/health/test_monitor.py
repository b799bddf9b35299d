"""The state of one source on injected clocks: transitions, pauses, what it says."""

import math
import random
from collections.abc import Callable

import pytest

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim
from hwentropy_sources.health import Alarm
from hwentropy_sources.health.cutoffs import RETURN_SAMPLES
from hwentropy_sources.health.monitor import (
    FIRST_PAUSE,
    FORGET_SAMPLES,
    LONGEST_PAUSE,
    LONGEST_PROBATION,
    SourceMonitor,
    SourceState,
)
from hwentropy_sources.health.repeats import KEY_BYTES

CLAIM = Claim(8, 4.0, "a figure for this test", whitened=False)
#: RCT cut-offs at H=4: 1 + ceil(30/4) and 1 + ceil(60/4).
INTERMITTENT_RUN, PERMANENT_RUN = 9, 16
#: Wall time at the start, well away from the monotonic clock's 100.
EPOCH = 1_700_000_000.0


class Bench:
    """A monitor, its two clocks, and sound or faulty samples for it."""

    def __init__(self, claim: Claim = CLAIM) -> None:
        self.now = 100.0
        self.wall = EPOCH
        self.claim = claim
        self.noise = random.Random(1)
        self.monitor = SourceMonitor(lambda: self.now, lambda: self.wall)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def open(self) -> None:
        self.monitor.opened(self.claim, bytes(KEY_BYTES))

    def sound(self, count: int = STARTUP_SAMPLES) -> bool:
        return self.monitor.sampled(self.noise.randbytes(count), count)

    def run(self, length: int) -> bool:
        """A run of one value, with a different one on each side."""
        data = b"\x01\x02" + b"\xa7" * length + b"\x03"
        return self.monitor.sampled(data, len(data))

    def healthy(self) -> "Bench":
        self.open()
        self.sound()
        assert self.monitor.state is SourceState.HEALTHY
        return self

    @property
    def pause(self) -> float:
        return self.monitor.open_at - self.now


def look(monitor: SourceMonitor) -> tuple[SourceState, bool, bool]:
    return monitor.state, monitor.usable, monitor.is_open


# To healthy


def test_a_new_source_may_be_opened_at_once() -> None:
    """Before anything happened it is starting, not open, not usable, and due."""
    bench = Bench()
    assert look(bench.monitor) == (SourceState.STARTING, False, False)
    assert bench.pause == 0
    assert bench.monitor.since == EPOCH
    assert not bench.monitor.alarms


def test_startup_takes_1024_samples_and_uses_none() -> None:
    """Neither the first 1,023 samples nor the one that ends the startup test is used."""
    bench = Bench()
    bench.open()
    assert look(bench.monitor) == (SourceState.STARTING, False, True)
    assert bench.monitor.reason == "startup test"
    bench.wait(2)
    assert not bench.sound(STARTUP_SAMPLES - 1)
    assert look(bench.monitor) == (SourceState.STARTING, False, True)
    assert not bench.sound(1)
    assert look(bench.monitor) == (SourceState.HEALTHY, True, True)
    assert (bench.monitor.reason, bench.monitor.since) == ("", EPOCH + 2)
    assert bench.sound(32)
    assert bench.monitor.samples == STARTUP_SAMPLES + 32


@pytest.mark.parametrize("length", [INTERMITTENT_RUN, PERMANENT_RUN])
def test_any_alarm_in_startup_fails(length: int) -> None:
    """While starting an intermittent alarm fails the source like a permanent one."""
    bench = Bench()
    bench.open()
    assert not bench.run(length)
    assert look(bench.monitor) == (SourceState.FAILED, False, False)
    assert f"{length} equal samples in a row" in bench.monitor.reason
    assert bench.monitor.alarms == {Alarm.RCT: 1}


# Suspect


def test_intermittent_alarm_makes_suspect_and_clean_samples_heal() -> None:
    """Suspect samples are not used; after 1,024 clean ones in a row it is healthy again."""
    bench = Bench().healthy()
    bench.wait(5)
    assert not bench.run(INTERMITTENT_RUN)
    assert look(bench.monitor) == (SourceState.SUSPECT, False, True)
    assert bench.monitor.since == EPOCH + 5
    assert bench.monitor.reason.startswith("repetition count test: 9 equal samples in a row")
    assert not bench.sound(STARTUP_SAMPLES - 1)
    assert bench.monitor.state is SourceState.SUSPECT
    assert not bench.sound(1)
    assert look(bench.monitor) == (SourceState.HEALTHY, True, True)
    assert bench.monitor.reason == ""
    assert bench.sound(32)
    assert bench.monitor.alarms == {Alarm.RCT: 1}


def test_a_second_alarm_within_65536_samples_fails() -> None:
    """Also long after its recovery: two alarms that near are no chance."""
    bench = Bench().healthy()
    bench.run(INTERMITTENT_RUN)
    bench.sound(RETURN_SAMPLES - 100)
    assert look(bench.monitor) == (SourceState.HEALTHY, True, True)
    bench.run(INTERMITTENT_RUN)
    assert look(bench.monitor) == (SourceState.FAILED, False, False)
    assert bench.monitor.reason.startswith(
        "a second alarm within 65536 samples: repetition count test: 9 equal samples"
    )
    assert bench.monitor.alarms == {Alarm.RCT: 2}


def test_a_second_alarm_while_suspect_fails() -> None:
    """The recovery is not waited for."""
    bench = Bench().healthy()
    bench.run(INTERMITTENT_RUN)
    bench.sound(100)
    bench.run(INTERMITTENT_RUN)
    assert look(bench.monitor) == (SourceState.FAILED, False, False)


def test_a_later_alarm_doubles_the_probation() -> None:
    """Alarms 65,536 samples apart leave it suspect, for twice as long each time."""
    bench = Bench().healthy()
    probation: list[int] = []
    for _ in range(9):
        bench.run(INTERMITTENT_RUN)
        clean = 0
        while bench.monitor.state is SourceState.SUSPECT:
            bench.sound(512)
            clean += 512
        probation.append(clean)
        bench.sound(RETURN_SAMPLES)
    assert probation == [min(STARTUP_SAMPLES << n, LONGEST_PROBATION) for n in range(9)]


def test_the_startup_test_after_alarms_is_as_long_as_the_probation() -> None:
    """It says so; a startup test that fails makes the next one no longer."""
    bench = Bench().healthy()
    for _ in range(3):
        bench.run(INTERMITTENT_RUN)
        bench.sound(RETURN_SAMPLES)
    bench.run(PERMANENT_RUN)
    for _ in range(3):
        bench.open()
        assert bench.monitor.reason == "startup test over 8192 samples, after alarms"
        bench.run(INTERMITTENT_RUN)
        assert bench.monitor.state is SourceState.FAILED
    bench.open()
    bench.sound(8191)
    early = bench.monitor.usable
    bench.sound(1)
    assert (early, bench.monitor.usable) == (False, True)


def test_a_million_clean_samples_end_a_long_probation() -> None:
    """Then the next alarm is taken as the first one was."""
    bench = Bench().healthy()
    for _ in range(4):
        bench.run(INTERMITTENT_RUN)
        bench.sound(RETURN_SAMPLES)
    bench.sound(FORGET_SAMPLES - RETURN_SAMPLES - 1)
    bench.sound(1)
    bench.sound(1)
    bench.run(INTERMITTENT_RUN)
    bench.sound(STARTUP_SAMPLES)
    assert bench.monitor.state is SourceState.HEALTHY


def test_faults_that_are_no_tests_leave_the_probation() -> None:
    """A source that hangs is opened after a pause, with the startup test it had."""
    bench = Bench()
    for _ in range(4):
        bench.healthy()
        bench.monitor.fault(Alarm.HANG, "no answer")
    bench.open()
    assert bench.monitor.reason == "startup test"


@pytest.mark.parametrize("every", [600, 3000, 20_000, 60_000])
def test_a_source_whose_alarms_come_back_is_not_used_any_more(every: int) -> None:
    """With an alarm in each 2^16 samples it is used less and less, in the end not at all."""
    bench = Bench()
    used = [0, 0]
    at = 0
    for read in range(20_000):
        if not bench.monitor.is_open:
            bench.wait(max(0.0, bench.pause))
            bench.open()
        data = bytearray(bench.noise.randbytes(80))
        at += 80
        if at % every < 80:
            data[:INTERMITTENT_RUN] = b"\xa7" * INTERMITTENT_RUN
        used[read >= 10_000] += 80 * bench.monitor.sampled(data, 80)
    assert used[0] < 80 * 10_000 / 2
    assert used[1] == 0


@pytest.mark.parametrize("entropy", [8.0, 4.0, 2.0])
@pytest.mark.parametrize("period", [511, 2048, 4088])
def test_a_source_with_a_period_fails_and_stays_away(period: int, entropy: float) -> None:
    """It is used for a few periods at most, and then no more, however often it is opened.

    Its 1,024 samples of startup are clean, and so is half of what lies between two alarms
    of the word tests.
    """
    said = Claim(8, entropy, "a figure for this test")
    bench = Bench(said)
    count = math.ceil(320 / entropy)
    stream = bench.noise.randbytes(period) * (-(-1_000_000 // period) + 1)
    used = 0
    for at in range(0, 1_000_000, count):
        if not bench.monitor.is_open:
            bench.wait(max(0.0, bench.pause))
            bench.open()
        used += count * bench.monitor.sampled(stream[at : at + count], count)
    assert bench.monitor.state in {SourceState.FAILED, SourceState.STARTING}
    assert used < 5 * period


def test_stuck_source_escalates_over_several_reads() -> None:
    """Stuck from one read to the next: suspect at the first cut-off, failed at the second."""
    bench = Bench().healthy()
    states: list[SourceState] = []
    for _ in range(PERMANENT_RUN):
        bench.monitor.sampled(b"\xa7", 1)
        states.append(bench.monitor.state)
        if not bench.monitor.is_open:
            break
    assert states.index(SourceState.SUSPECT) == INTERMITTENT_RUN - 1
    assert states.index(SourceState.FAILED) == PERMANENT_RUN - 1
    assert bench.monitor.alarms == {Alarm.RCT: 2}


def test_a_standing_run_never_counts_as_clean() -> None:
    """At H=0.02 a run goes on for 1,500 samples between its alarms, and does not recover."""
    bench = Bench(Claim(8, 0.02, "a figure for this test", whitened=False)).healthy()
    low, high = 1501, 3001
    bench.monitor.sampled(bytes(low), low)
    assert look(bench.monitor) == (SourceState.SUSPECT, False, True)
    bench.monitor.sampled(bytes(high - low - 1), high - low - 1)
    assert look(bench.monitor) == (SourceState.SUSPECT, False, True)
    bench.monitor.sampled(bytes(1), 1)
    assert look(bench.monitor) == (SourceState.FAILED, False, False)


# Failed


def test_permanent_alarm_fails_a_healthy_source() -> None:
    """A permanent finding leads to failed at once, with its reason and a pause."""
    bench = Bench().healthy()
    assert not bench.run(PERMANENT_RUN)
    assert look(bench.monitor) == (SourceState.FAILED, False, False)
    assert "alpha 2^-60" in bench.monitor.reason
    assert bench.pause == FIRST_PAUSE


@pytest.mark.parametrize("alarm", [Alarm.HANG, Alarm.SHORT, Alarm.LENGTH, Alarm.ERROR])
@pytest.mark.parametrize("state", ["starting", "healthy", "suspect"])
def test_a_fault_fails_in_every_open_state(alarm: Alarm, state: str) -> None:
    """What the sampler sees go wrong raises its own alarm and no other."""
    bench = Bench()
    bench.open()
    if state != "starting":
        bench.sound()
    if state == "suspect":
        bench.run(INTERMITTENT_RUN)
    before = bench.monitor.alarms.copy()
    bench.monitor.fault(alarm, "what happened", "what to do")
    assert look(bench.monitor) == (SourceState.FAILED, False, False)
    assert (bench.monitor.reason, bench.monitor.remedy) == ("what happened", "what to do")
    assert bench.monitor.alarms - before == {alarm: 1}


def test_failed_comes_back_only_through_the_startup_test() -> None:
    """Opened again it starts, with a run from before forgotten, and must pass anew."""
    bench = Bench().healthy()
    bench.monitor.sampled(b"\xa7" * (INTERMITTENT_RUN - 1), INTERMITTENT_RUN - 1)
    bench.monitor.fault(Alarm.HANG, "no answer")
    bench.wait(FIRST_PAUSE)
    bench.open()
    assert look(bench.monitor) == (SourceState.STARTING, False, True)
    assert bench.monitor.remedy == ""
    bench.monitor.sampled(b"\xa7", 1)
    assert not bench.sound()
    assert look(bench.monitor) == (SourceState.HEALTHY, True, True)


def test_samples_of_a_closed_source_are_refused() -> None:
    """Testing samples of a source that is not open is a mistake of the caller."""
    bench = Bench()
    with pytest.raises(RuntimeError, match="not open"):
        bench.sound()
    bench.healthy().monitor.fault(Alarm.ERROR, "broke")
    with pytest.raises(RuntimeError, match="not open"):
        bench.sound()


# Pauses


def fail_again(bench: Bench) -> None:
    bench.open()
    bench.monitor.fault(Alarm.ERROR, "broke")


def find_absent(bench: Bench) -> None:
    bench.monitor.missing("no such device", "plug it in")


@pytest.mark.parametrize("step", [fail_again, find_absent])
def test_it_says_when_it_is_tried_again(step: Callable[[Bench], None]) -> None:
    """In wall time, from the moment it failed on; not while it is open."""
    bench = Bench()
    bench.open()
    told = [bench.monitor.tried_again_at]
    step(bench)
    told.append(bench.monitor.tried_again_at)
    bench.wait(0.25)
    told.append(bench.monitor.tried_again_at)
    bench.open()
    told.append(bench.monitor.tried_again_at)
    assert told == [None, EPOCH + FIRST_PAUSE, EPOCH + FIRST_PAUSE, None]


@pytest.mark.parametrize("step", [fail_again, find_absent])
def test_pause_doubles_from_1_to_60_seconds(step: Callable[[Bench], None]) -> None:
    """Failed or absent time and again: 1, 2, 4, ... 32, 60, 60 seconds."""
    bench = Bench()
    pauses: list[float] = []
    for _ in range(8):
        step(bench)
        pauses.append(bench.pause)
        bench.wait(bench.pause)
        assert bench.pause == 0
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]


@pytest.mark.parametrize(("seconds", "pause"), [(60.0, 4 * FIRST_PAUSE), (60.5, FIRST_PAUSE)])
def test_pause_starts_over_after_a_healthy_minute(seconds: float, pause: float) -> None:
    """More than a minute of health resets the pause; a source that flaps keeps growing it."""
    bench = Bench()
    fail_again(bench)
    fail_again(bench)
    bench.healthy()
    bench.wait(seconds)
    bench.sound(32)
    bench.monitor.fault(Alarm.ERROR, "broke")
    assert bench.pause == pause


def test_since_moves_only_with_the_state() -> None:
    """Failing once more keeps the time since when it has failed."""
    bench = Bench().healthy()
    bench.wait(10)
    bench.monitor.missing("gone")
    assert bench.monitor.since == EPOCH + 10
    bench.wait(10)
    bench.monitor.missing("still gone", "plug it in")
    assert bench.monitor.since == EPOCH + 10
    assert bench.monitor.reason == "still gone"


# Absent, or gone


def test_never_seen_is_absent_without_an_alarm() -> None:
    """A source that this machine does not have is absent; that is no fault."""
    bench = Bench()
    bench.monitor.missing("no /dev/tpmrm0", "is tpm_crb loaded?")
    assert look(bench.monitor) == (SourceState.ABSENT, False, False)
    assert (bench.monitor.reason, bench.monitor.remedy) == (
        "no /dev/tpmrm0",
        "is tpm_crb loaded?",
    )
    assert not bench.monitor.alarms


def test_absent_comes_to_life() -> None:
    """What is plugged in later starts and becomes healthy."""
    bench = Bench()
    bench.monitor.missing("not here")
    bench.wait(bench.pause)
    bench.healthy()
    assert look(bench.monitor) == (SourceState.HEALTHY, True, True)


@pytest.mark.parametrize("suspect", [False, True])
def test_disappearing_after_healthy_is_failed_and_gone_once(*, suspect: bool) -> None:
    """A device that was healthy and is gone has failed; looking again adds no alarm."""
    bench = Bench().healthy()
    if suspect:
        bench.run(INTERMITTENT_RUN)
        bench.monitor.alarms.clear()
    for _ in range(3):
        bench.monitor.missing("unplugged", "plug it in")
        assert look(bench.monitor) == (SourceState.FAILED, False, False)
        bench.wait(bench.pause)
    assert bench.monitor.alarms == {Alarm.GONE: 1}


def test_gone_while_starting_again_is_a_new_alarm() -> None:
    """It came back, was opened, and went once more: that is a second disappearance."""
    bench = Bench().healthy()
    bench.monitor.missing("unplugged")
    bench.open()
    bench.monitor.missing("unplugged")
    assert bench.monitor.state is SourceState.FAILED
    assert bench.monitor.alarms == {Alarm.GONE: 2}


def test_failed_startup_and_then_not_found_is_absent() -> None:
    """What was never healthy is absent when it is not there, whatever it did before."""
    bench = Bench()
    bench.open()
    bench.run(PERMANENT_RUN)
    bench.monitor.missing("unplugged")
    assert look(bench.monitor) == (SourceState.ABSENT, False, False)


# Secrets


def test_what_is_said_does_not_depend_on_a_samples_value() -> None:
    """Two sources stuck at different values say the same, in every public word."""

    def said(value: int) -> tuple[object, ...]:
        bench = Bench().healthy()
        for length in (INTERMITTENT_RUN, PERMANENT_RUN):
            data = bytes([value]) * length + b"\x01"
            bench.monitor.sampled(data, len(data))
        monitor = bench.monitor
        public = [name for name in dir(monitor) if not name.startswith("_")]
        shown = [getattr(monitor, name) for name in public]
        return tuple(item for item in shown if not callable(item))

    assert said(0xA7) == said(0x3C)
    assert repr(Bench().monitor).startswith(
        "<hwentropy_sources.health.monitor.SourceMonitor object at"
    )
