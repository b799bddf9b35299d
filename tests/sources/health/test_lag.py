"""The lag test: what it finds, what it leaves alone, and how often it is wrong."""

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from math import ceil, comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwentropy_sources.contract import Claim
from hwentropy_sources.health import Alarm, Finding, HealthTests, Level
from hwentropy_sources.health.lag import (
    LAGS,
    LagTest,
    lag_window,
    run_cutoff,
    window_cutoff,
)
from hwentropy_sources.health.repeats import KEY_BYTES

LOW, HIGH = Level.INTERMITTENT, Level.PERMANENT
CLAIM = Claim(8, 1 / 16, "a figure for this test", whitened=False, lag=True)


def findings(tests: HealthTests | LagTest, data: bytes) -> list[Finding]:
    """What a feed sample by sample finds, up to a permanent finding."""
    feed = tests.feed if isinstance(tests, HealthTests) else tests.scan
    found: list[Finding] = []
    for value in data:
        finding = feed(bytes([value]))
        if finding is not None:
            found.append(finding)
            if finding.level is HIGH:
                break
    return found


def repeating(lag: int, share: float, noise: random.Random) -> Iterator[int]:
    """Samples equal to that of `lag` before with a chance of `share`, otherwise not."""
    past = [noise.randrange(256) for _ in range(lag)]
    while True:
        past.append(past[-lag] if noise.random() < share else noise.randrange(256))
        yield past.pop(0)


