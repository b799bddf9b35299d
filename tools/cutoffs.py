"""Recompute the health tests' cut-offs with whole numbers, and compare.

    python tools/cutoffs.py [--json]

Prints one row for each H and alpha, and exits 1 if a single number differs from
what `hwentropy_sources.health.cutoffs` computes.

The other way: nothing here uses floating point or a logarithm.  p = 2^-H is
irrational when H is not whole, so it is enclosed between two fractions N / 2^s
and (N + 1) / 2^s, found by an integer root; the binomial tail is computed exactly
for both.  A tail grows with p, so where both give one cut-off it is the right one.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "sources")]

from hwentropy_sources.health import cutoffs  # noqa: E402  (the checkout's, found by the line above)

#: 20 and 40 are the bounds that SP 800-90B 4.3 recommends, 30 and 60 what is used.
ALPHAS = (20, 30, 40, 60)

#: Halves, eighths and tenths as they are claimed for raw sources, whole bits up
#: to a word as for whitened ones, and the H at which a whole window of equal
#: samples is exactly as likely as 2^-30 or 2^-60 (30/1024, 60/1024, 60/512).
ENTROPIES = (
    *("0.01", "0.029296875", "0.05", "0.05859375", "0.1", "0.1171875", "0.125", "0.2"),
    *("0.25", "0.3", "0.33", "0.5", "0.6", "0.7", "0.75", "0.8", "0.9", "1", "1.25", "1.5"),
    *("2", "2.5", "3", "3.5", "4", "5", "6", "6.5", "7", "7.5", "8"),
    *("10", "12", "16", "24", "32", "39", "48", "56", "64"),
)


class Row(NamedTuple):
    """All cut-offs at one H and alpha; window + 1 means: cannot fire."""

    min_entropy: str
    alpha: int
    rct: int
    apt_1024: int
    apt_512: int
    apt_words: int


def rct(min_entropy: Fraction, alpha: int) -> int:
    """The least C with p^(C - 1) <= 2^-alpha, by counting up."""
    cutoff = 1
    while (cutoff - 1) * min_entropy < alpha:
        cutoff += 1
    return cutoff


def critical_counts(trials: int, min_entropy: Fraction, alphas: Iterable[int]) -> list[int]:
    """For each alpha the smallest k with P(X > k) <= 2^-alpha, X ~ Binomial(trials, 2^-H)."""
    alphas = list(alphas)
    if min_entropy.denominator == 1:
        return _exact(trials, 1, int(min_entropy), alphas)
    scale = 128
    hit = _power_of_two(min_entropy, scale)
    counts: list[int] = []
    for alpha, least, most in zip(
        alphas,
        _exact(trials, hit, scale, alphas),
        _exact(trials, hit + 1, scale, alphas),
        strict=True,
    ):
        if trials * min_entropy == alpha:
            # p^trials, the end of the tail, is alpha itself: the fractions on the
            # two sides of p can never agree, and the whole-number exponents decide.
            counts.append(trials - 1)
        elif least == most:
            counts.append(least)
        else:
            raise ArithmeticError(f"H={min_entropy}: {scale} bits of p do not decide")
    return counts


def _power_of_two(min_entropy: Fraction, scale: int) -> int:
    """floor(2^(scale - H)), by an integer root: H = n / d, so 2^((scale d - n) / d)."""
    degree = min_entropy.denominator
    radicand = 1 << (scale * degree - min_entropy.numerator)
    while degree % 2 == 0:
        # floor(root) of floor(root) is floor(root): halve an even degree.
        radicand = isqrt(radicand)
        degree //= 2
    low, high = 0, 1 << scale
    while high - low > 1:
        middle = (low + high) // 2
        if middle**degree <= radicand:
            low = middle
        else:
            high = middle
    return low


def _exact(trials: int, hit: int, scale: int, alphas: Sequence[int]) -> list[int]:
    """critbinom for p = hit / 2^scale, every term a whole number over 2^(scale trials)."""
    miss = (1 << scale) - hit
    bounds = [
        1 << (scale * trials - alpha) if scale * trials >= alpha else 0 for alpha in alphas
    ]
    counts = [0] * len(alphas)
    term = hit**trials
    tail = 0
    for k in range(trials, 0, -1):
        tail += term
        for index, bound in enumerate(bounds):
            if tail > bound and not counts[index]:
                counts[index] = k
        if all(counts):
            break
        # C(n, k-1) = C(n, k) k / (n - k + 1); the division leaves no rest.
        term = term * (k * miss) // ((trials - k + 1) * hit)
    return counts


def table(entropies: Iterable[str], alphas: Sequence[int]) -> list[Row]:
    """The cut-offs, computed here."""
    rows: list[Row] = []
    for text in entropies:
        entropy = Fraction(text)
        wide = critical_counts(1024, entropy, alphas)
        narrow = critical_counts(512, entropy, alphas)
        words = critical_counts(cutoffs.WORD_WINDOW - 1, entropy, alphas)
        rows += [
            Row(
                text,
                alpha,
                rct(entropy, alpha),
                max(2, 1 + wide[index]),
                max(2, 1 + narrow[index]),
                2 + words[index],
            )
            for index, alpha in enumerate(alphas)
        ]
    return rows


def in_use(row: Row) -> Row:
    """The same row as the health tests compute it."""
    entropy = float(row.min_entropy)
    return Row(
        row.min_entropy,
        row.alpha,
        cutoffs.rct_cutoff(entropy, row.alpha),
        cutoffs.apt_cutoff(entropy, cutoffs.apt_window(1), row.alpha),
        cutoffs.apt_cutoff(entropy, cutoffs.apt_window(8), row.alpha),
        cutoffs.word_apt_cutoff(entropy, row.alpha),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a cut-off in use differs from it."""
    parser = argparse.ArgumentParser(description="Recompute and compare the cut-offs.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json: bool = parser.parse_args(argv).json
    rows = table(ENTROPIES, ALPHAS)
    wrong = [(row, used) for row in rows if (used := in_use(row)) != row]
    if as_json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "mismatches": len(wrong)}))
    else:
        print(f"{'H':>12} {'alpha':>6} {'RCT':>6} {'APT 1024':>9} {'APT 512':>8} {'words':>6}")
        for row in rows:
            print(
                f"{row.min_entropy:>12} {f'2^-{row.alpha}':>6} {row.rct:>6} "
                f"{row.apt_1024:>9} {row.apt_512:>8} {row.apt_words:>6}"
            )
    for row, used in wrong:
        print(f"mismatch: {row} here, {used} in use", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
