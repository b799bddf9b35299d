"""Are numbers drawn evenly?  Histograms for the chi-square test, and its limit."""

from collections.abc import Iterable, Sequence

from support.chi_square import standardised

#: A right sampler exceeds six sigmas once in 10^9 tests (the normal distribution's tail).
LIMIT = 6.0


def sigmas(counts: Sequence[int]) -> float:
    """How many sigmas above its mean the chi-square statistic of equal cells lies."""
    return standardised({str(cell): count for cell, count in enumerate(counts)}, len(counts))


def histogram(values: Iterable[int], cells: int, below: int) -> list[int]:
    """How many of the values in [0, below) fall into each of `cells` equal parts of it."""
    counts = [0] * cells
    for value in values:
        assert 0 <= value < below
        counts[value * cells // below] += 1
    return counts
