"""How likely a statistic is when every byte is uniform and independent of the others.

Closed forms and finite sums only, so that nothing is needed but the standard
library.  The tests compare them with published tables, other ways to compute them,
and simulated bytes.
"""

import math

__all__ = [
    "at_least_one_of_256",
    "binomial_at_least",
    "chi_square_tail",
    "longest_run_at_least",
    "normal_two_sided",
]

#: The relative size at which the rest of a series no longer changes a double.
_EPSILON = 2.0**-60


def normal_two_sided(z: float) -> float:
    """P(|Z| >= |z|) for a standard normal Z."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_tail(x: float, freedom: int) -> float:
    """P(X >= x) for a chi-square variable with an odd number of degrees of freedom.

    Abramowitz and Stegun 26.4.4, with chi = sqrt(x):

        Q = 2 Q_normal(chi) + 2 Z(chi) * sum over r = 1 .. (freedom-1)/2 of
            chi^(2r-1) / (1 * 3 * 5 ... (2r-1))

    Raises ValueError for an even `freedom` and for an x below 0.
    """
    if freedom < 1 or freedom % 2 == 0 or not x >= 0:
        raise ValueError(f"chi_square_tail takes x >= 0 and odd freedom, not {x}, {freedom}")
    if x == 0:
        return 1.0
    tail = math.erfc(math.sqrt(x / 2))
    # As logarithms: the terms leave the range of a double long before the sum does.
    term = -x / 2 - math.log(2 * math.pi) / 2 + math.log(2) + math.log(x) / 2
    for r in range(1, (freedom - 1) // 2 + 1):
        tail += math.exp(term)
        term += math.log(x / (2 * r + 1))
    return min(tail, 1.0)


def binomial_at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X binomial(n, p), 0 < p < 1: the shorter tail, summed from its largest
    term outwards until nothing changes."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
    )
    first = math.exp(log_term)
    odds = p / (1 - p)
    total, ratio = 0.0, 1.0
    if k > n * p:
        at = k
        while ratio > _EPSILON * total:
            total += ratio
            ratio *= (n - at) / (at + 1) * odds
            at += 1
        return min(1.0, first * total)
    at = k
    while at > 0 and ratio > _EPSILON * total:
        # From P(X = k-1) downwards.
        ratio *= at / (n - at + 1) / odds
        total += ratio
        at -= 1
    return max(0.0, 1 - first * total)


def at_least_one_of_256(k: int, n: int) -> float:
    """P(the most frequent of 256 equally likely values occurs at least k times in n).

    1 - (1 - q)^256 with q = P(binomial(n, 1/256) >= k): as if the 256 counts were
    independent.  Their sum is n, so they are a little less likely to be large
    together, and the true value is at most 256 q and within a few per cent of this.
    """
    q = binomial_at_least(k, n, 1 / 256)
    if q >= 1:
        return 1.0
    return -math.expm1(256 * math.log1p(-q))


def longest_run_at_least(length: int, n: int) -> float:
    """P(n uniform bytes have a run of at least `length` equal ones).

    Runs that long begin at the first byte with probability 256^-(length-1), at each
    of the n - length others with 255/256 of that; they are rare and far apart, so
    their number is nearly Poisson: 1 - exp(-mean).
    """
    if length <= 1:
        return 1.0 if n >= length else 0.0
    if length > n:
        return 0.0
    # 256^-(length-1) as an exponent, for a run of millions.
    begins = math.ldexp(1.0, -8 * (length - 1))
    return -math.expm1(-begins * (1 + (n - length) * 255 / 256))
