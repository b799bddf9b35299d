"""Passwords: random characters, with at least one of each class.

A candidate is drawn uniformly from all strings of the length, and thrown away
whole when a class is missing.  So every password that satisfies the rule is
equally likely, and the entropy is log2 of their number, by inclusion and
exclusion over the sets S of classes that are missing:

    count = sum over S of (-1)^|S| * |alphabet without the classes in S|^length

(Putting one character of each class first and shuffling, as many generators do,
is not uniform: strings with more than one way to come about come more often.)

What this does not do: make a weak rule strong.  Eight digits are a password of
26.6 bits here; look at the entropy that comes with it.
"""

import math
import string
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final

from .alphabet import Alphabet
from .secret_value import Generated

__all__ = [
    "AMBIGUOUS",
    "CLASSES",
    "DIGITS",
    "LOWERCASE",
    "MAX_LENGTH",
    "MIN_LENGTH",
    "SYMBOLS",
    "UPPERCASE",
    "generate_password",
    "password_count",
]

LOWERCASE: Final = string.ascii_lowercase
UPPERCASE: Final = string.ascii_uppercase
DIGITS: Final = string.digits
SYMBOLS: Final = string.punctuation

#: What a password is made of unless told otherwise: the 94 visible ASCII characters.
CLASSES: Final = (LOWERCASE, UPPERCASE, DIGITS, SYMBOLS)

#: Characters that are taken for one another in print or on a screen.
AMBIGUOUS: Final = "0O1Il|`'"

#: NIST SP 800-63B-4 section 3.1.1.2: 8 with a second factor, 15 without.
MIN_LENGTH: Final = 8

#: The entropy is the logarithm of a number of 6.6 bits a character, which takes 0.1 s
#: to work out here; the time grows faster than the length.
MAX_LENGTH: Final = 65536

#: How many candidates may be needed on average; beyond, the rule is refused.  Ten
#: classes of equal size in a password of ten still pass (10^10 / 10! = 2756 do not).
_MAX_TRIES: Final = 1024

#: 2^10 terms are summed for as many classes.
_MAX_CLASSES: Final = 10

_VISIBLE: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)


class _Rule:
    """What was asked for, worked out once."""

    __slots__ = ("alphabet", "bits", "needed")

    def __init__(
        self, length: int, classes: tuple[str, ...], *, exclude_ambiguous: bool
    ) -> None:
        sets = _class_sets(classes, exclude_ambiguous=exclude_ambiguous)
        if length < MIN_LENGTH:
            raise ValueError(
                f"a password of {length} characters is too short; ask for {MIN_LENGTH} or more"
            )
        if length > MAX_LENGTH:
            raise ValueError(
                f"a password of {length} characters is too long; ask for {MAX_LENGTH} or fewer"
            )
        if length < len(sets):
            raise ValueError(
                f"{length} characters cannot hold one of each of {len(sets)} classes; "
                "ask for more characters or fewer classes"
            )
        everything = frozenset[str]().union(*sets)
        count = _count(length, sets)
        if len(everything) ** length > _MAX_TRIES * count:
            raise ValueError(
                f"hardly any password of {length} characters has one of each class; "
                "ask for more characters, or larger or fewer classes"
            )
        self.alphabet = Alphabet("".join(sorted(everything)).encode("ascii"))
        # Where the alphabet is one class, nothing can be missing.
        self.needed = tuple(
            frozenset("".join(one).encode("ascii")) for one in sets if one != everything
        )
        self.bits = math.log2(count)


def generate_password(
    length: int = 16, *, classes: Sequence[str] = CLASSES, exclude_ambiguous: bool = False
) -> Generated:
    """A password of `length` characters with at least one of each class, and its bits.

    `classes` are strings of visible ASCII characters; they may overlap.
    `exclude_ambiguous` leaves out `AMBIGUOUS`.  Raises ValueError when the
    password would be too short or too long, or when a class is empty, has other characters,
    or makes nearly every candidate fail; and what
    `hwentropy.generator.random_bytes` raises.
    """
    rule = _rule(
        length, classes if isinstance(classes, tuple) else _as_tuple(classes), exclude_ambiguous
    )
    draw = rule.alphabet.draw
    while True:
        candidate = draw(length)
        for needed in rule.needed:
            if needed.isdisjoint(candidate):
                break
        else:
            return Generated(candidate.decode("ascii"), rule.bits)


def password_count(
    length: int, *, classes: Sequence[str] = CLASSES, exclude_ambiguous: bool = False
) -> int:
    """How many strings of `length` have at least one character of each class.

    Raises ValueError for classes that `generate_password` does not take.
    """
    return _count(length, _class_sets(_as_tuple(classes), exclude_ambiguous=exclude_ambiguous))


@lru_cache(maxsize=64)
def _rule(
    length: int,
    classes: tuple[str, ...],
    exclude_ambiguous: bool,  # noqa: FBT001 - one caller, and a keyword costs lru_cache time
) -> _Rule:
    return _Rule(length, classes, exclude_ambiguous=exclude_ambiguous)


def _as_tuple(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise TypeError("classes is a sequence of strings; write (characters,) for one class")
    return tuple(classes)


def _class_sets(
    classes: tuple[str, ...], *, exclude_ambiguous: bool
) -> tuple[frozenset[str], ...]:
    if not 1 <= len(classes) <= _MAX_CLASSES:
        raise ValueError(f"a password needs 1 to {_MAX_CLASSES} classes, not {len(classes)}")
    excluded = frozenset(AMBIGUOUS if exclude_ambiguous else "")
    sets = tuple(frozenset(one) - excluded for one in classes)
    if not all(sets):
        raise ValueError("a class has no characters left; leave it out")
    if not all(one <= _VISIBLE for one in sets):
        raise ValueError("a class may have visible ASCII characters only: no spaces or accents")
    return sets


def _count(length: int, sets: tuple[frozenset[str], ...]) -> int:
    everything = frozenset[str]().union(*sets)
    return sum(
        (-1) ** missing * len(everything.difference(*chosen)) ** length
        for missing in range(len(sets) + 1)
        for chosen in combinations(sets, missing)
    )
