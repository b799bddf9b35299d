"""NumPy arrays of random numbers that nobody can predict: `import hwentropy.numpy`.

For simulations whose outcome somebody would like to know beforehand: games,
auctions, audits by sample, randomised trials.  Names, arguments and results are
those of `numpy.random.Generator`; there is no seed and no way to repeat a run.

    random        64-bit words, shifted to their 53 highest bits, times 2^-53
    integers      words masked to the bits of the range, drawn again while above it
    permutation   argsort of random 64-bit keys; all keys anew when two are alike
    bytes         hwentropy.generator.random_bytes
    default_rng   a real Generator, with all distributions; see bit_generator.py
    BitGenerator  what it draws from

Unbiased by construction: rejection favours no value, and among keys that are all
different every order is equally likely.

The functions of this module are faster for large arrays; `default_rng` is faster for
single numbers and needs the C extension.  What this does not protect against: an
array cannot be erased by us, and computing on it leaves copies.
"""

import builtins
import operator
from collections.abc import Sequence
from typing import Any, Final, SupportsIndex, TypeAlias, overload

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        "hwentropy.numpy needs NumPy, which is not installed: pip install 'hwentropy[numpy]'"
    ) from error

from numpy.typing import ArrayLike, DTypeLike, NDArray

from hwentropy.bit_generator import BitGenerator, default_rng
from hwentropy.generator import fill, random_bytes

__all__ = ["BitGenerator", "bytes", "default_rng", "integers", "permutation", "random"]

Size: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

#: Doubles made at a time: 128 KiB of words stay in a core's second-level cache,
#: where the shift and the product find them.
_CHUNK: Final = 16 * 1024
#: A double's significand has 53 bits of a word's 64 (IEEE 754 binary64).
_EXCESS: Final = np.uint64(64 - 53)
_UNIT: Final = 2.0**-53

_UNSIGNED: Final = tuple(np.dtype(f"u{size}") for size in (1, 2, 4, 8))


def _words(count: int, kind: "np.dtype[Any]") -> NDArray[Any]:
    """`count` random words of an unsigned kind."""
    words = np.empty(count, kind)
    if count:
        fill(words.data)
    return words


@overload
def random(size: None = None) -> float: ...
@overload
def random(size: Size) -> NDArray[np.float64]: ...
def random(size: Size | None = None) -> float | NDArray[np.float64]:
    """Doubles in [0, 1): multiples of 2^-53, every one equally likely.

    A float without `size`, else an array of that shape.
    """
    out = np.empty(() if size is None else size, np.float64)
    flat = out.reshape(-1)
    words = np.empty(min(flat.size, _CHUNK), np.uint64)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        drawn = words[: part.size]
        fill(drawn.data)
        np.right_shift(drawn, _EXCESS, out=drawn)
        # Seen as signed, which 53 bits are alike: for those the CPU has an
        # instruction that makes doubles.
        np.multiply(drawn.view(np.int64), _UNIT, out=part)
    return float(out) if size is None else out


