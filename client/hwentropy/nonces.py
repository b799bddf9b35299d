"""Nonces: single random ones, and a sequence that cannot repeat within its key.

    nonce(n)    n random bytes: two of many alike with probability about q^2 / 2^(8n+1)
                for q of them (birthday bound)
    Nonces      the RBG-based construction of NIST SP 800-38D section 8.2.2 with no free
                field: the first is random in all its bits, for each object and process,
                and each later one is the one before it plus 1, modulo 2^(8 * size)

A sequence refuses to go past its 256^counter_bytes nonces, cannot be copied or
pickled, and takes a new random start in a forked child: the parent's sequence is the
parent's.  A fork is noticed in a page that the kernel zeroes in the child
(MADV_WIPEONFORK, Linux 4.14), so also one that CPython is not told of.

What this does not protect against: two sequences that overlap.  Two of n nonces each
do where their starts are less than n apart, with probability (2n - 1) / 2^(8 * size);
of p objects and processes under one key some two do with at most p^2 * n / 2^(8 * size).
With 12 bytes that is below 2^-32 while all of them together make 2^32 nonces, which is
the limit of section 8.3 for one key, and which nobody counts here but within a sequence.
The section has this construction from 96 bits (12 bytes) on: below, the formula holds,
and not the section.  A machine that is cloned or put back while it runs goes on with the
same nonces in both: where that can happen, make a `Nonces` after it, with a new key.
And a key that outlives the object needs a size so large that random nonces suffice (24,
as XChaCha20's).
"""

import mmap
import threading
from collections.abc import Callable, Iterator
from typing import Final, NoReturn, Self

from hwentropy import forks
from hwentropy.errors import HwentropyError
from hwentropy.generator import random_bytes
from hwentropy_core.memory import MADV_WIPEONFORK

#: Bytes of the nonce of AES-GCM, ChaCha20-Poly1305 (RFC 8439) and TLS 1.3.
DEFAULT_SIZE: Final = 12
#: Counter bytes by default: 2^32 nonces, SP 800-38D section 8.3's limit for one key.
DEFAULT_COUNTER: Final = 4
#: Bytes that the nonces are longer than the counter: with p full sequences of one key, two
#: overlap with p^2 / 2^(8 * MARGIN), so those of 65,536 processes surely do below this.
MARGIN: Final = 4


class NoncesExhausted(HwentropyError):  # noqa: N818 - says the cause, as its fellows in errors.py
    """Every counter value of a `Nonces` was used; go on with a new key."""


class _Process:
    """Tells one process from its forked children: `number` is another in each of a line."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page.madvise(MADV_WIPEONFORK)
        self._number = 0

    def number(self) -> int:
        """Above that of every ancestor; without a system call.

        Threads that meet here in a new child may count twice: what they hold is
        renewed once more, nothing else.
        """
        if not self._page[0]:
            self._number += 1
            self._page[0] = 1
        return self._number


_process: Final = _Process()


class Nonces(Iterator[bytes]):
    """A sequence of `size`-byte nonces, none of them twice; an iterator, safe among threads.

    The first is random, each later one is by 1 above (big-endian), and 256^counter_bytes
    of them are the end.  One object belongs to one key.  Raises ValueError for a counter
    of no byte or of more than `size` - 4, and on use what `hwentropy.errors` names when
    the daemon gives no start.
    """

    __slots__ = (
        *("__weakref__", "_draw", "_end", "_given", "_lock"),
        *("_next", "_owner", "size"),
    )

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        *,
        counter_bytes: int = DEFAULT_COUNTER,
        draw: Callable[[int], bytes] = random_bytes,
    ) -> None:
        if counter_bytes < 1 or size - counter_bytes < MARGIN:
            raise ValueError(
                f"nonces of {size} bytes with {counter_bytes} of counter: at least 1 byte "
                f"must be counted, and {MARGIN} more must be in the nonce"
            )
        self.size = size
        """Bytes of each nonce."""
        self._end = 1 << 8 * counter_bytes
        self._draw = draw
        self._next = 0
        self._given = 0
        """How many of this process's sequence were given."""
        self._owner = 0
        """The process that the sequence belongs to; 0 while there is none."""
        self._lock = threading.Lock()
        forks.watch(self)

    def __repr__(self) -> str:
        return f"<Nonces of {self.size} bytes, {self.remaining} left>"

    def __reduce__(self) -> NoReturn:
        """Not to be copied or pickled: two of one state give the same nonces."""
        raise TypeError("a sequence of nonces cannot be copied or pickled")

    @property
    def remaining(self) -> int:
        """How many are left in this process."""
        return self._end - self._given if self._owner == _process.number() else self._end

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """The next nonce; NoncesExhausted, and not StopIteration, after the last."""
        with self._lock:
            process = _process.number()
            if self._owner != process:
                # In this order: when the daemon gives nothing, the next call tries anew.
                self._next = int.from_bytes(self._draw(self.size), "big")
                self._given = 0
                self._owner = process
            if self._given >= self._end:
                raise NoncesExhausted(
                    f"all {self._end} nonces of this sequence are used: go on with a new key"
                )
            number = self._next
            self._given += 1
            self._next = (number + 1) % (1 << 8 * self.size)
            return number.to_bytes(self.size, "big")

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


def nonce(n: int = 16) -> bytes:
    """`n` random bytes to be used once (default 16).

    How long is enough: below 2^(4n) of one key, two alike stay unlikely (birthday
    bound); with n = 12, SP 800-38D section 8.3 allows 2^32.  Shorter ones, or
    more, are for `Nonces`.  Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"a nonce of {n} bytes: at least 1")
    return random_bytes(n)
