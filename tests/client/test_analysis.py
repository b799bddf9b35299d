"""The statistics against published tables, other ways to compute them, and known data."""

import math
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy.analysis import Examination, Judgement, Measurement, Tally, examine
from hwentropy.analysis.distributions import (
    at_least_one_of_256,
    binomial_at_least,
    chi_square_tail,
    longest_run_at_least,
    normal_two_sided,
)
from hwentropy.analysis.measurements import MIN_BYTES
from hwentropy.analysis.tally import HEAD_BYTES
from hwentropy.analysis.text import LEGEND, histogram, rows, verdict
from support import needed

#: NIST's test files with their tool's reports; README.md there says whence.
NIST = Path(__file__).parent / "nist"


def tallied(*pieces: bytes, numpy: bool = False) -> Tally:
    """A tally of these pieces."""
    tally = Tally(numpy=numpy)
    for piece in pieces:
        tally.update(piece)
    return tally


def found(examination: Examination) -> dict[str, Measurement]:
    """The measurements by name."""
    return {measurement.name: measurement for measurement in examination.measurements}


def uniform(seed: int, size: int) -> bytes:
    """Bytes of a seeded Mersenne Twister: the same on every machine, and uniform."""
    return random.Random(seed).randbytes(size)


# Critical values of NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4.
@pytest.mark.parametrize(
    ("freedom", "p", "x"),
    [
        (1, 0.05, 3.841),
        (1, 0.001, 10.828),
        (5, 0.05, 11.070),
        (9, 0.99, 2.088),
        (31, 0.05, 44.985),
        (99, 0.001, 148.230),
        (99, 0.95, 77.046),
    ],
)
def test_the_chi_square_tail_agrees_with_the_table(freedom: int, p: float, x: float) -> None:
    """To the table's three places of x, which the density turns into a difference of p."""
    density = (
        math.exp((freedom / 2 - 1) * math.log(x / 2) - x / 2 - math.lgamma(freedom / 2)) / 2
    )
    assert abs(chi_square_tail(x, freedom) - p) <= 0.0006 * density + 1e-12


@pytest.mark.parametrize("x", [150.0, 220.0, 255.0, 293.248, 350.0, 600.0])
def test_the_chi_square_tail_is_the_integral_of_the_density(x: float) -> None:
    """For 255 degrees of freedom, by Simpson's rule: another way to the same number."""

    def density(t: float) -> float:
        return math.exp(126.5 * math.log(t / 2) - t / 2 - math.lgamma(127.5)) / 2

    steps, end = 20_000, x + 600.0
    width = (end - x) / steps
    total = density(x) + density(end)
    total += sum((4 if at % 2 else 2) * density(x + at * width) for at in range(1, steps))
    assert chi_square_tail(x, 255) == pytest.approx(total * width / 3, rel=1e-9)


def test_the_chi_square_tail_holds_at_its_ends() -> None:
    """1 at 0, 0 far out, falling between, and nothing but its domain."""
    values = [chi_square_tail(x, 255) for x in (0, 1, 100, 200, 300, 1000, 1e5, 1e9)]
    assert values[0] == 1
    assert values[-1] == 0
    assert values == sorted(values, reverse=True)
    for x, freedom in ((-1.0, 255), (math.nan, 255), (1.0, 254), (1.0, -1)):
        with pytest.raises(ValueError, match="odd freedom"):
            chi_square_tail(x, freedom)


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (10, 0.25), (300, 1 / 256), (2000, 1 / 256)])
def test_the_binomial_tail_is_the_sum_of_its_terms(n: int, p: float) -> None:
    """For every k, by exact fractions."""
    exact = Fraction(p)
    terms = [math.comb(n, k) * exact**k * (1 - exact) ** (n - k) for k in range(min(n, 40) + 1)]
    below = Fraction(0)
    for k, term in enumerate(terms):
        assert binomial_at_least(k, n, p) == pytest.approx(
            float(1 - below), rel=1e-9, abs=1e-14
        )
        below += term
    assert binomial_at_least(n + 1, n, p) == 0


def test_far_tails_keep_their_precision() -> None:
    """P(all n) = p^n exactly, where 1 minus the rest would be nothing."""
    assert binomial_at_least(40, 40, 1 / 256) == pytest.approx(256.0**-40, rel=1e-9)
    assert normal_two_sided(1.959963984540054) == pytest.approx(0.05, rel=1e-12)
    assert longest_run_at_least(1, 1) == 1
    assert longest_run_at_least(2, 1) == 0
    assert longest_run_at_least(10, 10) == pytest.approx(256.0**-9, rel=1e-9)
    assert longest_run_at_least(10**6, 10**7) == 0


