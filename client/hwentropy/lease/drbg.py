"""The daemon's child DRBG in this process: its lease, its keys, its block.

    draw(view, deadline)    some of the bytes, or the one-time key that makes them
    reservoir.take(n)       the hot path, from any thread at any time

All of the state that makes bytes (the key, the block, a mark) is memory of the
reservoir's, which the kernel wipes in a forked child: the mark is 0 there, and
the child starts with nothing.

The rule that everything here keeps: while the block or the key is written, the
reservoir holds no byte (its `left` is 0), and it gets some only if the lease they
come from is still the one in force.  So neither a thread that takes meanwhile nor
a signal handler that interrupts (and forks, or forgets the lease) ever sees
zeros, a half-made block, or bytes that another was given.

What this does not protect against: calls of its own methods from two threads
at once, or from a signal handler within another one; its owner sees to that.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from hwentropy.endpoint import entropy_path, lost
from hwentropy.errors import DaemonUnavailable, FailedClosed, HwentropyError
from hwentropy_core import known_answers
from hwentropy_core.drbg import Drbg
from hwentropy_core.limits import KEY_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.page import boottime

from .connection import Granted, LeaseConnection
from .reservoir import Reservoir, make_reservoir

#: Keystream made at one key change, 7 us beside the bytes' own 0.2 us per KiB.
#: Larger than the daemon's, so that draws of 4 KiB share a change among 31 (1.2 us
#: each; with half the block 1.5 us); small enough for a core's second-level cache,
#: and for the one draw that waits for all of it (30 us).
BLOCK_BYTES: Final = 128 * 1024

#: Draws up to here come from the block; larger ones have a one-time key.  An
#: eighth of the block, so that seven of the largest share a key change.
SMALL_BYTES: Final = BLOCK_BYTES // 8

#: A large draw looks at the epoch and changes its key after this much: some
#: milliseconds of work.
PIECE_BYTES: Final = 16 * 1024 * 1024

#: How often a lease's connection is looked at for the daemon's end: a restart is
#: noticed within this time by whoever draws, for one system call in it.
LOOK_NANOSECONDS: Final = 1_000_000_000

#: How long such a look waits for a successor's lease: a hundred times what one
#: takes, and 5 % of the time of somebody who draws while there is none to be had.
LOOK_SECONDS: Final = 0.05

#: Key and mark lie before the block, in a cache line of their own.
_KEY_ROOM: Final = 64

log = logging.getLogger(__name__)


class LeasedDrbg:
    """One child DRBG; gets a lease when the first byte is drawn."""

    def __init__(self, make: Callable[[int], Reservoir] = make_reservoir) -> None:
        _first_use()
        self.reservoir = make(_KEY_ROOM + BLOCK_BYTES)
        memory = self.reservoir.block
        self._drbg = Drbg(b"lease", key=memory[:KEY_BYTES], block=memory[_KEY_ROOM:])
        self._mark = memory[KEY_BYTES : KEY_BYTES + 1]
        self._mark[0] = 1
        self._path: str | None = None
        self._timeout: float | None = None
        self._connection: LeaseConnection | None = None
        self._lender: LeaseConnection | None = None
        """The connection that the lease in force came over."""
        self._granted: Granted | None = None
        self._next_look = 0
        self._budget = 0
        """Bytes of the lease that were neither handed out nor lie in the block."""
        self.forgotten = 0
        """Moves with `forget` and `after_fork`."""

    @property
    def interrupted(self) -> bool:
        """Whether the calling thread is within a `take` (a signal handler is)."""
        return self.reservoir.interrupted

    @property
    def inherited(self) -> bool:
        """Whether this process is a forked child that has not called `after_fork`."""
        return not self._mark[0]

    @property
    def degraded(self) -> bool:
        """Whether there is a lease, of a daemon that was degraded then or is now."""
        granted = self._granted
        return granted is not None and granted.degraded

    def configure(self, path: str | None, timeout: float | None) -> None:
        """Lease from this socket from now on; what was leased before is forgotten."""
        self.forget()
        self._path = path
        self._timeout = timeout

    def forget(self) -> None:
        """Erase the state and close the connection; a later draw connects anew."""
        self._let_go()
        self.reservoir.disarm()
        self._drbg.erase()
        self._mark[0] = 1

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's lease and connection."""
        self._let_go()
        self.reservoir.after_fork()
        self._drbg.erase()
        self._mark[0] = 1

    def ready(self, size: int) -> bool:
        """Have `size` small bytes in the block, if that takes no more than a refill."""
        granted = self._granted
        if granted is None or granted.outdated or boottime() >= self._next_stop(granted):
            return False
        if self.reservoir.left < size:
            self._refill()
        return self.reservoir.left >= size

    def draw(self, view: memoryview, deadline: float | None) -> tuple[int, bytearray | None]:
        """Fill the beginning of a view, or give a one-time key to fill it with.

        Returns how many bytes, and the key where they are still to be made.  None
        at all where another thread was faster or the state was forgotten: try again.
        Gets a lease first where there is none; raises what `LeaseConnection` raises.
        """
        self._see_to_lease(deadline)
        size = len(view)
        large = size > SMALL_BYTES
        if self.reservoir.left < (KEY_BYTES if large else size):
            self._refill()
        if large and self._budget:
            key = bytearray(KEY_BYTES)
            if not self.reservoir.take_into(key):
                return 0, None
            size = min(size, PIECE_BYTES, self._budget)
            self._budget -= size
            return size, key
        # A lease of few bytes is used up to its last one.
        part = view[: min(size, self.reservoir.left)]
        return (len(part) if self.reservoir.take_into(part) else 0), None

    def _see_to_lease(self, deadline: float | None) -> None:
        granted = self._granted
        now = boottime()
        if (
            granted is None
            or granted.outdated
            or now >= granted.stops
            or not (self._budget or self.reservoir.left)
        ):
            self._renew(deadline)
            return
        if now >= self._next_look:
            self._look()
        if self._granted is granted:
            self.reservoir.extend(self._next_stop(granted))

    def _look(self) -> None:
        """Get a lease from the daemon's successor, if it is gone and there is one."""
        if self._lender is None or not self._lender.alive:
            try:
                self._renew(time.monotonic() + LOOK_SECONDS, block=False)
            except FailedClosed:
                self._granted = None
                self.reservoir.arm(0, 0, 0)
                raise
            except HwentropyError as error:
                # None, or one that cannot say yet: what is left of this lease is good.
                log.debug("no new lease, the old one goes on: %s", error)
        self._next_look = boottime() + LOOK_NANOSECONDS

    def _renew(self, deadline: float | None, *, block: bool = True) -> None:
        """Get a lease and put it in force; where that fails the old one stays."""
        forgotten = self.forgotten
        granted = self._ask(deadline, block=block)
        self._granted = None
        self.reservoir.attach(granted.page.words)  # which holds nothing from here on
        self._drbg.reseed([(b"parent", granted.lease.seed)])
        wipe(granted.lease.seed)
        self._next_look = boottime() + LOOK_NANOSECONDS
        # A child that a signal handler forked meanwhile was given the same seed.
        if self.forgotten == forgotten and not self.inherited:
            self._budget = granted.lease.max_bytes
            self._lender = self._connection
            self._granted = granted

    def _ask(self, deadline: float | None, *, block: bool = True) -> Granted:
        if self._connection is not None:
            try:
                return self._connection.renew(deadline, block=block)
            except DaemonUnavailable:
                self._connection = None  # restarted since the last lease
        forgotten = self.forgotten
        path = entropy_path(self._path)
        connection = LeaseConnection(path, self._timeout, deadline, self._is_ours)
        self._connection = connection
        if self.forgotten != forgotten:
            # A signal handler forked before `after_fork` could see it: it is the parent's.
            self._connection = None
            connection.close()
            raise lost(path)
        return connection.renew(deadline, block=block)

    def _refill(self) -> None:
        """Make a block, if the lease has bytes for one."""
        granted = self._granted
        if granted is None or not self._budget:
            return
        self.reservoir.arm(0, 0, 0)
        try:
            self._drbg.refill()
        except RuntimeError:
            if self._granted is granted:
                raise
            return  # erased: this is a child that a signal handler forked
        count = min(self._budget, BLOCK_BYTES - KEY_BYTES)
        self._budget -= count
        stop = self._next_stop(granted)
        # A child that was forked before the look makes keystream of a wiped key, one that
        # was forked after it has a wiped block, which `arm` does not take.
        if self._granted is granted and not self.inherited:
            self.reservoir.arm(granted.epoch, stop, count)

    def _is_ours(self) -> bool:
        return not self.inherited

    def _next_stop(self, granted: Granted) -> int:
        """Until when bytes may be taken without another look at the connection."""
        return min(granted.stops, self._next_look)

    def _let_go(self) -> None:
        self.forgotten += 1
        self._granted = None
        self._budget = 0
        self._lender = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _first_use() -> None:
    """Run the known-answer tests; raises KnownAnswerError.

    They have the library of the primitives ready itself now, within a millisecond.
    Begun at a thread's first draw, and cut short by another one's fork, it would leave
    the child a lock that nobody ever gives back.
    """
    known_answers.check()
