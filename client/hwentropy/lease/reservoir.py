"""The bytes of a lease that are ready to be handed out.

`make_reservoir` gives the C extension's class where that was built
(_reservoir.c), else PythonReservoir, which does the same more slowly.  The memory
is wiped by the kernel in a forked child (MADV_WIPEONFORK, Linux 4.14) and left out
of core dumps; bytes are overwritten as they are handed out.

`take` and `take_into` may be called from any thread at any time, also in a signal
handler that interrupted another; they give None (False) whenever the caller has
to look closer: too little left, another epoch on the generation page, the time
over, a fork.  All else is one thread's at a time, and not for one that is in the
middle of a `take` (`interrupted`).

What this does not protect against: a draw that an exception interrupts in the
Python version may lose its bytes; they are never given twice.
"""

import mmap
import operator
import threading
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, SupportsIndex

from hwentropy_core.memory import MADV_WIPEONFORK, wipe
from hwentropy_core.page import PageReader, boottime

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CONTROL_BYTES: Final = 4096
_LEFT, _EPOCH, _DEADLINE = range(3)
_WORD_BYTES: Final = 8
#: Of the page, as far as it is looked at.
_PAGE_BYTES: Final = _WORD_BYTES * (PageReader.EPOCH + 1)


class Reservoir(Protocol):
    """What both classes do."""

    @property
    def block(self) -> memoryview:
        """The memory that the bytes are taken from, its last ones first to last."""
        ...

    @property
    def left(self) -> int:
        """Bytes not handed out yet; 0 after a fork."""
        ...

    @property
    def interrupted(self) -> bool:
        """Whether the calling thread is in the middle of a `take`.

        Also, in a child that was forked there, whether that one still is: to all threads.
        """
        ...

    def take(self, n: SupportsIndex, /) -> bytes | None:
        """The next n bytes, or None."""
        ...

    def take_into(self, buffer: "Buffer", /) -> bool:
        """Fill a buffer with the next bytes, or False."""
        ...

    def arm(self, epoch: int, deadline: int, left: int, /) -> None:
        """The last `left` bytes of the block are filled, for this epoch and until `boottime`.

        None are where its last word is 0: a block that was wiped (a filled one looks
        so once in 2^64).
        """
        ...

    def extend(self, deadline: int, /) -> None:
        """The same bytes until another time."""
        ...

    def disarm(self) -> None:
        """Overwrite the block, all of it."""
        ...

    def attach(self, page: "Buffer", /) -> None:
        """Compare with this generation page from now on."""
        ...

    def after_fork(self) -> None:
        """In a forked child, before anything but a `take`."""
        ...


class PythonReservoir:
    """The class where the C extension was not built."""

    def __init__(self, block_bytes: int) -> None:
        if block_bytes < _WORD_BYTES:
            raise ValueError(f"block_bytes must be at least {_WORD_BYTES}")
        memory = mmap.mmap(
            -1, _CONTROL_BYTES + block_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        memory.madvise(MADV_WIPEONFORK)
        memory.madvise(mmap.MADV_DONTDUMP)
        whole = memoryview(memory)
        self._control = whole[:_CONTROL_BYTES].cast("Q")
        self.block = whole[_CONTROL_BYTES : _CONTROL_BYTES + block_bytes]
        self._tail = self.block[-_WORD_BYTES:].cast("Q")
        self._words: memoryview | None = None
        self._lock = threading.RLock()
        self._taking = 0
        """The thread within a `take`."""
        self._stranded = False
        """Whether a signal handler forked in the middle of it, and this is the child."""

    def __reduce__(self) -> NoReturn:
        """Not to be copied or pickled: two of one block give the same bytes."""
        raise TypeError("a reservoir cannot be copied or pickled")

    @property
    def left(self) -> int:
        """Bytes not handed out yet; 0 after a fork."""
        return self._control[_LEFT]

    @property
    def interrupted(self) -> bool:
        """Whether the calling thread is in a `take`; after a fork in there, whether any is."""
        return self._stranded or self._taking == threading.get_ident()

    def take(self, n: SupportsIndex, /) -> bytes | None:
        """The next n bytes, or None."""
        size = operator.index(n)
        if not 0 <= size <= len(self.block):
            return None
        out = bytearray(size)
        try:
            return bytes(out) if self.take_into(out) else None
        finally:
            wipe(out)

    def take_into(self, buffer: "Buffer", /) -> bool:
        """Fill a buffer with the next bytes, or False."""
        with memoryview(buffer) as given:
            if given.readonly or not given.c_contiguous:
                raise BufferError("not a writable, contiguous buffer")
            # A view with no elements cannot be cast.
            out = given.cast("B") if given.nbytes else memoryview(bytearray())
            # Before the lock: a fork that Python was not told of may leave it held.
            return len(out) <= self._control[_LEFT] and self._move(out)

    def arm(self, epoch: int, deadline: int, left: int, /) -> None:
        """The last `left` bytes of the block are filled, for this epoch and until then."""
        if not 0 <= left <= len(self.block):
            raise ValueError("more bytes than the block holds")
        with self._lock:
            self._control[_LEFT] = 0
            self._control[_EPOCH] = epoch
            self._control[_DEADLINE] = deadline
            # No call between the two: no signal handler runs, so none forks.
            if self._tail[0]:
                self._control[_LEFT] = left

    def extend(self, deadline: int, /) -> None:
        """The same bytes until another time."""
        with self._lock:
            self._control[_DEADLINE] = deadline

    def disarm(self) -> None:
        """Overwrite the block, all of it."""
        with self._lock:
            self._control[_LEFT] = 0
            wipe(self.block)

    def attach(self, page: "Buffer", /) -> None:
        """Compare with this generation page from now on."""
        with memoryview(page) as view:
            words = view.cast("B")[:_PAGE_BYTES]
        if len(words) < _PAGE_BYTES:
            raise ValueError("not a generation page")
        with self._lock:
            self._control[_LEFT] = 0
            self._words = words.cast("Q")

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        self._lock = threading.RLock()
        # It goes on when the handler returns, and overwrites what it believes to have
        # taken: nobody is to fill the block until then.
        self._stranded = self._taking == threading.get_ident()
        if not self._stranded:
            self._taking = 0

    def _move(self, out: memoryview) -> bool:
        with self._lock:
            if self._taking:
                return False
            self._taking = threading.get_ident()
            try:
                start = self._reserve(len(out))
                if start is None:
                    return False
                part = self.block[start : start + len(out)]
                out[:] = part
                wipe(part)
                # 0 in a child that a signal handler forked meanwhile: those were zeros.
                return self._control[_DEADLINE] != 0
            finally:
                self._stranded = False
                self._taking = 0

    def _reserve(self, size: int) -> int | None:
        """Where `size` bytes can be taken from, or None."""
        left = self._control[_LEFT]
        if (
            size > left
            or self._words is None
            or self._words[PageReader.EPOCH] != self._control[_EPOCH]
            or boottime() >= self._control[_DEADLINE]
        ):
            return None
        self._control[_LEFT] = left - size
        return len(self.block) - left


def make_reservoir(block_bytes: int) -> Reservoir:
    """A reservoir of the faster class there is; raises OSError before Linux 4.14."""
    try:
        from hwentropy._reservoir import Reservoir as Compiled  # noqa: PLC0415  (it may not be there)
    except ImportError:
        return PythonReservoir(block_bytes)
    return Compiled(block_bytes)
