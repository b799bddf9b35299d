"""PINs: random digits, without the ones that everybody tries first.

Refused are the numbers that repeat one or two digits (1111, 4747) and those that
count up or down, round from 9 to 0 too (2345, 8901, 4321).  The others are equally
likely.  A number that repeats with period two or less is fixed by its first two
digits, so there are 10 * 10; one that counts by its first and its direction, so
there are 10 * 2; and none is both, since counting by one repeats only after ten.
So log2(10^n - 120) bits come with it: for four digits 13.27 in place of 13.29.

What this does not do: refuse dates and years, which would have to take too much
away; or make a PIN safe where guesses are not counted.
"""

import math
from itertools import pairwise
from typing import Final

from .secret_value import Generated
from .secrets import randbelow

__all__ = ["MIN_DIGITS", "TRIVIAL", "generate_pin", "is_trivial_pin"]

#: ISO 9564-1 section 5.1.2: PINs have 4 to 12 digits.
MIN_DIGITS: Final = 4

#: How many PINs of any one length are refused; see above.
TRIVIAL: Final = 120


def generate_pin(length: int = 6) -> Generated:
    """A PIN or one-time code of `length` digits, and its bits.

    Raises ValueError for fewer than `MIN_DIGITS` digits, and what
    `hwentropy.generator.random_bytes` raises.
    """
    if length < MIN_DIGITS:
        raise ValueError(f"a PIN of {length} digits is too short; ask for {MIN_DIGITS} or more")
    numbers: int = 10**length
    while True:
        pin = f"{randbelow(numbers):0{length}}"
        if not is_trivial_pin(pin):
            return Generated(pin, math.log2(numbers - TRIVIAL))


def is_trivial_pin(pin: str) -> bool:
    """Whether the digits repeat with a period of one or two, or count up or down by one."""
    steps = {(int(after) - int(before)) % 10 for before, after in pairwise(pin)}
    return pin[2:] == pin[:-2] or steps in ({1}, {9})
