"""The blocking client.

One connection, opened at the first call and kept.  Threads may share a client:
a lock lets one call at a time use the connection.  After a fork the child opens
a connection of its own.  A connection on which a call failed half-way is closed
and never used again.
"""

import operator
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from hwentropy import forks
from hwentropy.backoff import Backoff
from hwentropy.endpoint import entropy_path, expired, lost
from hwentropy.errors import DaemonUnavailable, OverQuota, Timeout, refusal
from hwentropy.exchange import Info, read_flags
from hwentropy.writable_bytes import WritableBytes
from hwentropy_core.errors import HwentropyError
from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.wire import ReplyFlag, Status

from .connection import Connection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """Reads random bytes from the daemon.

    `path` is the native socket (default: `entropy.sock` in the directory that
    hwentropy_core.paths finds).  `timeout` is in seconds, for the whole of one
    call, the connecting included.  It is None unless given: a daemon that is
    not seeded yet is worth waiting for, and one that is not there raises at once.

    Every call may raise DaemonUnavailable, NotPermitted, Timeout, ProtocolError,
    OverQuota and, for reads, NotSeeded, FailedClosed and RequestRefused.  If the
    daemon was restarted since the last call, the call connects anew, once.  Over its
    user's quota a call waits and asks again, within its timeout or 30 seconds.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout: float | None = None
    ) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout}: above 0 seconds, or None")
        self._path = entropy_path(path)
        self._timeout = timeout
        # Whoever holds it can tell, also after an exception out of nowhere (Ctrl-C).
        self._lock = threading.RLock()
        self._caller = 0
        """The thread that is in a call; 0: none."""
        self._connection: Connection | None = None
        self._closed = False
        self._marks = 0
        """The flags that any reply of the last read had."""
        forks.watch(self)

    def __repr__(self) -> str:
        return f"<hwentropy.Client {self._path}{', closed' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def degraded(self) -> bool:
        """Whether the last read was served while the daemon was degraded: short of healthy
        sources, or without a new seed for too long."""
        return bool(self._marks & ReplyFlag.DEGRADED)

    @property
    def not_live(self) -> bool:
        """Whether the last read asked for prediction resistance and got what generators had
        to give: no live source was healthy, see docs/protocol.md."""
        return bool(self._marks & ReplyFlag.NOT_LIVE)

    def read(
        self, n: int, /, *, block: bool = True, prediction_resistance: bool = False
    ) -> bytes:
        """`n` random bytes, any number of them.

        `block=False` raises NotSeeded where the call would wait for the first
        seed.  `prediction_resistance` has the daemon collect fresh entropy
        before it answers (SP 800-90A 8.8), for each request of up to 1 MiB.
        """
        size = operator.index(n)
        if size <= 0:
            if size < 0:
                raise ValueError(f"cannot read {size} bytes")
            return b""
        flags = read_flags(block=block, prediction_resistance=prediction_resistance)
        if size <= SMALL_BYTES:
            return self._call(self._limit(), Connection.read_small, size, flags)
        with WritableBytes(size) as memory:
            self._fill(memory.view, flags)
        return memory.value()

    def read_into(
        self,
        buffer: "WriteableBuffer",
        /,
        *,
        block: bool = True,
        prediction_resistance: bool = False,
    ) -> None:
        """Fill a writable, contiguous buffer of any size with random bytes.

        The options are those of `read`.  After an exception the whole buffer
        holds zeros.
        """
        with memoryview(buffer) as given:
            if given.readonly:
                raise TypeError("read_into needs a writable buffer")
            if given.nbytes:
                with given.cast("B") as view:
                    flags = read_flags(block=block, prediction_resistance=prediction_resistance)
                    self._fill(view, flags)

    def info(self) -> Info:
        """What the daemon says of itself, seeded or not.

        It waits for the call that another thread is in: a `read` before the first seed
        holds it up until the timeout.  Use another client to ask beside one.
        """
        return self._call(self._limit(), Connection.info)

    def close(self) -> None:
        """Close the connection; a call that another thread is in ends with ValueError."""
        self._closed = True
        connection = self._connection
        if connection is not None:
            connection.interrupt()
        with self._lock:
            self._drop()

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's connection and lock."""
        self._lock = threading.RLock()
        self._caller = 0
        self._drop()

    def _fill(self, view: memoryview, flags: int) -> None:
        deadline = self._limit()
        filled = 0
        marks = 0
        lock = self._lock
        try:
            while filled < len(view):
                filled += self._call(deadline, Connection.read_into, view[filled:], flags)
                marks |= self._marks
                if self._lock is not lock:
                    # A signal handler forked in between: the parent has what came before.
                    lock, filled = self._lock, 0
        except BaseException:
            wipe(view)
            raise
        self._marks = marks

    def _limit(self) -> float | None:
        """When a call that begins now has to end, in monotonic seconds."""
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _call(
        self,
        deadline: float | None,
        method: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call, by its deadline and with the lock held but for pauses."""
        me = threading.get_ident()
        backoff: Backoff | None = None

        if self._caller == me:
            raise RuntimeError(
                "the client was called in the middle of a call of the same thread (by a signal "
                "handler?); use another one there"
            )
        while True:
            lock = self._lock
            refused = False
            try:
                if deadline is None:
                    lock.acquire()
                elif not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                    raise expired(self._path, self._timeout or 0)
                self._caller = me
                try:
                    result = self._locked(deadline, method, *args, **kwargs)
                except OverQuota as error:
                    if lock is self._lock:
                        self._give_up(error)
                        refused = True
                except BaseException as error:
                    if lock is self._lock:
                        self._give_up(error)
                        if backoff is not None and isinstance(error, Timeout):
                            raise refusal(Status.OVER_QUOTA, self._path) from None
                        raise
                    if not isinstance(error, HwentropyError):
                        raise
                else:
                    if lock is self._lock:
                        return result
                # A signal handler forked in the middle, and this is the child: what was
                # read is the parent's, or was wiped.  Ask for bytes of its own.
            finally:
                if self._caller == me:
                    self._caller = 0
                # Whether an acquire that was interrupted got it, only the lock knows.
                try:  # noqa: SIM105 - half the time of contextlib.suppress
                    lock.release()
                except RuntimeError:
                    pass
            if refused:
                # Not under the lock: others need not wait, and may close the client.
                backoff = backoff or Backoff(deadline)
                if not backoff.wait():
                    raise refusal(Status.OVER_QUOTA, self._path)

    def _give_up(self, error: BaseException) -> None:
        """After a call that failed: keep no connection in an unknown state."""
        connection = self._connection
        if connection is not None and not connection.usable:
            self._drop()
        if isinstance(error, DaemonUnavailable) and self._closed:
            raise ValueError("the client was closed") from None

    def _locked(
        self,
        deadline: float | None,
        method: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection = self._connection
        if connection is not None:
            connection.start(deadline)
            try:
                result = method(connection, *args, **kwargs)
            except DaemonUnavailable:
                # Restarted since the last call: nothing of this one was
                # answered, so it can be asked again without losing a byte.
                if connection.answered or self._connection is not connection:
                    raise
                self._drop()
            else:
                return self._checked(connection, result)
        connection = self._connect(deadline)
        return self._checked(connection, method(connection, *args, **kwargs))

    def _checked(self, connection: Connection, result: T) -> T:
        """The result of a call, unless a signal handler closed the client, or forked."""
        if self._connection is not connection:
            raise lost(self._path)
        self._marks = connection.marks
        if not connection.usable:
            self._drop()
        return result

    def _connect(self, deadline: float | None) -> Connection:
        self._refuse_closed()
        lock = self._lock
        connection = Connection(self._path, self._timeout, deadline)
        self._connection = connection
        if self._lock is not lock:
            # A signal handler forked before `after_fork` could see it: it is the parent's.
            self._drop()
            raise lost(self._path)
        try:
            # By another thread, which did not see the connection yet.
            self._refuse_closed()
        except ValueError:
            self._drop()
            raise
        return connection

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ValueError("the client is closed")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
