"""The statistics of a tally, each with the value expected and how unusual it is.

n bytes, c[v] of them with the value v, all compared with uniform independent bytes:

    bits per byte       H = -sum c/n log2 c/n (Shannon).  G = 2 n ln 2 (8 - H) is the
                        likelihood ratio: chi-square with 255 degrees of freedom after
                        division by q = 1 + 257/(6n) (Williams 1976), so the expected H
                        is 8 - 255 q / (2 n ln 2)
    min-entropy         SP 800-90B 6.3.1, most common value: p^ = max c / n,
                        -log2(min(1, p^ + 2.576 sqrt(p^ (1-p^) / (n-1)))); expected:
                        the same at the median of max c
    chi-square          sum (c - n/256)^2 / (n/256), 255 degrees of freedom
    serial correlation  Knuth, The Art of Computer Programming 2, 3.3.2 K: mean
                        -1/(n-1), variance n^2 / ((n-1)^2 (n-2))
    longest run         of one byte value: see distributions.longest_run_at_least

`p` is two-sided: how likely uniform bytes are to lie at least as far out, to either
side.  Too even is as unusual as too uneven.

What this does not do: find structure that these five cannot see, and there is no
end of it.  A counter encrypted under a known key passes everything here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from .distributions import (
    at_least_one_of_256,
    chi_square_tail,
    longest_run_at_least,
    normal_two_sided,
)
from .tally import Tally

__all__ = ["CAUTION", "MIN_BYTES", "Examination", "Judgement", "Measurement", "examine"]

#: Five expected in each of 256 cells: the usual least for a chi-square test.
MIN_BYTES: Final = 5 * 256

#: One good file in 100 lies outside by one statistic: worth a second look.
UNUSUAL_BELOW: Final = 1e-2
#: With five statistics one good file in 200,000 is called bad.
FAILED_BELOW: Final = 1e-6

#: SP 800-90B 6.3.1: the upper end of a 99 % confidence interval.  The standard rounds
#: it to 2.576, NIST's own tool does not.
_Z_99: Final = NormalDist().inv_cdf(0.995)

CAUTION: Final = (
    "Passing proves little: bytes that somebody can predict pass as well. Failing proves much."
)


class Judgement(StrEnum):
    """What to make of a statistic, or of all."""

    USUAL = "usual"
    UNUSUAL = "unusual"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One statistic."""

    name: str
    title: str
    value: float | None
    """None where it is not defined (the serial correlation of equal bytes)."""
    expected: float | None
    p: float | None
    """None where nothing can be said: fewer than MIN_BYTES bytes."""

    @property
    def judgement(self) -> Judgement:
        """By p alone."""
        if self.p is None:
            return Judgement.NOT_JUDGED
        if self.p < FAILED_BELOW:
            return Judgement.FAILED
        return Judgement.UNUSUAL if self.p < UNUSUAL_BELOW else Judgement.USUAL


@dataclass(frozen=True, slots=True)
class Examination:
    """All statistics of some bytes."""

    size: int
    counts: Sequence[int]
    measurements: Sequence[Measurement]

    @property
    def judgement(self) -> Judgement:
        """The worst of them; NOT_JUDGED when there are too few bytes and none is bad."""
        found = {measurement.judgement for measurement in self.measurements}
        for judgement in (Judgement.FAILED, Judgement.UNUSUAL, Judgement.NOT_JUDGED):
            if judgement in found:
                return judgement
        return Judgement.USUAL


def examine(tally: Tally) -> Examination:
    """The statistics of what a tally has taken in.  Raises ValueError for no bytes."""
    if not tally.size:
        raise ValueError("there are no bytes to examine")
    makers = (_shannon, _min_entropy, _chi_square, _serial_correlation, _longest_run)
    return Examination(tally.size, tally.counts, [make(tally) for make in makers])


def _two_sided(at_least: float, at_most: float) -> float:
    return min(1.0, 2 * min(at_least, at_most))


def _chi_square_p(x: float) -> float:
    tail = chi_square_tail(x, 255)
    return _two_sided(tail, 1 - tail)


def _shannon(tally: Tally) -> Measurement:
    n = tally.size
    value = sum(c / n * math.log2(n / c) for c in tally.counts if c)
    q = 1 + 257 / (6 * n)
    scale = 2 * n * math.log(2)
    enough = n >= MIN_BYTES
    return Measurement(
        "bits_per_byte",
        "bits per byte (Shannon)",
        value,
        8 - 255 * q / scale if enough else None,
        # Rounding can put H above 8 by the last bit.
        _chi_square_p(max(0.0, scale * (8 - value)) / q) if enough else None,
    )


def _most_common_value(count: int, n: int) -> float:
    share = count / n
    spread = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else 0.0
    # Adding 0.0 keeps -log2(1) from being -0.0.
    return -math.log2(min(1.0, share + _Z_99 * spread)) + 0.0


def _min_entropy(tally: Tally) -> Measurement:
    n, count = tally.size, max(tally.counts)
    enough = n >= MIN_BYTES
    expected = p = None
    if enough:
        expected = _most_common_value(_median(lambda k: at_least_one_of_256(k, n), n), n)
        p = _two_sided(at_least_one_of_256(count, n), 1 - at_least_one_of_256(count + 1, n))
    return Measurement(
        "min_entropy_per_byte",
        "min-entropy per byte (MCV)",
        _most_common_value(count, n),
        expected,
        p,
    )


def _chi_square(tally: Tally) -> Measurement:
    each = tally.size / 256
    value = sum((c - each) ** 2 for c in tally.counts) / each
    enough = tally.size >= MIN_BYTES
    return Measurement(
        "chi_square",
        "chi-square",
        value,
        255.0 if enough else None,
        _chi_square_p(value) if enough else None,
    )


def _serial_correlation(tally: Tally) -> Measurement:
    n = tally.size
    total = sum(v * c for v, c in enumerate(tally.counts))
    squares = sum(v * v * c for v, c in enumerate(tally.counts))
    # Integers up to here: nothing is lost where large sums nearly cancel.
    below = n * squares - total * total
    value = (n * tally.products - total * total) / below if below else None
    expected = p = None
    if n >= MIN_BYTES:
        expected = -1 / (n - 1)
        deviation = n / ((n - 1) * math.sqrt(n - 2))
        # Equal bytes: as correlated as can be.
        p = 0.0 if value is None else normal_two_sided((value - expected) / deviation)
    return Measurement("serial_correlation", "serial correlation", value, expected, p)


def _longest_run(tally: Tally) -> Measurement:
    n, length = tally.size, tally.longest.length
    return Measurement(
        "longest_run",
        "longest run of one value",
        float(length),
        float(_median(lambda k: longest_run_at_least(k, n), n)),
        _two_sided(longest_run_at_least(length, n), 1 - longest_run_at_least(length + 1, n)),
    )


def _median(at_least: Callable[[int], float], highest: int) -> int:
    """The largest k with P(X >= k) >= 1/2, by bisection."""
    low, high = 0, highest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if at_least(middle) >= 0.5:
            low = middle
        else:
            high = middle
    return low
