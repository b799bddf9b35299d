"""This process's random bytes: drawn from a lease, fast, and never twice.

    random_bytes(n), fill(buffer)   what everything else here is built on
    take(n)                         the hot path: None means "call random_bytes"
    configure(mode, ...)            "lease" (default), "direct" or "prediction_resistant"

A lease is a child of the daemon's DRBG in this process (docs/drbg.md): before
every draw one word of shared memory is compared, and when the daemon reseeded,
failed closed, or the lease has had its bytes or seconds, a new one is fetched
first.  Safe to use from threads and across forks: the state is memory that the
kernel wipes in a child, which then fetches its own lease.

When the daemon is gone, draws go on inside the lease's limits, then raise
DaemonUnavailable.  There is no silent fallback; `configure(fallback="os")` is the
explicit one, and each outage is logged.

What this does not protect against: whoever can read this process's memory can
foresee its draws until the next reseed.  In the modes "direct" and
"prediction_resistant" there is nothing to read, at the price of a round trip.
"""

import atexit
import contextlib
import io
import logging
import operator
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, SupportsIndex

from hwentropy_core.drbg import Drbg, Keystream
from hwentropy_core.limits import KEY_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader

from . import forks
from .blocking.client import Client
from .endpoint import entropy_path
from .errors import DaemonUnavailable
from .lease import Granted, LeaseConnection
from .reservoir import Reservoir, boottime, make_reservoir

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Mode = Literal["lease", "direct", "prediction_resistant"]
_MODES: Final = ("lease", "direct", "prediction_resistant")

#: Keystream made at one key change.  Larger than the daemon's: here a refill
#: (16 us) is what a draw of a few KiB would otherwise wait for each time.
BLOCK_BYTES: Final = 64 * 1024

#: Draws up to here come from the block; larger ones have a one-time key.
SMALL_BYTES: Final = BLOCK_BYTES // 4

#: A large draw looks at the epoch and changes its key after this much: some
#: milliseconds of work.
PIECE_BYTES: Final = 16 * 1024 * 1024

#: How often, at most, a lease's connection is looked at for the daemon's end: a
#: restart is noticed within this time by whoever draws, for one system call in it.
_LOOK_NANOSECONDS: Final = 1_000_000_000

#: The key lies before the block, in a cache line of its own.
_KEY_ROOM: Final = 64

log = logging.getLogger(__name__)


