"""Cut-offs of the health tests, computed from the claimed min-entropy.

All functions are pure.  H is min-entropy in bits per sample, an alpha exponent
`a` stands for a false alarm probability of 2^-a, and p = 2^-H is the largest
probability that one sample value may have under the claim.

`tools/cutoffs.py` computes the same numbers with whole-number arithmetic and
compares.

What a cut-off does not promise: the standard's two formulas hold for samples
that are independent.  A source whose samples depend on each other raises false
alarms more often, or hides a fault for longer.
"""

import math
from fractions import Fraction
from functools import cache
from typing import Final

#: Window of the word test, in words.  The standard's figure for samples that
#: are not binary: 4 KiB of the byte stream.
WORD_WINDOW: Final = 512


def rct_cutoff(min_entropy: float, alpha_exponent: int) -> int:
    """Equal samples in a row that are an alarm: C = 1 + ceil(a / H).

    SP 800-90B 4.4.1.  H counts as the decimal fraction it is written as: 30 / 0.3
    is 100, not the 101 that the nearest binary fraction below 0.3 would give.
    Raises ValueError when H or a is not above 0.
    """
    _check(min_entropy, alpha_exponent)
    return 1 + math.ceil(alpha_exponent / Fraction(str(min_entropy)))


def apt_window(bits_per_sample: int) -> int:
    """Samples in one window, SP 800-90B 4.4.2: 1,024 when binary, otherwise 512."""
    return 1024 if bits_per_sample == 1 else 512


def apt_cutoff(min_entropy: float, window: int, alpha_exponent: int) -> int:
    """Samples of a window equal to its first, itself included, that are an alarm.

    SP 800-90B 4.4.2: C = 1 + critbinom(W, p, 1 - 2^-a), and at least 2, because
    the first sample equals itself (the formula gives 1 from H of about a + 9 on).
    A result of W + 1 means that the test cannot fire: a whole window of equal
    samples is likelier than 2^-a when H < a / W.
    Raises ValueError when H, W or a is not above 0.
    """
    return max(2, 1 + critbinom(window, min_entropy, alpha_exponent))


def word_apt_cutoff(min_entropy: float, alpha_exponent: int) -> int:
    """The same count for the window of 64-bit words; H is per word.

    C = 2 + critbinom(W - 1, p, 1 - 2^-a): the first word equals itself, so the
    others must reach C - 1.  The standard's formula leaves that out, which
    matters little for bytes (2^-28 where 2^-30 is meant) but not here: at
    H = 32 it would give 2, and one chance repetition is as likely as 2^-23.
    (UL's comment 10b on SP 800-90B proposes this form; jitterentropy uses it.)
    """
    return 2 + critbinom(WORD_WINDOW - 1, min_entropy, alpha_exponent)


@cache  # a millisecond, and the same for a source however often it is opened again
def critbinom(trials: int, min_entropy: float, alpha_exponent: int) -> int:
    """The smallest k with P(X > k) <= 2^-a for X ~ Binomial(trials, 2^-H).

    The tail is added up from its far end, smallest terms first, each computed
    from its logarithm.  Nothing is subtracted from 1, so 2^-60 is as sound as
    2^-20: relative error about 1e-12, from lgamma.
    """
    _check(min_entropy, alpha_exponent)
    if trials < 1:
        raise ValueError(f"{trials} trials: at least 1 is needed")
    alpha = 2.0**-alpha_exponent
    # Base 2 throughout, so that P(X = trials) = 2^-(trials H) comes out exact and
    # a tie with alpha is one.  expm1 keeps 1 - p exact where p is close to 1.
    log2_miss = math.log2(-math.expm1(-min_entropy * math.log(2)))
    orders = math.lgamma(trials + 1)
    tail = 0.0
    for k in range(trials, 0, -1):
        ways = orders - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        tail += 2.0 ** (ways / math.log(2) - k * min_entropy + (trials - k) * log2_miss)
        if tail > alpha:
            return k
    return 0


def _check(min_entropy: float, alpha_exponent: int) -> None:
    if not min_entropy > 0:
        raise ValueError(f"min-entropy is {min_entropy}: a cut-off needs more than 0")
    if alpha_exponent < 1:
        raise ValueError(f"alpha exponent is {alpha_exponent}: at least 1 is needed")
