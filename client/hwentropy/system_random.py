"""`SystemRandom`: the whole of `random.Random` on the daemon's bytes.

    random()        7 bytes, the 53 highest bits, times 2^-53: every multiple of
                    2^-53 in [0, 1) equally likely (IEEE 754 binary64 holds 53 bits)
    getrandbits     hwentropy.integers.randbits
    _randbelow      hwentropy.integers.randbelow, by rejection: shuffle, sample,
                    choice, randrange and randint are built on it by `random.Random`

Two methods of `random.Random` are replaced because what they do would not hold
here.  `choices` without weights takes floor(random() * n), which favours some
elements where n does not divide 2^53; here it rejects.  `gauss` keeps the second
value of a pair in the object, so that a forked child would repeat its parent's;
here it is `normalvariate`, which keeps nothing.

What this does not do: the continuous distributions, `choices` with weights, and
`binomialvariate` compute with 53-bit floating point and are as exact as that.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from hwentropy.generator import random_bytes, take
from hwentropy.integers import randbelow, randbits

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

T = TypeVar("T")

_from_bytes = int.from_bytes
#: 53 bits: what a binary64 significand holds.
_UNIT: Final = 2.0**-53


class SystemRandom(random.Random):
    """Random numbers from the daemon; no state, so not to be seeded, saved or pickled."""

    def random(self) -> float:
        """A number in [0, 1), a multiple of 2^-53, every one equally likely."""
        raw = take(7)
        if raw is None:
            raw = random_bytes(7)
        return (_from_bytes(raw, "big") >> 3) * _UNIT

    def getrandbits(self, k: int) -> int:
        """An integer of `k` random bits; ValueError for a negative `k`."""
        return randbits(k)

    def randbytes(self, n: int) -> bytes:
        """`n` random bytes; ValueError for a negative `n`."""
        out = take(n)
        return random_bytes(n) if out is None else out

    def _randbelow(self, n: int) -> int:
        """An integer in [0, n), for n > 0; random.Random builds on it."""
        return randbelow(n)

    def choices(
        self,
        population: "SupportsLenAndGetItem[T]",
        weights: Sequence[Any] | None = None,
        *,
        cum_weights: Sequence[Any] | None = None,
        k: int = 1,
    ) -> list[T]:
        """`k` picks, with replacement; as `random.Random.choices`, unbiased without weights."""
        if weights is not None or cum_weights is not None:
            return super().choices(population, weights, cum_weights=cum_weights, k=k)
        size = len(population)
        if not size and k > 0:
            raise IndexError("Cannot choose from an empty population")
        draw = self._randbelow
        return [population[draw(size)] for _ in range(k)]

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """A normally distributed number; keeps none for the next call."""
        return self.normalvariate(mu, sigma)

    def seed(self, *_args: object, **_keywords: object) -> None:
        """Does nothing: there is no state to seed."""

    def _no_state(self, *_args: object, **_keywords: object) -> NoReturn:
        """Raise NotImplementedError: there is no state to save, restore, copy or pickle."""
        raise NotImplementedError("System entropy source does not have state.")

    getstate = _no_state
    setstate = _no_state