class Generator:
    """One generator with its settings; the module's functions use a shared one.

    `path` is the native socket, `timeout` in seconds (None: wait for the first
    seed), `fallback` "os" to draw from the kernel when no daemon answers.
    Every draw may raise what `Client.read` raises.
    """

    def __init__(self, make: Callable[[int], Reservoir] = make_reservoir) -> None:
        self._reservoir = make(_KEY_ROOM + BLOCK_BYTES)
        memory = self._reservoir.block
        self._drbg = Drbg(b"lease", key=memory[:KEY_BYTES], block=memory[_KEY_ROOM:])
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._connection: LeaseConnection | None = None
        self._granted: Granted | None = None
        self._deadline = 0
        self._next_look = 0
        self._budget = 0
        """Bytes of the lease that were neither handed out nor lie in the block."""
        self._client: Client | None = None
        self._mode: Mode = "lease"
        self._path: str | None = None
        self._timeout: float | None = None
        self._fallback = False
        self._outage = False
        self.take = self._reservoir.take
        """The next n bytes, or None: then `random_bytes` has to be asked."""
        forks.watch(self)
        weakref.finalize(self, self._reservoir.disarm)

    def configure(
        self,
        mode: Mode = "lease",
        *,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        fallback: Literal["os"] | None = None,
    ) -> None:
        """Draw in this way from now on; what was leased before is forgotten.

        Raises ValueError for a mode or fallback that there is not.
        """
        if mode not in _MODES:
            raise ValueError(f"mode is {mode!r}: one of {', '.join(_MODES)}")
        if fallback not in {None, "os"}:
            raise ValueError(f"fallback is {fallback!r}: None or 'os'")
        with self._lock:
            self._forget()
            self._mode = mode
            self._path = None if path is None else os.fspath(path)
            self._timeout = timeout
            self._fallback = fallback == "os"

    def random_bytes(self, n: SupportsIndex, /) -> bytes:
        """`n` fresh bytes, any number of them."""
        out = self.take(n)
        if out is not None:
            return out
        size = operator.index(n)
        if size < 0:
            raise ValueError(f"cannot draw {size} bytes")
        if size <= SMALL_BYTES and self._current():
            with self._lock:
                self._prepare(size)
            out = self.take(size)
            if out is not None:
                return out
        # BytesIO lends the memory of the `bytes` it holds, and gives it out uncopied.
        holder = io.BytesIO(bytes(size))
        with holder.getbuffer() as view:
            self.fill(view)
        return holder.getvalue()

    def fill(self, buffer: "WriteableBuffer", /) -> None:
        """Overwrite a writable, contiguous buffer; after an exception it holds zeros."""
        with memoryview(buffer) as given:
            if given.readonly:
                raise TypeError("fill needs a writable buffer")
            if not given.nbytes:
                return
            with given.cast("B") as view:
                try:
                    self._fill(view)
                except BaseException:
                    wipe(view)
                    raise

    def close(self) -> None:
        """Erase the state and close the connections; a later draw connects anew."""
        # Not waited for: at exit another thread may hold it until the daemon is seeded.
        if self._lock.acquire(blocking=False):
            try:
                self._forget()
            finally:
                self._lock.release()

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's lease, connections and locks."""
        self._lock = threading.RLock()
        # Not closed: its own after_fork lets go of the connection the parent uses.
        self._client = None
        self._forget()
        self._pid = os.getpid()

    def _fill(self, view: memoryview) -> None:
        try:
            if self._mode == "lease":
                self._fill_from_lease(view)
            else:
                fresh = self._mode == "prediction_resistant"
                self._direct().read_into(view, prediction_resistance=fresh)
        except DaemonUnavailable as error:
            if not self._fallback:
                raise
            if not self._outage:
                self._outage = True
                log.warning("drawing from the operating system: %s", error)
            _fill_from_os(view)
        else:
            self._outage = False

    def _fill_from_lease(self, view: memoryview) -> None:
        if len(view) <= SMALL_BYTES:
            while not self._reservoir.take_into(view):
                with self._lock:
                    self._prepare(len(view))
            return
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            key = bytearray(KEY_BYTES)
            while not self._reservoir.take_into(key):
                with self._lock:
                    self._prepare(KEY_BYTES)
            with self._lock:
                self._budget -= len(piece)
            Keystream(key).fill(piece)

    def _prepare(self, size: int) -> None:
        """See to it that `size` bytes can be taken, unless something changes meanwhile."""
        if self._pid != os.getpid():
            self.after_fork()  # a fork that Python was not told of
        if not self._current():
            self._renew()
        elif boottime() >= self._next_look and not self._daemon_there():
            # Restarted, perhaps: its successor's lease is better than what is left of
            # this one, which is good all the same.
            with contextlib.suppress(DaemonUnavailable):
                self._renew()
        if self._reservoir.left < size and self._granted is not None:
            self._drbg.refill()
            count = BLOCK_BYTES - KEY_BYTES
            self._budget -= count
            self._reservoir.arm(self._granted.epoch, self._deadline, count)

    def _current(self) -> bool:
        """Whether the lease may still fill a block."""
        granted = self._granted
        return (
            granted is not None
            and granted.page.words[PageReader.EPOCH] == granted.epoch
            and boottime() < self._deadline
            and self._budget >= BLOCK_BYTES
        )

    def _daemon_there(self) -> bool:
        self._next_look = boottime() + _LOOK_NANOSECONDS
        return self._connection is not None and self._connection.alive

    def _renew(self) -> None:
        """Get a lease; raises what `LeaseConnection.renew` raises, the old one still there."""
        asked = boottime()
        granted = self._ask()
        if self._granted is None or self._granted.page is not granted.page:
            self._reservoir.attach(granted.page.words)
        self._drbg.reseed([(b"parent", granted.lease.seed)])
        wipe(granted.lease.seed)
        self._granted = granted
        self._deadline = asked + granted.lease.max_seconds * 1_000_000_000
        self._budget = granted.lease.max_bytes
        self._reservoir.arm(granted.epoch, self._deadline, 0)

    def _ask(self) -> Granted:
        path = entropy_path(self._path)
        if self._connection is not None:
            try:
                return self._connection.renew()
            except DaemonUnavailable:
                self._connection = None  # restarted since the last lease
        self._connection = LeaseConnection(path, self._timeout)
        return self._connection.renew()

    def _direct(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client(self._path, timeout=self._timeout)
            return self._client

    def _forget(self) -> None:
        self._reservoir.disarm()
        self._drbg.erase()
        if self._connection is not None:
            self._connection.close()
        if self._client is not None:
            self._client.close()
        self._connection = None
        self._client = None
        self._granted = None
        self._budget = 0


def _fill_from_os(view: memoryview) -> None:
    for start in range(0, len(view), PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        piece[:] = os.urandom(len(piece))


_shared: Final = Generator()
configure = _shared.configure
random_bytes = _shared.random_bytes
fill = _shared.fill
take = _shared.take
# A connection left to the interpreter's end is a ResourceWarning there.
atexit.register(_shared.close)