@pytest.mark.parametrize("length", [2, 3])
def test_the_longest_run_agrees_with_the_exact_chain(length: int) -> None:
    """A Markov chain over the length of the current run, for n = 3,000: exact, step by step."""
    n = 3000
    state = [1.0] + [0.0] * (length - 2)
    reached = 0.0
    for _ in range(n - 1):
        alive = sum(state)
        reached += state[-1] / 256
        state = [alive * 255 / 256, *(one / 256 for one in state[:-1])]
    assert longest_run_at_least(length, n) == pytest.approx(reached, rel=0.02)


def test_the_most_frequent_value_agrees_with_simulation() -> None:
    """Of 2,000 files of 4,096 bytes, as many reach a count as was foretold, within 4 sigma."""
    n, rounds = 4096, 2000
    source = random.Random(90)
    highest = [max(tallied(source.randbytes(n)).counts) for _ in range(rounds)]
    for k in (26, 28, 30, 33):
        p = at_least_one_of_256(k, n)
        seen = sum(count >= k for count in highest)
        assert abs(seen - rounds * p) < 4 * math.sqrt(rounds * p * (1 - p))


def test_the_p_values_of_good_bytes_are_uniform() -> None:
    """Of 1,500 files as many as should fall below 1, 10 and 50 per cent, within 4 sigma."""
    source = random.Random(91)
    rounds = 1500
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        for measurement in examine(tallied(source.randbytes(4096))).measurements:
            assert measurement.p is not None
            seen.setdefault(measurement.name, []).append(measurement.p)
    for name in ("bits_per_byte", "chi_square", "serial_correlation"):
        for level in (0.01, 0.1, 0.5):
            below = sum(p < level for p in seen[name])
            expected, deviation = rounds * level, math.sqrt(rounds * level * (1 - level))
            assert abs(below - expected) < 4 * deviation, (name, level)
    # Whole numbers, so p comes in steps: never more often small than it says.
    for name in ("min_entropy_per_byte", "longest_run"):
        below = sum(p < 0.1 for p in seen[name])
        assert below < rounds * 0.1 + 4 * math.sqrt(rounds * 0.09)


def plainly(data: bytes) -> dict[str, float]:
    """The statistics by their definitions, on the whole of the data, in exact fractions."""
    n = len(data)
    counts = [data.count(bytes([value])) for value in range(256)]
    mean = Fraction(sum(data), n)
    products = sum(
        (Fraction(x) - mean) * (data[(i + 1) % n] - mean) for i, x in enumerate(data)
    )
    squares = sum((Fraction(x) - mean) ** 2 for x in data)
    share = max(counts) / n
    upper = min(1.0, share + 2.5758293035489008 * math.sqrt(share * (1 - share) / (n - 1)))
    runs = [match.end() - match.start() for match in re.finditer(rb"(?s)(.)\1*", data)]
    return {
        "bits_per_byte": -sum(c / n * math.log2(c / n) for c in counts if c),
        "chi_square": float(sum((c - Fraction(n, 256)) ** 2 for c in counts) * 256 / n),
        "min_entropy_per_byte": -math.log2(upper),
        "serial_correlation": float(products / squares),
        "longest_run": max(runs),
    }


@given(st.binary(min_size=2, max_size=600).filter(lambda data: len(set(data)) > 1))
def test_each_value_is_its_definition(data: bytes) -> None:
    """On any bytes, computed a second and plainer way."""
    values = {f.name: f.value for f in examine(tallied(data)).measurements}
    assert values == pytest.approx(plainly(data), rel=1e-9, abs=1e-9)


@given(st.lists(st.binary(max_size=40), max_size=12), st.booleans())
def test_pieces_do_not_matter(pieces: list[bytes], few: bool) -> None:  # noqa: FBT001 - hypothesis
    """Counts, products, runs and head are those of the whole, however it is cut."""
    if few:
        pieces = [bytes(byte & 1 for byte in piece) for piece in pieces]
    whole, cut = tallied(b"".join(pieces)), tallied(*pieces)
    for name in ("size", "counts", "products", "longest", "head"):
        assert getattr(cut, name) == getattr(whole, name)
    data = b"".join(pieces)
    if data:
        runs = [(m.end() - m.start(), -m.start()) for m in re.finditer(rb"(?s)(.)\1*", data)]
        length, start = max(runs)
        assert whole.longest == (length, data[-start], -start)


def test_numpy_changes_nothing() -> None:
    """Large pieces are counted by NumPy where there is one, to the very same integers."""
    needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
    pieces = [uniform(1, 1 << 20), b"\x07" * (1 << 20), bytes(range(256)) * 5000, b"\x07"]
    plain, fast = tallied(*pieces), tallied(*pieces, numpy=True)
    for name in ("size", "counts", "products", "longest", "head"):
        assert getattr(fast, name) == getattr(plain, name)


