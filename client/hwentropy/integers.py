"""Random integers and picks without bias: the name-for-name half of Python's `secrets`.

    bits   k random bits = ceil(8k') bytes of the generator, the excess shifted out
    below  draw bit_length(n - 1) bits, again until the draw is below n (rejection)

Rejection and not a remainder: `x % n` for n that does not divide 2^k favours
the small values; a draw that is thrown away favours none.  At least half of all
draws are kept, because 2^bit_length(n - 1) < 2n, so two are needed on average
at worst, and exactly one where n is a power of two.

What this does not protect against: the time of a call shows how many draws were
thrown away.  Those are independent of the one that was kept.
"""

from typing import TYPE_CHECKING, Protocol, TypeVar

from hwentropy.generator import random_bytes, take

if TYPE_CHECKING:
    T_co = TypeVar("T_co", covariant=True)

    class Indexable(Protocol[T_co]):
        """What `choice` can pick from: a sequence, or whatever counts and indexes as one."""

        def __len__(self) -> int: ...
        def __getitem__(self, index: int, /) -> T_co: ...


_from_bytes = int.from_bytes


def randbits(k: int) -> int:
    """An integer of `k` random bits, 0 <= x < 2^k.

    Raises ValueError for a negative `k`, and what `hwentropy.errors` names when
    the daemon gives nothing.
    """
    if k < 0:
        raise ValueError("number of bits must be non-negative")
    size = (k + 7) // 8
    raw = take(size)
    if raw is None:
        raw = random_bytes(size)
    return _from_bytes(raw, "big") >> (size * 8 - k)


def randbelow(exclusive_upper_bound: int) -> int:
    """An integer in [0, `exclusive_upper_bound`), every one equally likely.

    Raises ValueError when the bound is not positive, and what `hwentropy.errors`
    names when the daemon gives nothing.
    """
    if exclusive_upper_bound <= 0:
        raise ValueError("Upper bound must be positive.")
    k = (exclusive_upper_bound - 1).bit_length()
    size = (k + 7) >> 3
    excess = -k & 7
    while True:
        raw = take(size)
        if raw is None:
            raw = random_bytes(size)
        drawn = _from_bytes(raw, "big") >> excess
        if drawn < exclusive_upper_bound:
            return drawn


def choice(seq: "Indexable[T_co]") -> "T_co":
    """One element of a non-empty sequence, every one equally likely.

    Raises IndexError when the sequence is empty.
    """
    size = len(seq)
    if not size:
        raise IndexError("Cannot choose from an empty sequence")
    return seq[randbelow(size)]
