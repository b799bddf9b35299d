"""The counts that the statistics are made of, gathered from any number of pieces.

    counts     how often each byte value occurs
    products   sum of x[i] * x[i+1], for the serial correlation
    longest    the longest run of equal bytes
    head       the first 64 KiB, for the pictures

Memory is bounded whatever comes: counts, one byte of the last piece, the head.
NumPy is used for large pieces when it is installed, several times as fast; the
results are the same integers.
"""

from collections import Counter
from functools import cache
from itertools import islice
from operator import mul
from types import ModuleType
from typing import Final, NamedTuple

__all__ = ["HEAD_BYTES", "Run", "Tally"]

#: Correlations are then within 2.576 / sqrt(65536) = 1 per cent of the true ones.
HEAD_BYTES: Final = 65536

#: Below, importing NumPy (0.1 s) costs more than it saves.
_LARGE: Final = 1 << 20


class Run(NamedTuple):
    """Equal bytes after one another."""

    length: int
    value: int
    offset: int
    """Of the first of them."""


class Tally:
    """Counts of a stream of bytes."""

    def __init__(self, *, numpy: bool = True) -> None:
        """`numpy=False` never uses NumPy."""
        self._numpy = numpy
        self._counts: Counter[int] = Counter()
        self._products = 0
        self._last = -1
        self._first = -1
        self._run_length = 0
        self._longest = Run(0, 0, 0)
        self._head = bytearray()
        self.size = 0
        """Bytes so far."""

    @property
    def counts(self) -> tuple[int, ...]:
        """256 numbers: how often each byte value occurred."""
        return tuple(self._counts[value] for value in range(256))

    @property
    def products(self) -> int:
        """Sum of x[i] * x[i+1], the last with the first: circular, as Knuth has it."""
        return self._products + (self._last * self._first if self.size else 0)

    @property
    def longest(self) -> Run:
        """The longest run of equal bytes, the first of these; of length 0 without bytes."""
        return self._longest

    @property
    def head(self) -> bytes:
        """The first bytes, up to HEAD_BYTES."""
        return bytes(self._head)

    def update(self, piece: bytes) -> None:
        """Take in the next piece, of any size."""
        if not piece:
            return
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        if self._first < 0:
            self._first = piece[0]
        else:
            self._products += self._last * piece[0]
        numpy = _load_numpy() if self._numpy and len(piece) >= _LARGE else None
        if numpy is None:
            self._counts.update(piece)
            self._products += sum(map(mul, piece, islice(piece, 1, None)))
        else:
            self._count_large(numpy, piece)
        self._follow_runs(piece)
        self._last = piece[-1]
        self.size += len(piece)

    def _count_large(self, numpy: ModuleType, piece: bytes) -> None:
        values = numpy.frombuffer(piece, dtype=numpy.uint8)
        found = numpy.bincount(values, minlength=256).tolist()
        self._counts.update(dict(enumerate(found)))
        # Exact: every partial sum is an integer below 2^53, since 255 * 255 < 2^16 and
        # no piece has 2^37 bytes.  With doubles BLAS does it.
        wide = values.astype(numpy.float64)
        self._products += int(numpy.dot(wide[:-1], wide[1:]))

    def _follow_runs(self, piece: bytes) -> None:
        """Runs within the piece, the one that goes on from before, and the one at its end."""
        carried = self._run_length if piece[0] == self._last else 0
        start = carried + len(piece) - len(piece.lstrip(piece[:1]))
        self._note(start, piece[0], self.size - carried)
        # Zero where a byte equals the one before it: a longer run than the longest so
        # far shows as that many zeros, which is one fast search.
        number = int.from_bytes(piece, "big")
        steps = (number ^ number >> 8).to_bytes(len(piece), "big")[1:]
        at = 0
        while (at := steps.find(bytes(self._longest.length), at)) >= 0:
            zeros = len(steps) - at - len(steps[at:].lstrip(b"\0"))
            self._note(zeros + 1, piece[at], self.size + at)
            at += zeros
        end = len(piece) - len(piece.rstrip(piece[-1:]))
        self._run_length = start if end == len(piece) else end

    def _note(self, length: int, value: int, offset: int) -> None:
        if length > self._longest.length:
            self._longest = Run(length, value, offset)


@cache
def _load_numpy() -> ModuleType | None:
    try:
        import numpy  # noqa: PLC0415, ICN001 - optional, and 0.1 s
    except ImportError:
        return None
    return numpy