@overload
def integers(
    low: int,
    high: int | None = None,
    size: None = None,
    dtype: DTypeLike = np.int64,
    endpoint: bool = False,  # noqa: FBT001, FBT002 - as numpy.random.Generator
) -> Any: ...
@overload
def integers(
    low: ArrayLike,
    high: ArrayLike | None = None,
    size: Size | None = None,
    dtype: DTypeLike = np.int64,
    endpoint: bool = False,  # noqa: FBT001, FBT002 - as numpy.random.Generator
) -> NDArray[Any]: ...
def integers(
    low: ArrayLike,
    high: ArrayLike | None = None,
    size: Size | None = None,
    dtype: DTypeLike = np.int64,
    endpoint: bool = False,  # noqa: FBT001, FBT002 - as numpy.random.Generator
) -> Any:
    """Integers in [low, high), or [low, high] with `endpoint`; [0, low) without `high`.

    `low` and `high` may be arrays; with `size` they are broadcast to it.  `dtype`
    is bool or any integer type.  A scalar without `size` when both are scalars.
    Raises ValueError when a range is empty or does not fit the dtype, TypeError
    for a dtype or a bound that is no integer.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "biu":
        raise TypeError(f"integers() makes bool and integer types, not {kind}")
    first, end = (0, low) if high is None else (low, high)
    lows = _exact(first, "low")
    highs = np.asarray(_exact(end, "high") - (not endpoint), object)
    shape: Any = np.broadcast_shapes(lows.shape, highs.shape)
    if size is not None:
        shape = (operator.index(size),) if isinstance(size, SupportsIndex) else tuple(size)
    lows_each, highs_each = np.broadcast_to(lows, shape), np.broadcast_to(highs, shape)
    if (lows > highs).any():
        raise ValueError("low > high" if endpoint else "low >= high")
    smallest, largest = (0, 1) if kind.kind == "b" else _limits(kind)
    if (lows < smallest).any():
        raise ValueError(f"low is out of bounds for {kind}")
    if (highs > largest).any():
        raise ValueError(f"high is out of bounds for {kind}")
    if lows.size == highs.size == 1:
        lowest, highest = int(lows.item()), int(highs.item())
        drawn = _up_to(highest - lowest, lows_each.size)
        offsets: Any = _modulo(lowest, kind.itemsize)
    else:
        widths = np.asarray(highs_each - lows_each, object).astype(np.uint64)
        drawn = _up_to_each(widths.reshape(-1))
        offsets = _modulo(lows_each.reshape(-1), kind.itemsize)
    # Modulo 2^bits of the dtype, which is exact: the sum is within its limits.
    result = drawn.astype(f"u{kind.itemsize}", copy=False) + offsets
    result = result.view(f"{kind.kind}{kind.itemsize}" if kind.kind != "b" else "?")
    result = result.astype(kind, copy=False).reshape(shape)
    return result[()] if size is None else result


def _exact(given: ArrayLike, name: str) -> NDArray[np.object_]:
    """A bound as an array of Python's integers, which hold 2^64 and every difference."""
    # A list goes in as objects: of 0 and 2^64 - 1 NumPy makes doubles.
    array = given if isinstance(given, np.ndarray) else np.asarray(given, object)
    if array.dtype.kind == "O":
        return np.asarray(np.vectorize(operator.index, otypes=[object])(array), object)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{name} must be of integers, not {array.dtype}")
    return array.astype(object)


def _limits(kind: "np.dtype[Any]") -> tuple[int, int]:
    """The smallest and the largest integer of a dtype."""
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


def _modulo(numbers: Any, size: int) -> Any:
    """Python's integers as unsigned ones of `size` bytes, two's complement."""
    return np.asarray(numbers & ((1 << 8 * size) - 1), object).astype(f"u{size}")


def _up_to(width: int, count: int) -> NDArray[Any]:
    """`count` unsigned integers in [0, width], width < 2^64, by masked rejection."""
    bits = width.bit_length()
    kind = next(one for one in _UNSIGNED if bits <= 8 * one.itemsize)
    mask = kind.type((1 << bits) - 1)
    drawn = _words(count, kind)
    drawn &= mask
    above = np.flatnonzero(drawn > width)
    while above.size:
        again = _words(above.size, kind)
        again &= mask
        drawn[above] = again
        above = above[again > width]
    return drawn


def _up_to_each(widths: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One integer in [0, w] for each w, by masked rejection."""
    masks = widths.copy()
    # Every bit below the highest: OR with itself moved by 1, 2, 4 ... 32.
    for step in (1, 2, 4, 8, 16, 32):
        masks |= masks >> np.uint64(step)
    drawn = _words(widths.size, _UNSIGNED[-1])
    drawn &= masks
    above = np.flatnonzero(drawn > widths)
    while above.size:
        again = _words(above.size, _UNSIGNED[-1])
        again &= masks[above]
        drawn[above] = again
        above = above[again > widths[above]]
    return drawn


def permutation(x: int | ArrayLike, axis: int = 0) -> NDArray[Any]:
    """The numbers below `x` in random order, or a copy of the array `x` shuffled along an axis.

    Every order equally likely.  Raises ValueError for a negative number, and
    numpy.exceptions.AxisError for an axis that is not there.
    """
    if isinstance(x, int | np.integer):
        return _order(int(x))
    array = np.asarray(x)
    if not -array.ndim <= axis < array.ndim:
        raise np.exceptions.AxisError(axis, array.ndim)
    return np.take(array, _order(array.shape[axis]), axis=axis)


def _order(count: int) -> NDArray[np.int64]:
    """The numbers below `count` in random order."""
    if count < 0:
        raise ValueError(f"a permutation of {count} numbers")
    while True:
        keys = _words(count, _UNSIGNED[-1])
        order = np.argsort(keys)
        ordered = keys[order]
        # Two alike (probability below count^2 / 2^65) would stand in the sort's
        # order and not in a random one.
        if not (ordered[1:] == ordered[:-1]).any():
            return order.astype(np.int64, copy=False)


def bytes(length: int) -> builtins.bytes:  # noqa: A001 - the name numpy.random.Generator has
    """`length` random bytes; ValueError for a negative number."""
    return random_bytes(length)
