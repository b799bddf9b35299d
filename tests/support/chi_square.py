"""Pearson's chi-square test against the uniform distribution, without tables."""

import math
from collections.abc import Mapping


def standardised(counts: Mapping[str, int], categories: int) -> float:
    """How many standard deviations the statistic lies above its mean, nearly normal.

    Wilson and Hilferty (1931): the cube root of chi-square / k is nearly normal with
    mean 1 - 2/(9k) and variance 2/(9k), k the degrees of freedom.  Above 4.75 happens
    once in a million times.
    """
    expected = sum(counts.values()) / categories
    assert expected >= 5, "too few draws for the test to mean anything"
    statistic: float = sum((count - expected) ** 2 for count in counts.values()) / expected
    statistic += (categories - len(counts)) * expected
    freedom = categories - 1
    spread = 2 / (9 * freedom)
    return (math.cbrt(statistic / freedom) - (1 - spread)) / math.sqrt(spread)
