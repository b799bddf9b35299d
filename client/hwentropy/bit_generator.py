"""All of NumPy's distributions from numbers that nobody can predict.

    rng = hwentropy.numpy.default_rng()     a numpy.random.Generator
    rng.normal(size=1000)

A NumPy `BitGenerator` gives its numbers through C functions that cannot report an
error, but every call of `Generator` and `RandomState` first takes its lock.  So the
lock of this one (_bitgen.c) draws a fresh 32-byte key from hwentropy.generator, which
raises there, before the call draws, if the daemon gives nothing.  The call's numbers
are the ChaCha20 keystream of that key (RFC 8439, block counter and nonce from 0),
8 or 4 bytes at a time, little-endian; when the lock is let go, key and keystream are
overwritten.  Nothing is drawn ahead: each call has a key of its own.

Safe to share among threads, which draw one after the other, and across forks: the
kernel wipes key, keystream and lock in a child.

**Who draws without the lock ends the process**: there is no key then, and no other way
for a C function to give no number.  That is code beside NumPy's own that calls the C
functions of `capsule` (SciPy's `nchypergeom_fisher.rvs` is one): put it into
`with rng.bit_generator.lock:`.  A child that is forked by a signal handler or by
`__setitem__` in the middle of such a call ends in the same way if it goes on with it.

What this does not protect against: `RandomState.normal` makes two numbers and keeps
the second in itself, so a child forked in between repeats it (`Generator` does not);
and who reads this process's memory during a call knows that call's numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, SupportsIndex, overload

import numpy as np
from numpy.random.bit_generator import SeedlessSeedSequence
from numpy.typing import NDArray

from .generator import random_bytes, take

if TYPE_CHECKING:
    from ._bitgen import KeyedLock

__all__ = ["BitGenerator", "default_rng"]

Size = SupportsIndex | Sequence[SupportsIndex]

#: Numbers that are thrown away together: 128 KiB.
_CHUNK: Final = 16 * 1024

_NOT_BUILT: Final = (
    "hwentropy's C extension for NumPy (hwentropy._bitgen) is not there: reinstall hwentropy"
    " where a C compiler and Python's headers are"
)


class BitGenerator(np.random.BitGenerator):
    """A bit generator of one-time keys, for `numpy.random.Generator` and `RandomState`.

    No state to be read or set, not to be copied or pickled.  A draw raises what
    `hwentropy.generator.random_bytes` raises, and works again when that does.
    `seed` is for who makes one bit generator from another's `SeedlessSeedSequence`, as
    SciPy does.  Raises TypeError for any other seed, ImportError where the C extension
    was not built, OSError before Linux 4.14.
    """

    def __init__(self, seed: object = None) -> None:
        if not (seed is None or isinstance(seed, SeedlessSeedSequence)):
            raise TypeError("a bit generator of one-time keys takes no seed")
        try:
            from ._bitgen import KeyedLock  # noqa: PLC0415  (it may not be there)
        except ImportError as error:
            raise ImportError(_NOT_BUILT) from error
        seedless: Any = SeedlessSeedSequence()  # which NumPy's stub forgets
        super().__init__(seedless)
        self._keyed_lock = KeyedLock(take, random_bytes)
        self._keyed_lock.attach(self.capsule)

    @property
    def lock(self) -> "KeyedLock":  # type: ignore[override]  # NumPy's stub names its own lock
        """Hold it around whatever draws: `with bit_generator.lock:`.

        A thread may take it again while it holds it, as it may NumPy's.
        """
        return self._keyed_lock

    @overload
    def random_raw(self, size: None = None, output: Literal[True] = ...) -> int: ...
    @overload
    def random_raw(self, size: Size, output: Literal[True] = ...) -> NDArray[np.uint64]: ...
    @overload
    def random_raw(self, size: Size | None, output: Literal[False]) -> None: ...
    @overload
    def random_raw(self, size: Size | None = None, *, output: Literal[False]) -> None: ...
    def random_raw(self, size: Any = None, output: Any = True) -> Any:  # noqa: FBT002 - as NumPy
        """64-bit words: an int without `size`, else an array of that shape.

        With `output=False` they are drawn and thrown away.
        """
        # Not by the base class, whose own lock a forked child may find held for ever.
        if not output:
            self._benchmark(1 if size is None else np.broadcast_to(0, size).size)
            return None
        words = np.random.Generator(self).integers(0, 1 << 64, size, np.uint64)
        return int(words) if size is None else words

    def _benchmark(self, cnt: int, method: str = "uint64") -> None:
        """NumPy's: draw so many and throw them away; "uint64" or "double"."""
        if method not in {"uint64", "double"}:
            raise ValueError(f"method is {method!r}: 'uint64' or 'double'")
        rng = np.random.Generator(self)
        with self._keyed_lock:
            for start in range(0, cnt, _CHUNK):
                count = min(cnt - start, _CHUNK)
                if method == "double":
                    rng.random(count)
                else:
                    rng.integers(0, 1 << 64, count, np.uint64)

    # pyright takes the base's Self for the base; mypy does not.
    def spawn(self, n_children: int) -> list[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """So many new ones, independent as any two are; ValueError for a negative number."""
        if n_children < 0:
            raise ValueError(f"n_children is {n_children}: 0 or more")
        return [type(self)() for _ in range(n_children)]

    def __reduce__(self) -> NoReturn:
        """Not to be copied or pickled: there is nothing that a copy could go on from."""
        raise TypeError("a bit generator of one-time keys cannot be copied or pickled")

    def __getstate__(self) -> NoReturn:
        """As `__reduce__`."""
        self.__reduce__()

    @property
    def state(self) -> NoReturn:
        """NotImplementedError: between two calls there is no state."""
        raise NotImplementedError("a bit generator of one-time keys has no state to get or set")

    @state.setter
    def state(self, value: object) -> NoReturn:
        raise NotImplementedError("a bit generator of one-time keys has no state to get or set")

    @property
    def seed_seq(self) -> NoReturn:
        """NotImplementedError: there is no seed."""
        raise NotImplementedError("a bit generator of one-time keys has no seed")

    @property
    def ctypes(self) -> NoReturn:
        """NotImplementedError: without the lock there is no key."""
        raise NotImplementedError("what draws through ctypes does not take the lock: no key")

    @property
    def cffi(self) -> NoReturn:
        """NotImplementedError: without the lock there is no key."""
        raise NotImplementedError("what draws through cffi does not take the lock: no key")


def default_rng() -> np.random.Generator:
    """A NumPy `Generator` with a bit generator of its own, and no seed."""
    return np.random.Generator(BitGenerator())
