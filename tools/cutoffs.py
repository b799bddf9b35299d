"""Recompute the health tests' cut-offs with whole numbers, and compare.

    python tools/cutoffs.py [--json]

Prints one row for each H and alpha, and exits 1 if a single number differs from
what `hwentropy_sources.health.cutoffs` computes.  Then the chances of false alarms that
stand there beside RETURN_SAMPLES, and in `repeats`; exits 1 if one is above what is said.

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
from math import comb, isqrt, log2
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "sources")]

from hwentropy_sources.health import Level, cutoffs, repeats  # noqa: E402  (the checkout's, found by the line above)
from hwentropy_sources.health.lanes import LANE_SHARE  # noqa: E402

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

#: Of these, what a byte of a source may claim.
CLAIMED = ("0.25", "0.5", "1", "1.25", "1.5", "2", "3", "4", "6", "8")

#: Least H at which the lane tests' window is computed here: below it has thousands of reads.
LANE_ENTROPY = Fraction(1, 10)

#: What is said of a sound source: the chance of an intermittent alarm of any test, of two
#: within RETURN_SAMPLES, and of an alarm of the repeat test, each for one sample; and the
#: chance that its table has dropped a block that is not older than it says.
SAID = {
    "intermittent": Fraction(4, 3) / 2**30,
    "returns": Fraction(1, 2**41),
    "repeat": Fraction(1, 2**74),
    "dropped": Fraction(1, 10**6),
}


class Row(NamedTuple):
    """All cut-offs at one H and alpha; window + 1 means: cannot fire."""

    min_entropy: str
    alpha: int
    rct: int
    apt_1024: int
    apt_512: int
    apt_words: int
    apt_lane: int
    """0: not computed."""


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


def watch(entropy: Fraction) -> int:
    """Reads in a watch of the lane tests."""
    return max(cutoffs.LANE_READS, rct(entropy, Level.PERMANENT))


def table(entropies: Iterable[str], alphas: Sequence[int]) -> list[Row]:
    """The cut-offs, computed here."""
    rows: list[Row] = []
    for text in entropies:
        entropy = Fraction(text)
        wide = critical_counts(1024, entropy, alphas)
        narrow = critical_counts(512, entropy, alphas)
        words = critical_counts(cutoffs.WORD_WINDOW - 1, entropy, alphas)
        lanes = (
            [2 + count for count in critical_counts(watch(entropy) - 1, entropy, alphas)]
            if entropy >= LANE_ENTROPY
            else [0] * len(alphas)
        )
        rows += [
            Row(
                text,
                alpha,
                rct(entropy, alpha),
                max(2, 1 + wide[index]),
                max(2, 1 + narrow[index]),
                2 + words[index],
                lanes[index],
            )
            for index, alpha in enumerate(alphas)
        ]
    return rows


def in_use(row: Row) -> Row:
    """The same row as the health tests compute it."""
    entropy = float(row.min_entropy)
    length = watch(Fraction(row.min_entropy))
    lane = cutoffs.exact_apt_cutoff(entropy, length, row.alpha) if row.apt_lane else 0
    return Row(
        row.min_entropy,
        row.alpha,
        cutoffs.rct_cutoff(entropy, row.alpha),
        cutoffs.apt_cutoff(entropy, cutoffs.apt_window(1), row.alpha),
        cutoffs.apt_cutoff(entropy, cutoffs.apt_window(8), row.alpha),
        cutoffs.exact_apt_cutoff(entropy, cutoffs.WORD_WINDOW, row.alpha),
        lane,
    )


class Window(NamedTuple):
    """One pair of RCT and APT, and its part of the stream."""

    entropy: Fraction
    """Of a unit."""
    units: Fraction
    """For each sample of the stream."""
    length: int
    apt: int


def chances(bits: int, text: str) -> dict[str, Fraction]:
    """Upper bounds of what SAID names, at H = `text`; what cannot fire is left out.

    That of two alarms is a sum over the tests of the first: its chance times that of any
    other within RETURN_SAMPLES.  An RCT's run may also count in the APT's window that
    stands then, which needs so many less.
    """
    low, entropy = Level.INTERMITTENT, Fraction(text)
    of_word = entropy * 8
    tests = [
        Window(
            entropy,
            Fraction(1),
            cutoffs.apt_window(bits),
            cutoffs.apt_cutoff(float(entropy), cutoffs.apt_window(bits), low),
        ),
        Window(
            of_word,
            Fraction(1, 8),
            cutoffs.WORD_WINDOW,
            cutoffs.exact_apt_cutoff(float(of_word), cutoffs.WORD_WINDOW, low),
        ),
        Window(
            entropy,
            Fraction(1, LANE_SHARE),
            watch(entropy),
            cutoffs.exact_apt_cutoff(float(entropy), watch(entropy), low),
        ),
    ]
    alone: list[tuple[Fraction, Fraction]] = []
    for test in tests:
        run = rct(test.entropy, low)
        p = probability(test.entropy)
        # The first of the window is in the run, or has its value.  The APT is quiet
        # while the run goes on, so it takes one more in any case.
        first = min(Fraction(1), Fraction(run, test.length) + p)
        more = tail(max(0, test.length - run), max(1, test.apt - run), test.entropy)
        alone += [
            (test.units * p ** (run - 1), first * more),
            (
                test.units * tail(test.length - 1, test.apt - 1, test.entropy) / test.length,
                Fraction(0),
            ),
        ]
    any_alarm = sum((chance for chance, _ in alone), Fraction(0))
    returns = sum(
        (chance * (cutoffs.RETURN_SAMPLES * any_alarm + more) for chance, more in alone),
        Fraction(0),
    )
    block = -(-repeats.BLOCK_BITS // bits)
    return {"intermittent": any_alarm, "returns": returns, "repeat": repeat_chance(block)}


def repeat_chance(samples: int) -> Fraction:
    """Of one sample, in a whitened block of so many: by its hash, or because it is equal.

    Two lookups a block at most; a tag may be found at any byte of its row.
    """
    places = (repeats.ROW_TAGS - 1) * repeats.TAG_BYTES + 1
    stored = repeats.ROWS * repeats.ROW_TAGS
    hashed = Fraction(places, 2 ** (8 * repeats.TAG_BYTES))
    return 2 * (hashed + Fraction(stored, 2**repeats.BLOCK_BITS)) / samples


def dropped_chance() -> Fraction:
    """That of BLOCKS later blocks a row takes as many as it holds."""
    row = Fraction(1, repeats.ROWS)
    return 1 - sum(
        (
            comb(repeats.BLOCKS, k) * row**k * (1 - row) ** (repeats.BLOCKS - k)
            for k in range(repeats.ROW_TAGS)
        ),
        Fraction(0),
    )


def probability(entropy: Fraction) -> Fraction:
    """2^-H, or a little more."""
    if entropy.denominator == 1:
        return Fraction(1, 2 ** int(entropy))
    return Fraction(_power_of_two(entropy, 128) + 1, 2**128)


def tail(trials: int, least: int, entropy: Fraction) -> Fraction:
    """P(X >= least) for X ~ Binomial(trials, 2^-H), or a little more."""
    hit, whole = probability(entropy).as_integer_ratio()
    total = sum(
        comb(trials, k) * hit**k * (whole - hit) ** (trials - k)
        for k in range(least, trials + 1)
    )
    return Fraction(total, whole**trials)


def worst_chances() -> dict[str, Fraction]:
    """The highest of each over the claims of samples of a byte and of a bit."""
    worst = {"dropped": dropped_chance()}
    for bits, text in ((1, "1"), *((8, text) for text in CLAIMED)):
        for name, chance in chances(bits, text).items():
            worst[name] = max(chance, worst.get(name, Fraction(0)))
    return worst


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a cut-off in use differs from it."""
    parser = argparse.ArgumentParser(description="Recompute and compare the cut-offs.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json: bool = parser.parse_args(argv).json
    rows = table(ENTROPIES, ALPHAS)
    wrong = [(row, used) for row in rows if (used := in_use(row)) != row]
    worst = worst_chances()
    above = [name for name, said in SAID.items() if worst[name] > said]
    if as_json:
        exponents = {name: round(log2(chance), 2) for name, chance in worst.items()}
        report = {
            "rows": [row._asdict() for row in rows],
            "mismatches": len(wrong),
            "log2_chances": exponents,
            "above": above,
        }
        print(json.dumps(report))
    else:
        print(
            f"{'H':>12} {'alpha':>6} {'RCT':>6} {'APT 1024':>9} {'APT 512':>8} "
            f"{'words':>6} {'lanes':>6}"
        )
        for row in rows:
            print(
                f"{row.min_entropy:>12} {f'2^-{row.alpha}':>6} {row.rct:>6} "
                f"{row.apt_1024:>9} {row.apt_512:>8} {row.apt_words:>6} "
                f"{row.apt_lane or '-':>6}"
            )
        for name, chance in worst.items():
            print(f"{name}: 2^{log2(chance):.2f}, said to be at most 2^{log2(SAID[name]):.2f}")
    for row, used in wrong:
        print(f"mismatch: {row} here, {used} in use", file=sys.stderr)
    for name in above:
        print(f"the chance `{name}` is above what is said of it", file=sys.stderr)
    return 1 if wrong or above else 0


if __name__ == "__main__":
    sys.exit(main())
