"""The asyncio client: the blocking one's calls, awaited.

One connection, opened at the first call and kept.  Tasks of one event loop may
share a client: a lock lets one call at a time use the connection.  In another
loop, and after a fork, it opens a new one.  A call that is cancelled closes the
connection, so that its late reply reaches nobody.
"""

import asyncio
import operator
import os
from asyncio import sleep
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from hwentropy import forks
from hwentropy.backoff import Backoff
from hwentropy.endpoint import entropy_path, expired, lost
from hwentropy.errors import DaemonUnavailable, OverQuota, refusal
from hwentropy.exchange import Info, read_flags
from hwentropy.writable_bytes import WritableBytes
from hwentropy_core.memory import wipe
from hwentropy_core.wire import ReplyFlag, Status

from .connection import Connection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient:
    """Reads random bytes from the daemon.

    Parameters, results and exceptions are those of `hwentropy.Client`; close it
    with `close()` or `async with`.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout: float | None = None
    ) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout}: above 0 seconds, or None")
        self._path = entropy_path(path)
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._closed = False
        self._marks = 0
        """The flags that any reply of the last read had."""
        forks.watch(self)

    def __repr__(self) -> str:
        return f"<hwentropy.AsyncClient {self._path}{', closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

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

    async def read(
        self, n: int, /, *, block: bool = True, prediction_resistance: bool = False
    ) -> bytes:
        """`n` random bytes, any number of them; see `Client.read`."""
        size = operator.index(n)
        if size <= 0:
            if size < 0:
                raise ValueError(f"cannot read {size} bytes")
            return b""
        flags = read_flags(block=block, prediction_resistance=prediction_resistance)
        with WritableBytes(size) as memory:
            await self._fill(memory.view, flags)
        return memory.value()

    async def read_into(
        self,
        buffer: "WriteableBuffer",
        /,
        *,
        block: bool = True,
        prediction_resistance: bool = False,
    ) -> None:
        """Fill a writable, contiguous buffer; after an exception it holds zeros."""
        with memoryview(buffer) as given:
            if given.readonly:
                raise TypeError("read_into needs a writable buffer")
            if given.nbytes:
                with given.cast("B") as view:
                    flags = read_flags(block=block, prediction_resistance=prediction_resistance)
                    await self._fill(view, flags)

    async def info(self) -> Info:
        """What the daemon says of itself, seeded or not; in its turn behind other calls."""
        return await self._call(self._limit(), Connection.info)

    async def close(self) -> None:
        """Close the connection, once the call under way, if any, has ended."""
        self._closed = True
        self._enter_loop()
        async with self._lock:
            self._drop()

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's connection, lock and loop."""
        self._loop = None
        self._lock = asyncio.Lock()
        self._drop()

    async def _fill(self, view: memoryview, flags: int) -> None:
        deadline = self._limit()
        lock = self._lock
        filled = 0
        marks = 0
        try:
            while filled < len(view):
                filled += await self._call(deadline, Connection.read_into, view[filled:], flags)
                marks |= self._marks
                if self._lock is not lock:
                    # Forked in between: the parent has what came before.
                    lock, filled = self._lock, 0
        except BaseException:
            wipe(view)
            raise
        self._marks = marks

    def _limit(self) -> float | None:
        """When a call that begins now has to end, in the loop's (monotonic) seconds."""
        self._enter_loop()
        timeout = self._timeout
        return None if timeout is None else asyncio.get_running_loop().time() + timeout

    async def _call(
        self,
        deadline: float | None,
        method: Callable[Concatenate[Connection, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call, by its deadline and with the lock held but for pauses."""
        limit = asyncio.timeout_at(deadline)
        backoff: Backoff | None = None
        try:
            async with limit:
                while True:
                    try:
                        async with self._lock:
                            return await self._locked(method, *args, **kwargs)
                    except OverQuota:
                        backoff = backoff or Backoff(deadline)
                        if (pause := backoff.pause()) is None:
                            raise
                    await sleep(pause)
        except TimeoutError:
            if not limit.expired():
                raise
            if backoff is not None:
                raise refusal(Status.OVER_QUOTA, self._path) from None
            raise expired(self._path, self._timeout or 0) from None

    async def _locked(
        self,
        method: Callable[Concatenate[Connection, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """One attempt; keeps no connection in an unknown state."""
        try:
            return await self._attempt(method, *args, **kwargs)
        finally:
            connection = self._connection
            if connection is not None and not connection.usable:
                self._drop()

    async def _attempt(
        self,
        method: Callable[Concatenate[Connection, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection = self._connection
        if connection is not None:
            connection.answered = False
            try:
                result = await method(connection, *args, **kwargs)
            except DaemonUnavailable:
                # Restarted since the last call: nothing of this one was
                # answered, so it can be asked again without losing a byte.
                if connection.answered:
                    raise
                self._drop()
            else:
                return self._checked(connection, result)
        if self._closed:
            raise ValueError("the client is closed")
        connection = self._connection = Connection(self._path)
        await connection.connect()
        result = await method(connection, *args, **kwargs)
        return self._checked(connection, result)

    def _checked(self, connection: Connection, result: T) -> T:
        """The result of a call, unless a fork in the middle has made it the parent's."""
        if self._connection is not connection:
            raise lost(self._path)
        self._marks = connection.marks
        return result

    def _enter_loop(self) -> None:
        """Leave behind what belongs to another event loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._lock = asyncio.Lock()
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
