"""This process's random bytes: drawn from a lease, fast, and never twice.

    random_bytes(n), fill(buffer)   what everything else here is built on
    take(n)                         the hot path: None means "call random_bytes"
    configure(mode, ...)            "lease" (default), "direct" or "prediction_resistant"
    is_degraded()                   whether the daemon is short of healthy sources
    is_not_live()                   whether prediction resistance was met without a live one

A lease is a child of the daemon's DRBG in this process (lease/, docs/drbg.md):
before every draw one word of shared memory is compared, and when the daemon
reseeded, failed closed, or the lease has had its bytes or seconds, a new one is
fetched first.  Safe to use from threads, signal handlers and finalizers, and
across forks: a child fetches its own lease.

When the daemon is gone, draws go on inside the lease's limits, then raise
DaemonUnavailable.  There is no silent fallback; `configure(fallback="os")` is the
explicit one, and each outage is logged.  So is a daemon that turns degraded, once.

What this does not protect against: whoever can read this process's memory can
foresee its draws until the next reseed.  In the modes "direct" and
"prediction_resistant" there is nothing to read, at the price of a round trip.
"""

import atexit
import logging
import operator
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NoReturn, SupportsIndex

from hwentropy_core.drbg import Keystream
from hwentropy_core.memory import wipe
from hwentropy_core.wire import Status

from . import forks
from .backoff import Backoff
from .blocking.client import Client
from .endpoint import entropy_path
from .errors import DEGRADED, DaemonUnavailable, HwentropyError, OverQuota, Timeout, refusal
from .lease.drbg import PIECE_BYTES, SMALL_BYTES, LeasedDrbg
from .lease.reservoir import Reservoir, make_reservoir
from .writable_bytes import WritableBytes

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Mode = Literal["lease", "direct", "prediction_resistant"]
_MODES: Final = ("lease", "direct", "prediction_resistant")

#: How often a draw from the lease is tried before it is asked of the daemon itself:
#: far more often than other threads can be faster, or the daemon reseed, by chance.
_TRIES: Final = 100

log = logging.getLogger(__name__)


