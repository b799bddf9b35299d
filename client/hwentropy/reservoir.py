"""The bytes of a lease that are ready to be handed out.

`make_reservoir` gives the C extension's class where that was built
(_reservoir.c), else PythonReservoir, which does the same more slowly.  The memory
is wiped by the kernel in a forked child (MADV_WIPEONFORK, Linux 4.14) and left out
of core dumps; bytes are overwritten as they are handed out.

`take` gives None whenever the caller has to look closer: too little left,
another epoch on the generation page, the lease's time over, a fork.

What this does not protect against: the Python version makes a temporary of the
position, which an interrupted draw may leave advanced; bytes are then lost, never
given twice.
"""

import mmap
import operator
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, SupportsIndex

from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader

from . import forks

if TYPE_CHECKING:
    from typing_extensions import Buffer

# linux/mman.h; Python's mmap module names it from 3.13 on only.
_MADV_WIPEONFORK: Final = 18

_CONTROL_BYTES: Final = 4096
_LEFT, _EPOCH, _DEADLINE = range(3)


def boottime() -> int:
    """The clock of `arm`'s deadline: CLOCK_BOOTTIME nanoseconds, which go on in suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


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

    def take(self, n: SupportsIndex, /) -> bytes | None:
        """The next n bytes, or None."""
        ...

    def take_into(self, buffer: "Buffer", /) -> bool:
        """Fill a buffer with the next bytes, or False."""
        ...

    def arm(self, epoch: int, deadline: int, left: int, /) -> None:
        """The last `left` bytes of the block are filled, for this epoch and until then."""
        ...

    def disarm(self) -> None:
        """Forget the block."""
        ...

    def attach(self, page: "Buffer", /) -> None:
        """Compare with this generation page from now on."""
        ...


class PythonReservoir:
    """The class where the C extension was not built."""

    def __init__(self, block_bytes: int) -> None:
        if block_bytes <= 0:
            raise ValueError("block_bytes must be positive")
        memory = mmap.mmap(
            -1, _CONTROL_BYTES + block_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        memory.madvise(_MADV_WIPEONFORK)
        memory.madvise(mmap.MADV_DONTDUMP)
        whole = memoryview(memory)
        self._control = whole[:_CONTROL_BYTES].cast("Q")
        self.block = whole[_CONTROL_BYTES : _CONTROL_BYTES + block_bytes]
        self._words: memoryview | None = None
        self._lock = threading.Lock()
        forks.watch(self)

    @property
    def left(self) -> int:
        """Bytes not handed out yet; 0 after a fork."""
        return self._control[_LEFT]

    def take(self, n: SupportsIndex, /) -> bytes | None:
        """The next n bytes, or None."""
        size = operator.index(n)
        with self._lock:
            part = self._ready(size)
            if part is None:
                return None
            out = part.tobytes()
            wipe(part)
            return out

    def take_into(self, buffer: "Buffer", /) -> bool:
        """Fill a buffer with the next bytes, or False."""
        with memoryview(buffer) as given, given.cast("B") as out, self._lock:
            part = self._ready(len(out))
            if part is None:
                return False
            out[:] = part
            wipe(part)
            return True

    def arm(self, epoch: int, deadline: int, left: int, /) -> None:
        """The last `left` bytes of the block are filled, for this epoch and until then."""
        if not 0 <= left <= len(self.block):
            raise ValueError("more bytes than the block holds")
        with self._lock:
            self._control[_EPOCH] = epoch
            self._control[_DEADLINE] = deadline
            self._control[_LEFT] = left

    def disarm(self) -> None:
        """Forget the block."""
        with self._lock:
            self._control[_LEFT] = 0
            wipe(self.block)

    def attach(self, page: "Buffer", /) -> None:
        """Compare with this generation page from now on."""
        with memoryview(page) as view:
            words = view.cast("B").cast("Q")
        if len(words) <= PageReader.EPOCH:
            raise ValueError("not a generation page")
        with self._lock:
            self._control[_LEFT] = 0
            self._words = words

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _ready(self, size: int) -> memoryview | None:
        left = self._control[_LEFT]
        if (
            not 0 <= size <= left
            or self._words is None
            or self._words[PageReader.EPOCH] != self._control[_EPOCH]
            or boottime() >= self._control[_DEADLINE]
        ):
            return None
        start = len(self.block) - left
        self._control[_LEFT] = left - size
        return self.block[start : start + size]


def make_reservoir(block_bytes: int) -> Reservoir:
    """A reservoir of the faster class there is; raises OSError before Linux 4.14."""
    try:
        from ._reservoir import Reservoir as Compiled  # noqa: PLC0415  (it may not be there)
    except ImportError:
        return PythonReservoir(block_bytes)
    return Compiled(block_bytes)
