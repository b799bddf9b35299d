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

#: Bytes in a word: what RDRAND and RDSEED give at a time, and a divisor of every
#: buffer a TPM, the kernel or a hardware generator hands out in one piece.
WORD_BYTES: Final = 8

#: Window of the word test, in words: the greatest prime below the standard's 512.  A
#: prime has no factor in common with the length of a source's reply, so the windows
#: begin at each word of it in turn; 512 would begin at the same one for ever.
WORD_WINDOW: Final = 509

#: Reads in a watch of the lane tests: what the permanent RCT takes at H = 1, and prime.
LANE_READS: Final = 61

#: Samples within which a second intermittent alarm makes a source fail.
#:
#: A sound source raises intermittent alarms, all tests together, with a chance of at
#: most r = 4/3 x 2^-30 a sample: the RCT 2^-30, the word RCT an eighth of that (8 samples
#: in a word), the lane RCT an eighth (of the samples), each APT 2^-28 at most for a
#: window of some 500 units.  Another within 2^16 samples has a chance of 2^16 r, and a
#: run that was the first counts in the APT's window besides.  So a sound source fails with
#: less than 2^-41 a sample (2^-47 at H = 8 and 4, where a / H is rounded up): at 10 million
#: samples a day once in 600 years, and then it pauses for a second.
#: tools/cutoffs.py computes these chances, and its test holds these figures to them.
#:
#: The lag test, where a source asks for it, adds 2^-30, and often sees the run that the RCT
#: sees; where the end of a read lies between, that is two alarms.  With 32 samples between
#: them, in reads of 1,024, such a source fails by chance with 2^-30 x 32/1024 = 2^-35.
RETURN_SAMPLES: Final = 1 << 16


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


def exact_apt_cutoff(min_entropy: float, window: int, alpha_exponent: int) -> int:
    """The same count for our own windows, of words and of one place of the reads.

    C = 2 + critbinom(W - 1, p, 1 - 2^-a): the first equals itself, so the
    others must reach C - 1.  The standard's formula leaves that out, which
    matters little for bytes (2^-28 where 2^-30 is meant) but not for words: at
    H = 32 it would give 2, and one chance repetition is as likely as 2^-23.
    (UL's comment 10b on SP 800-90B proposes this form; jitterentropy uses it.)
    """
    return 2 + critbinom(window - 1, min_entropy, alpha_exponent)


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