def test_memory_is_bounded() -> None:
    """What is kept of a long stream is its head and 256 counts."""
    tally = Tally()
    piece = uniform(2, 1 << 16)
    for _ in range(64):
        tally.update(piece)
    assert tally.size == 64 << 16
    assert len(tally.head) == HEAD_BYTES
    assert sum(tally.counts) == tally.size
    with pytest.raises(ValueError, match="no bytes"):
        examine(Tally())


BAD: dict[str, tuple[bytes, str]] = {
    "zeros": (bytes(10_000), "serial_correlation"),
    "a counter": (bytes(range(256)) * 40, "chi_square"),
    "text": (b"the quick brown fox jumps over the lazy dog " * 200, "bits_per_byte"),
    "one stuck bit": (bytes(b | 1 for b in uniform(3, 10_000)), "chi_square"),
    "one value too often": (uniform(4, 9_900) + bytes([7, 200] * 100), "min_entropy_per_byte"),
    "a stuck stretch": (uniform(5, 10_000) + b"\x55" * 8 + uniform(6, 10_000), "longest_run"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_fail(name: str) -> None:
    """Each by the statistic that is there for it."""
    data, which = BAD[name]
    examination = examine(tallied(data))
    assert examination.judgement is Judgement.FAILED
    assert found(examination)[which].judgement is Judgement.FAILED


def test_neighbours_that_resemble_each_other_fail_alone() -> None:
    """Every value equally often, but in order: only the serial correlation can see it."""
    source = random.Random(8)
    # 60 blocks that hold each value once, nearly in order.
    data = bytearray()
    for _ in range(60):
        places = [value + source.uniform(0, 256) for value in range(256)]
        data += bytes(sorted(range(256), key=places.__getitem__))
    # Values drawn anew so that the counts are not too even.
    noisy = bytes(b if source.random() < 0.5 else source.randrange(256) for b in data)
    judged = found(examine(tallied(noisy)))
    assert judged["serial_correlation"].judgement is Judgement.FAILED


def test_passing_proves_little() -> None:
    """A Mersenne Twister with a known seed, which anybody can foretell, is "usual"."""
    examination = examine(tallied(uniform(12, 1 << 18)))
    assert examination.judgement is Judgement.USUAL
    assert verdict(examination) == "Nothing unusual."


def test_few_bytes_are_not_judged_but_a_long_run_is() -> None:
    """Below 1,280 bytes only the longest run says anything; no statistic is made up."""
    few = examine(tallied(uniform(10, MIN_BYTES - 1)))
    assert few.judgement is Judgement.NOT_JUDGED
    assert [f.name for f in few.measurements if f.p is not None] == ["longest_run"]
    assert examine(tallied(bytes(100))).judgement is Judgement.FAILED
    one = examine(tallied(b"x"))
    assert found(one)["serial_correlation"].value is None
    assert found(one)["min_entropy_per_byte"].value == 0


def test_the_words_match_the_numbers() -> None:
    """A tiny p is not shown as a number it cannot be; the histogram has a mark a value."""
    examination = examine(tallied(bytes(10_000)))
    shown = {row[0]: row[1:] for row in rows(examination)}
    assert shown["serial correlation"][0] == "undefined"
    assert shown["chi-square"] == ("2550000.00", "255.00", "< 1e-12", "failed")
    lines = histogram(examination, unicode=True)
    assert [line[:4] for line in lines] == ["00  ", "40  ", "80  ", "c0  "]
    assert "".join(line[4:] for line in lines) == "█" + "▁" * 255
    assert "".join(line[4:] for line in histogram(examination, unicode=False)).isascii()
    assert LEGEND[0].isascii()


@pytest.mark.parametrize("name", ["rand1_short", "rand4_short", "rand8_short"])
def test_nists_own_figures(name: str) -> None:
    """Most common value, count and estimate, as NIST's SP 800-90B tool (v1.1.8) prints them."""
    said = dict(
        re.findall(
            r"^Literal Most Common Value Estimate: (.*?) = (\S+)$",
            (NIST / f"{name}.res").read_text(),
            re.MULTILINE,
        )
    )
    tally = tallied((NIST / f"{name}.bin").read_bytes())
    assert max(tally.counts) == int(said["Mode count"])
    estimate = found(examine(tally))["min_entropy_per_byte"].value
    assert estimate == pytest.approx(float(said["min entropy"]), abs=1e-12)


def test_nists_random_bytes_are_usual() -> None:
    """`rand8_short` passes, `rand1_short` (a bit a byte) fails."""
    good = examine(tallied((NIST / "rand8_short.bin").read_bytes()))
    bad = examine(tallied((NIST / "rand1_short.bin").read_bytes()))
    assert good.judgement is Judgement.USUAL
    assert bad.judgement is Judgement.FAILED
