"""A worker's DRBG: shared by its threads, rekeyed when the generation moves.

The generation is compared before every draw (one memory read).  While it
differs from the DRBG's own, the draw waits for the seed that the supervisor
sent before it moved the page; should that never come, the draw fails.

The state is that on the page, and no better than the age of the seed allows: a
supervisor that is stuck does not keep it.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from hwentropy_core.drbg import Keystream
from hwentropy_core.errors import HwentropyError
from hwentropy_core.limits import KEY_BYTES, SMALL_BYTES
from hwentropy_core.locked import locked_drbg
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader, ServiceState

#: Seconds to wait for the seed of a generation that is already on the page.  It
#: is in the channel by then, so this is only ever reached when the worker's main
#: thread or the supervisor has died; both are noticed well within it.
SEED_WAIT: Final = 2.0
#: The page gives no wake-up, so a waiting draw looks again this often, in seconds.
_LOOK_AGAIN: Final = 0.0005

#: Seconds that a supervisor has to renew a page whose time is over: twice its tick.  A
#: machine that wakes from a suspend finds it over, and its supervisor as well as ever.
RENEWAL_SECONDS: Final = 1.0
#: Seconds between two looks for that, which every thread takes.
_RENEWAL_LOOK: Final = 0.01

#: Bytes handed out before they are reported, so that `reseed_bytes` and
#: `degraded_bytes` hold to within this much a worker: what one worker serves in
#: some ten milliseconds, a message that costs microseconds.
REPORT_BYTES: Final = 16 << 20


#: `page.boottime` without a frame of Python: it is asked at every small read.
_BOOTTIME: Final = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


class SeedNotReceivedError(HwentropyError):
    """The generation moved and no seed for it came."""


class WorkerDrbg:
    """The worker's child DRBG behind a lock."""

    def __init__(
        self,
        page: PageReader,
        report: Callable[[], None],
        clock: Callable[[], int] = _BOOTTIME,
    ) -> None:
        """`report` is called, from any thread, at every REPORT_BYTES drawn.

        `clock` is that of the page, in nanoseconds.
        """
        self.clock = clock
        self.words = page.words
        self._page = page
        self._overdue = 0
        """The time on the page whose end was waited for."""
        self._renewal_ends = 0.0
        # Where it cannot be locked the supervisor says so, whose limit is the same.
        self._drbg, _ = locked_drbg(b"worker")
        self._generation = 0
        self._seeded = threading.Condition(threading.Lock())
        self.drawn = 0
        """Bytes handed out so far."""
        self._leased = 0
        """Bytes that leases may give and that count as if they were handed out."""
        self._report = report
        self._reported = 0

    @property
    def state(self) -> ServiceState:
        """The service state as of now; waits where the page may be about to be renewed."""
        state = self._page.state_at(self.clock())
        if state is ServiceState.FAILED and self._page.state is not state:
            return self._await_renewal()
        return state

    def seed(self, generation: int, seed: bytearray) -> None:
        """Take the seed of a generation and overwrite it."""
        with self._seeded:
            self._drbg.reseed([(b"parent", seed)])
            self._generation = generation
            wipe(seed)
            self._seeded.notify_all()

    def forget(self) -> None:
        """Erase the state; a seed of a later generation is needed before the next byte."""
        with self._seeded:
            self._drbg.erase()

    def read_into(self, out: memoryview) -> None:
        """Overwrite `out` with fresh output."""
        if len(out) > SMALL_BYTES:
            self.keystream().fill(out)
            self.count(len(out))
            return
        with self._seeded:
            if self.words[PageReader.GENERATION] != self._generation:
                self._await_seed()
            self._drbg.read_into(out)
            self.drawn += len(out)
            due = self._report_due
        if due:
            self._report()

    def keystream(self) -> Keystream:
        """A one-time keystream; say with `count` how much of it was handed out."""
        key = bytearray(KEY_BYTES)
        with self._seeded:
            if self.words[PageReader.GENERATION] != self._generation:
                self._await_seed()
            self._drbg.read_into(memoryview(key))
        return Keystream(key)

    def count(self, size: int) -> None:
        """So many bytes of a keystream were handed out."""
        with self._seeded:
            self.drawn += size
            due = self._report_due
        if due:
            self._report()

    def count_lease(self, size: int) -> None:
        """A lease was granted; its bytes, so many at most, count now."""
        with self._seeded:
            self._leased += size
            due = self._report_due
        if due:
            self._report()

    def lease_seed(self) -> tuple[int, bytearray]:
        """The generation and a seed of it for one client's own generator."""
        with self._seeded:
            if self.words[PageReader.GENERATION] != self._generation:
                self._await_seed()
            return self._generation, self._drbg.child_seed(b"lease", self._generation)

    def take_drawn(self) -> int:
        """Bytes handed out, or counted for leases, since this was last called."""
        with self._seeded:
            counted = self.drawn + self._leased
            drawn = counted - self._reported
            self._reported = counted
            return drawn

    @property
    def _report_due(self) -> bool:
        return self.drawn + self._leased - self._reported >= REPORT_BYTES

    def _await_renewal(self) -> ServiceState:
        """The state once the page is renewed, or RENEWAL_SECONDS after the first who asked."""
        overdue = self.words[PageReader.SERVES_UNTIL]
        if overdue != self._overdue:
            self._overdue = overdue
            self._renewal_ends = time.monotonic() + RENEWAL_SECONDS
        while (state := self._page.state_at(self.clock())) is ServiceState.FAILED:
            if time.monotonic() >= self._renewal_ends:
                break
            time.sleep(_RENEWAL_LOOK)
        return state

    def _await_seed(self) -> None:
        for _ in range(round(SEED_WAIT / _LOOK_AGAIN)):
            if self._drbg.reseeds and self.words[PageReader.GENERATION] == self._generation:
                return
            self._seeded.wait(_LOOK_AGAIN)
        raise SeedNotReceivedError("no seed came for the current generation")