@pytest.mark.parametrize("period", range(2, LAGS + 1))
def test_a_pattern_is_found_by_the_lag_test_alone(period: int) -> None:
    """A period up to the number of lags is a permanent alarm within 1,000 samples.

    RCT and APT pass it for ever where H is small: no value comes too often.
    """
    pattern = bytes(range(period)) * (1000 // period)
    found = findings(HealthTests(CLAIM, bytes(KEY_BYTES)), pattern)
    assert [(one.alarm, one.level) for one in found] == [
        (Alarm.LAG_RUN, LOW),
        (Alarm.LAG_RUN, HIGH),
    ]
    # A period and the sample that first repeats, then as many right as the cut-off.
    assert found[-1].samples == period + 1 + run_cutoff(1 / 16, HIGH)
    without = Claim(8, 1 / 16, "the same", whitened=False)
    assert findings(HealthTests(without, bytes(KEY_BYTES)), pattern * 10) == []


def test_a_stuck_source_is_the_repetition_count_tests() -> None:
    """One fault, one alarm: both reach their cut-off at one sample, and `rct` is told."""
    found = findings(HealthTests(CLAIM, bytes(KEY_BYTES)), bytes(1000))
    assert {one.alarm for one in found} == {Alarm.RCT}


@pytest.mark.parametrize("lag", [1, 5, LAGS])
def test_a_source_with_too_little_entropy_is_found_by_the_window(lag: int) -> None:
    """A window in which all but 1 of 60 samples repeat raises `lag`, and no run is long."""
    window = lag_window(1 / 16)
    data = bytearray(islice(repeating(lag, 1.0, random.Random(lag)), lag))
    while len(data) < window:
        # A new value that none of the lags has.
        new = next(value for value in range(256) if value not in data[-LAGS:])
        data.append(new if len(data) % 60 == 59 else data[-lag])
    found = findings(LagTest(1 / 16), bytes(data))
    assert [(one.alarm, one.level) for one in found] == [(Alarm.LAG, LOW), (Alarm.LAG, HIGH)]
    assert found[-1].samples <= window


def test_samples_that_keep_the_claim_raise_nothing() -> None:
    """100,000 samples that repeat as often as the claim allows, 15 of 16 times."""
    data = bytes(islice(repeating(3, 0.9375, random.Random(1)), 100_000))
    assert LagTest(1 / 16).scan(data) is None


def test_a_period_above_the_lags_passes() -> None:
    """As the module's docstring says: 17 different samples over and over."""
    assert LagTest(1 / 16).scan(bytes(range(LAGS + 1)) * 200) is None


def test_both_cut_offs_hold_what_they_promise() -> None:
    """Of the worst source that keeps its claim, alarms come as often as computed.

    The source knows the predictor and lets it be right with a chance of exactly p = 2^-H,
    H = 1.  Cut-offs for 2^-3 and 2^-8 in place of 2^-30, so that alarms come at all.
    """
    windows, entropy = 400, 1.0
    size, noise = lag_window(entropy), random.Random(7)
    test = LagTest(entropy)
    test._windows = {LOW: window_cutoff(entropy, 3), HIGH: size + 1}
    test._runs = {LOW: run_cutoff(entropy, 8), HIGH: windows * size}
    counts = dict.fromkeys(Alarm, 0)
    past = [0] * LAGS
    for _ in range(windows * size):
        predicted = past[-test._lag]
        past.append(predicted if noise.random() < 0.5 else predicted ^ 1)
        finding = test.scan(bytes([past[-1]]))
        if finding is not None:
            counts[finding.alarm] += 1
    exact = sum(comb(size, k) for k in range(test._windows[LOW], size + 1)) / 2**size
    for alarm, due in (
        (Alarm.LAG, windows * exact),
        # A run of at least C begins after a wrong prediction: p^C (1 - p) a sample.
        (Alarm.LAG_RUN, windows * size * 2**-8 / 2),
    ):
        # Five standard deviations of a Poisson count.
        assert abs(counts[alarm] - due) < 5 * due**0.5, alarm


@pytest.mark.parametrize("entropy", [1, 2, 4])
@pytest.mark.parametrize("level", Level)
def test_the_window_cut_off_is_exact(entropy: int, level: Level) -> None:
    """In whole numbers: C is the least count as rare as 2^-a in a window that is sound."""
    size, hit = lag_window(entropy), Fraction(1, 2**entropy)

    def chance(cutoff: int) -> Fraction:
        return sum(
            (comb(size, k) * hit**k * (1 - hit) ** (size - k) for k in range(cutoff, size + 1)),
            Fraction(0),
        )

    cutoff = window_cutoff(entropy, level)
    assert chance(cutoff) <= Fraction(1, 2**level) < chance(cutoff - 1)


@pytest.mark.parametrize("entropy", [1 / 32, 1 / 16, 0.3, 1, 2, 4])
@pytest.mark.parametrize("level", Level)
def test_a_run_of_the_cut_off_is_as_rare_as_the_level(entropy: float, level: Level) -> None:
    """C H >= a, and one less is not."""
    cutoff = run_cutoff(entropy, level)
    assert cutoff == ceil(level / Fraction(str(entropy)))


@pytest.mark.parametrize("entropy", [1 / 32, 1 / 16, 0.5, 1, 4])
def test_a_window_shows_that_half_of_the_entropy_is_missing(entropy: float) -> None:
    """The permanent cut-off is at most what a source of H / 2 reaches on average."""
    size = lag_window(entropy)
    assert window_cutoff(entropy, HIGH) <= size * 2 ** (-entropy / 2)
    assert window_cutoff(entropy, LOW) <= window_cutoff(entropy, HIGH)


@given(
    data=st.lists(st.sampled_from([0, 1, 2]), max_size=300).map(bytes),
    cuts=st.lists(st.integers(0, 300), max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_how_the_stream_is_cut_changes_nothing(data: bytes, cuts: list[int]) -> None:
    """The same state after any feeds."""
    whole, parts = LagTest(2), LagTest(2)
    first = whole.scan(data)
    found: list[Finding] = []
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, end in pairwise(edges):
        finding = parts.scan(data[start:end])
        if finding is not None:
            found.append(finding)
            if finding.level is HIGH:
                break
    if first is not None:
        assert first in found
    else:
        assert found == []
        assert parts._history == whole._history
        assert (parts._lag, parts._run, parts._scores) == (
            whole._lag,
            whole._run,
            whole._scores,
        )


def test_wide_samples_are_refused() -> None:
    """The test compares bytes."""
    with pytest.raises(ValueError, match="lag takes 8 at most"):
        Claim(16, 1, "wide", lag=True)