class Generator:
    """One generator with its settings; the module's functions use a shared one.

    Every draw may raise what `Client.read` raises.
    """

    def __init__(self, make: Callable[[int], Reservoir] = make_reservoir) -> None:
        self._leased = LeasedDrbg(make)
        self._locks: dict[int, threading.RLock] = {}
        """By process id: a fork that Python was not told of inherits none that is held."""
        self._busy = 0
        """The thread that works on the lease, under the lock; 0: none.  The lock lets a
        thread in twice (a signal handler, a finalizer), this tells."""
        self._client: Client | None = None
        self._calling: set[int] = set()
        """The threads that use the client."""
        self._mode: Mode = "lease"
        self._path: str | None = None
        self._timeout: float | None = None
        self._fallback = False
        self._outage = False
        self._read_degraded = self._read_not_live = False
        """What the daemon said of the last read, in a mode without leases."""
        self._told_degraded = False
        self._take_into = self._leased.reservoir.take_into
        self.take = self._leased.reservoir.take
        """The next n bytes, or None: then `random_bytes` has to be asked."""
        forks.watch(self)

    def __reduce__(self) -> NoReturn:
        """Not to be copied or pickled: two of one state give the same bytes."""
        raise TypeError("a generator cannot be copied or pickled")

    def configure(
        self,
        mode: Mode = "lease",
        *,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        fallback: Literal["os"] | None = None,
    ) -> None:
        """Draw in this way from now on; what was leased before is forgotten.

        `path` is the native socket, `timeout` in seconds (None: wait for the first
        seed), `fallback` "os" to draw from the kernel when no daemon answers.  Raises
        ValueError for a mode, timeout or fallback that there is not, and RuntimeError
        in a signal handler that interrupted a draw.
        """
        if mode not in _MODES:
            raise ValueError(f"mode is {mode!r}: one of {', '.join(_MODES)}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout}: above 0 seconds, or None")
        if fallback not in {None, "os"}:
            raise ValueError(f"fallback is {fallback!r}: None or 'os'")
        where = None if path is None else os.fspath(path)
        with self._lock():
            self._notice_fork()
            if self._nested:
                raise RuntimeError("configure was called in the middle of a draw")
            self._forget()
            self._mode = mode
            self._path = where
            self._timeout = timeout
            self._fallback = fallback == "os"
            self._read_degraded = self._read_not_live = self._told_degraded = False
            self._leased.configure(where, timeout)

    def random_bytes(self, n: SupportsIndex, /) -> bytes:
        """`n` fresh bytes, any number of them."""
        out = self.take(n)
        if out is not None:
            return out
        size = operator.index(n)
        if size < 0:
            raise ValueError(f"cannot draw {size} bytes")
        if size <= SMALL_BYTES and self._refilled(size):
            out = self.take(size)
            if out is not None:
                return out
        with WritableBytes(size) as memory:
            self.fill(memory.view)
        return memory.value()

    def fill(self, buffer: "WriteableBuffer", /) -> None:
        """Overwrite a writable, contiguous buffer; after an exception it holds zeros."""
        with memoryview(buffer) as given:
            if given.readonly:
                raise TypeError("fill needs a writable buffer")
            if not given.nbytes:
                return
            with given.cast("B") as view:
                if self._take_into(view):
                    return
                try:
                    self._fill(view)
                except BaseException:
                    wipe(view)
                    raise

    def is_degraded(self) -> bool:
        """Whether the daemon is degraded: short of healthy sources, or of a new seed for
        too long.  Its bytes go on for a limited time and amount.

        With a lease it is what the daemon says now, or said when it granted the lease;
        in the other modes what it said with the last draw.  False before the first one.
        """
        return self._leased.degraded if self._mode == "lease" else self._read_degraded

    def is_not_live(self) -> bool:
        """Whether the last draw in mode "prediction_resistant" was met by generators alone.

        Then no live source was healthy, and how fresh it was is as docs/protocol.md says.
        False in the other modes, and before the first draw.
        """
        return self._read_not_live

    def close(self) -> None:
        """Erase the state and close the connections; a later draw connects anew."""
        lock = self._lock()
        # Not waited for: at exit another thread may hold it until the daemon is seeded.
        if lock.acquire(blocking=False):
            try:
                self._notice_fork()
                if not self._nested:
                    self._forget()
            finally:
                lock.release()

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's lease, connections and locks."""
        self._locks = {}
        self._begin_child()

    def _fill(self, view: memoryview) -> None:
        try:
            self._fill_from_daemon(view)
        except DaemonUnavailable as error:
            if not self._fallback:
                raise
            if not self._outage:
                self._outage = True
                log.warning("drawing from the operating system: %s", error)
            for start in range(0, len(view), PIECE_BYTES):
                piece = view[start : start + PIECE_BYTES]
                piece[:] = os.urandom(len(piece))
        else:
            if self._outage:
                self._outage = False
                log.warning("drawing from the daemon again")
            if self.is_degraded() != self._told_degraded:
                self._tell_degraded()

    def _tell_degraded(self) -> None:
        """Log that the daemon turned degraded, or is no longer: one thread, once.

        Who draws comes here within `lease.drbg.LOOK_NANOSECONDS` of the change.
        """
        with self._lock():
            degraded = self.is_degraded()
            # In the middle of another draw the lease may be between two states.
            if self._nested or degraded == self._told_degraded:
                return
            self._told_degraded = degraded
        # Not under the lock: a handler may do anything.
        if degraded:
            log.warning("random bytes are %s", DEGRADED)
        else:
            log.info("random bytes are no longer served while degraded")

    def _fill_from_daemon(self, view: memoryview) -> None:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        filled = tries = 0
        forgotten = self._leased.forgotten
        backoff: Backoff | None = None
        while filled < len(view):
            if tries == _TRIES:
                self._read_apart(view)
                return
            if self._mode != "lease":
                if self._read(view):
                    return
                tries += 1
                continue
            try:
                size = self._fill_part(view[filled:], deadline)
            except OverQuota:
                backoff = backoff or Backoff(deadline)
                if not backoff.wait():
                    raise
            except Timeout:
                if backoff is None:
                    raise
                raise refusal(Status.OVER_QUOTA, entropy_path(self._path)) from None
            else:
                filled += size
                tries += not size
            if self._leased.forgotten != forgotten or self._leased.inherited:
                # A fork in the middle (a signal handler's): the parent has these bytes.
                forgotten = self._leased.forgotten
                filled = 0

    def _fill_part(self, view: memoryview, deadline: float | None) -> int:
        """Fill the beginning from the lease; returns how much, 0 for "look again"."""
        with self._lock():
            self._notice_fork()
            if self._nested:
                self._read_apart(view)
                return len(view)
            forgotten = self._leased.forgotten
            self._busy = threading.get_ident()
            try:
                if self._mode != "lease":
                    return 0
                size, key = self._leased.draw(view, deadline)
            except HwentropyError:
                if self._leased.forgotten == forgotten and not self._leased.inherited:
                    raise
                return 0  # the connection went in a child that a signal handler forked
            finally:
                self._busy = 0
        if key is not None:
            Keystream(key).fill(view[:size])
        return size

    def _refilled(self, size: int) -> bool:
        """Whether there is a lease, and `size` bytes of it can be taken now."""
        if self._busy:
            return False  # not waited for here, where the timeout does not count yet
        with self._lock():
            self._notice_fork()
            if self._nested or self._mode != "lease":
                return False
            self._busy = threading.get_ident()
            try:
                return self._leased.ready(size)
            finally:
                self._busy = 0

    def _read(self, view: memoryview) -> bool:
        """Ask the daemon for the bytes themselves; False: ask again, as they do not count."""
        me = threading.get_ident()
        if me in self._calling:
            self._read_apart(view)
            return True
        client = None
        try:
            self._calling.add(me)
            with self._lock():
                self._notice_fork()
                if self._client is None:
                    self._client = Client(self._path, timeout=self._timeout)
                client = self._client
                fresh = self._mode == "prediction_resistant"
            client.read_into(view, prediction_resistance=fresh)
            self._read_degraded, self._read_not_live = client.degraded, client.not_live
        except ValueError:
            if self._client is client:
                raise
            return False  # `configure` or `close` closed it
        finally:
            self._calling.discard(me)
            if client is not None and self._client is not client:
                client.close()  # nobody's any more, with what a forked child has in it
        # A signal handler may have forked since the reply came: its bytes are the parent's.
        return not self._leased.inherited

    def _read_apart(self, view: memoryview) -> None:
        """Ask on a connection of its own: in the middle of another draw of this thread."""
        with Client(self._path, timeout=self._timeout) as client:
            client.read_into(view, prediction_resistance=self._mode == "prediction_resistant")
            self._read_degraded, self._read_not_live = client.degraded, client.not_live

    def _lock(self) -> threading.RLock:
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())

    @property
    def _nested(self) -> bool:
        """Whether this is a signal handler, or the like, within another draw."""
        return bool(self._busy) or self._leased.interrupted

    def _notice_fork(self) -> None:
        """Called under the lock: do what nobody told this child to do."""
        if self._leased.inherited:
            self._begin_child()

    def _begin_child(self) -> None:
        # A signal handler that forks comes back into the draw that it interrupted.
        self._calling &= {threading.get_ident()}
        if self._busy != threading.get_ident():
            self._busy = 0
        client, self._client = self._client, None
        if client is not None:
            client.after_fork()
        self._leased.after_fork()

    def _forget(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        self._leased.forget()


_shared: Final = Generator()
configure = _shared.configure
random_bytes = _shared.random_bytes
fill = _shared.fill
take = _shared.take
is_degraded = _shared.is_degraded
is_not_live = _shared.is_not_live
# A connection left to the interpreter's end is a ResourceWarning there.
atexit.register(_shared.close)
