"""The cut-offs: the standard's formulas, against published figures and exact binomials."""

import importlib.util
import json
import subprocess
import sys
from fractions import Fraction
from math import comb
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwentropy_sources.health import cutoffs

TOOL = Path(__file__).resolve().parents[3] / "tools" / "cutoffs.py"


def load_tool() -> ModuleType:
    """tools/cutoffs.py as a module."""
    spec = importlib.util.spec_from_file_location("cutoffs_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


@pytest.mark.parametrize(
    ("min_entropy", "alpha", "rct", "window", "apt"),
    [
        # The APT's: SP 800-90B 4.4.2, Table 2 (alpha 2^-20).  The RCT's: 1 + 20 / H.
        (0.2, 20, 101, 1024, 941),
        (0.4, 20, 51, 1024, 840),
        (0.6, 20, 35, 1024, 748),
        (0.8, 20, 26, 1024, 664),
        (1, 20, 21, 1024, 589),
        (0.5, 20, 41, 512, 410),
        (1, 20, 21, 512, 311),
        (2, 20, 11, 512, 177),
        (4, 20, 6, 512, 62),
        (8, 20, 4, 512, 13),
        # At 2^-30 and 2^-40 the standard has no table: figures this project was
        # given at its start, computed elsewhere.
        (1, 30, 31, 1024, 609),
        (4, 40, 11, 512, 78),
    ],
)
def test_published_figures(
    min_entropy: float, alpha: int, rct: int, window: int, apt: int
) -> None:
    """The cut-offs that others publish for these H and alpha come out."""
    assert cutoffs.rct_cutoff(min_entropy, alpha) == rct
    assert cutoffs.apt_cutoff(min_entropy, window, alpha) == apt


def test_windows() -> None:
    """1,024 samples for a binary source, 512 for every other, SP 800-90B 4.4.2."""
    assert [cutoffs.apt_window(bits) for bits in (1, 2, 8, 16, 64)] == [
        1024,
        512,
        512,
        512,
        512,
    ]


def test_rct_takes_h_as_it_is_written() -> None:
    """30 / 0.3 is 100: the binary rounding of 0.3 does not add a sample."""
    assert cutoffs.rct_cutoff(0.3, 30) == 101
    assert cutoffs.rct_cutoff(0.1, 20) == 201


@pytest.mark.parametrize(("window", "alpha"), [(512, 60), (1024, 30), (1024, 60)])
def test_a_tie_with_alpha_is_within_it(window: int, alpha: int) -> None:
    """Where a whole window of equal samples is exactly as likely as alpha, it is an alarm."""
    entropy = alpha / window
    assert cutoffs.apt_cutoff(entropy, window, alpha) == window
    assert cutoffs.apt_cutoff(entropy * (1 - 1e-9), window, alpha) == window + 1


def test_apt_never_alarms_on_the_first_sample_alone() -> None:
    """At H=64 the formula gives 1, which every window meets; the cut-off is 2."""
    assert 1 + cutoffs.critbinom(512, 64, 30) == 1
    assert cutoffs.apt_cutoff(64, 512, 30) == 2


@pytest.mark.parametrize("alpha", [20, 30, 40, 60])
@pytest.mark.parametrize("entropy", [1, 2, 3, 8, 16, 32, 39, 64])
@pytest.mark.parametrize("window", [cutoffs.LANE_READS, cutoffs.WORD_WINDOW])
def test_our_cutoffs_keep_the_real_false_alarm_rate(
    entropy: int, alpha: int, window: int
) -> None:
    """A sound window reaches the cut-off with at most alpha, one less with more."""

    def chance(cutoff: int) -> Fraction:
        others, hit = window - 1, Fraction(1, 2**entropy)
        below = Fraction(0)
        for k in range(cutoff - 1):
            below += comb(others, k) * hit**k * (1 - hit) ** (others - k)
        return 1 - below

    cutoff = cutoffs.exact_apt_cutoff(entropy, window, alpha)
    assert chance(cutoff) <= Fraction(1, 2**alpha)
    assert cutoff == 2 or chance(cutoff - 1) > Fraction(1, 2**alpha)


@given(
    entropy=st.floats(0.02, 64),
    more=st.floats(0, 4),
    alpha=st.integers(10, 59),
    window=st.sampled_from([512, 1024]),
)
@settings(max_examples=60, deadline=None)
def test_cutoffs_fall_with_h_and_rise_with_the_exponent(
    entropy: float, more: float, alpha: int, window: int
) -> None:
    """More claimed entropy never raises a cut-off; a rarer false alarm never lowers it."""
    assert cutoffs.rct_cutoff(entropy + more, alpha) <= cutoffs.rct_cutoff(entropy, alpha)
    assert cutoffs.rct_cutoff(entropy, alpha) <= cutoffs.rct_cutoff(entropy, alpha + 1)
    apt = cutoffs.apt_cutoff(entropy, window, alpha)
    assert 2 <= cutoffs.apt_cutoff(entropy + more, window, alpha) <= apt
    assert apt <= cutoffs.apt_cutoff(entropy, window, alpha + 1) <= window + 1


@pytest.mark.parametrize("entropy", [0, -1.0, float("nan")])
def test_no_entropy_is_refused(entropy: float) -> None:
    """H that is not above 0 has no cut-off."""
    with pytest.raises(ValueError, match="min-entropy"):
        cutoffs.rct_cutoff(entropy, 30)
    with pytest.raises(ValueError, match="min-entropy"):
        cutoffs.apt_cutoff(entropy, 512, 30)


def test_impossible_alpha_and_window_are_refused() -> None:
    """An alpha of 1 or more and an empty window are errors."""
    with pytest.raises(ValueError, match="alpha exponent"):
        cutoffs.rct_cutoff(1, 0)
    with pytest.raises(ValueError, match="trials"):
        cutoffs.apt_cutoff(1, 0, 30)


def test_exact_binomials_give_the_same_table() -> None:
    """tools/cutoffs.py, with whole numbers only, finds no difference over its whole table."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["mismatches"] == 0
    assert {"min_entropy": "1", "alpha": 30, "rct": 31, "apt_1024": 609}.items() <= (
        next(row for row in report["rows"] if (row["min_entropy"], row["alpha"]) == ("1", 30))
    ).items()
    assert len(report["rows"]) == 160
    assert report["above"] == []
    # What is said of a sound source is so, and not far from it.
    said = {"intermittent": -29.58, "returns": -41, "repeat": -74, "dropped": -19.93}
    for name, exponent in said.items():
        assert exponent - 2 < report["log2_chances"][name] <= exponent


@pytest.mark.parametrize("name", ["intermittent", "returns", "repeat", "dropped"])
def test_the_tool_notices_a_false_alarm_rate_that_is_not_as_said(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chance above what the comment beside the constant says makes it exit 1."""
    tool = load_tool()
    monkeypatch.setattr(tool, "ENTROPIES", ())
    monkeypatch.setattr(tool, "CLAIMED", ("8",))
    assert tool.main([]) == 0
    monkeypatch.setitem(tool.SAID, name, Fraction(1, 2**80))
    assert tool.main([]) == 1
    assert f"the chance `{name}` is above what is said of it" in capsys.readouterr().err


def test_a_narrower_span_of_two_alarms_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool's figure for two alarms follows the span: four times the span, more alarms."""
    tool = load_tool()
    before = tool.chances(8, "8")["returns"]
    monkeypatch.setattr(tool.cutoffs, "RETURN_SAMPLES", 4 * cutoffs.RETURN_SAMPLES)
    assert tool.chances(8, "8")["returns"] > 3 * before


def test_our_windows_are_prime() -> None:
    """So they have no factor in common with a reply's length, and begin at each place of it."""
    for window in (cutoffs.WORD_WINDOW, cutoffs.LANE_READS):
        assert all(window % factor for factor in range(2, window))


def test_the_tool_notices_a_wrong_cutoff(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cut-off that is off by one makes the tool exit 1 and name the row."""
    tool = load_tool()
    monkeypatch.setattr(tool, "ENTROPIES", ("4",))
    monkeypatch.setattr(tool, "CLAIMED", ("8",))
    assert tool.main([]) == 0
    right = cutoffs.apt_cutoff

    def wrong(min_entropy: float, window: int, alpha_exponent: int) -> int:
        return right(min_entropy, window, alpha_exponent) + (alpha_exponent == 40)

    monkeypatch.setattr(tool.cutoffs, "apt_cutoff", wrong)
    assert tool.main([]) == 1
    assert "mismatch: Row(min_entropy='4', alpha=40" in capsys.readouterr().err


@pytest.mark.parametrize(("min_entropy", "cutoff"), [(19.0, 1), (20.0, 0)])
def test_one_trial_is_enough(min_entropy: float, cutoff: int) -> None:
    """It is a success with a chance of 2^-H; of no trial there is nothing to say."""
    assert cutoffs.critbinom(1, min_entropy, 20) == cutoff
    with pytest.raises(ValueError, match="at least 1"):
        cutoffs.critbinom(0, min_entropy, 20)
