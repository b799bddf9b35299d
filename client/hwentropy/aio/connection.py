"""One connection of the asyncio client: the same calls, awaited.

The socket is used through the event loop's `sock_recv_into`, so that payloads
go straight into the caller's memory and nothing but the socket itself belongs
to the connection: a forked child closes it without touching the parent's loop.
"""

import asyncio
import socket
from typing import Final

from hwentropy.endpoint import lost, unreachable
from hwentropy.errors import OverQuota
from hwentropy.exchange import FIRST_TAG, Exchange, Info, decode_info
from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.wire import HEADER

_HEADER: Final = HEADER.size

#: Seconds between two attempts at a socket whose queue is full: a non-blocking
#: connect to a Unix socket cannot wait its turn (unix(7)).  The daemon accepts
#: thousands a second, so a hundredth is enough for the queue to move.
_QUEUE_PAUSE: Final = 0.01


class Connection:
    """A connection to the native socket at `path`, for one event loop."""

    __slots__ = (
        "_buffer",
        "_fresh",
        "_path",
        "_sock",
        "_tag",
        "answered",
        "loop",
        "marks",
        "usable",
    )

    def __init__(self, path: str) -> None:
        """Not connected yet: `connect` is."""
        self._path = path
        self._tag = FIRST_TAG
        self._fresh = True
        self._buffer = memoryview(bytearray(_HEADER + SMALL_BYTES))
        self.loop = asyncio.get_running_loop()
        self.answered = False
        """Whether any byte of the present call's reply has come."""
        self.usable = False
        """Whether the next call may use it."""
        self.marks = 0
        """The flags that any reply of the last call had."""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(0)

    async def connect(self) -> None:
        """Connect; raises DaemonUnavailable or NotPermitted."""
        while True:
            try:
                self._sock.connect(self._path)
            except BlockingIOError:
                await asyncio.sleep(_QUEUE_PAUSE)
            except OSError as error:
                raise unreachable(self._path, error) from None
            else:
                return

    def close(self) -> None:
        """Give the connection up."""
        self.usable = False
        self._sock.close()
        wipe(self._buffer)

    async def read_into(self, out: memoryview, flags: int) -> int:
        """Fill a writable byte view of at least one byte; returns how many came.

        Fewer than asked for where OVER_QUOTA came after some of them.  On an exception
        the view may be filled in part.
        """
        exchange = Exchange.read(len(out), flags, self._tag, self._path, fresh=self._fresh)
        if len(out) <= SMALL_BYTES:
            await self._read_small(exchange, out)
        else:
            filled = 0
            while not exchange.finished:
                try:
                    length = await self._next_reply(exchange)
                except OverQuota:
                    if not filled:
                        raise
                    self.marks = exchange.marks
                    return filled
                await self._receive(out[filled : filled + length])
                filled += length
        self._done(exchange)
        return len(out)

    async def info(self) -> Info:
        """Ask the daemon what it is."""
        exchange = Exchange.info(self._tag, self._path, fresh=self._fresh)
        payload = bytearray(await self._next_reply(exchange))
        await self._receive(memoryview(payload))
        info = decode_info(payload, self._path)
        self._done(exchange)
        return info

    async def _read_small(self, exchange: Exchange, out: memoryview) -> None:
        """Header and payload in one receive, where the daemon sent them together."""
        self.usable = False
        await self._send(exchange.requests())
        end = _HEADER + len(out)
        got = 0
        while got < _HEADER:
            got += await self._receive_some(self._buffer[got:end])
        self._accept(exchange, spare=got - _HEADER)
        await self._receive(self._buffer[got:end])
        out[:] = self._buffer[_HEADER:end]
        wipe(self._buffer[:end])

    async def _next_reply(self, exchange: Exchange) -> int:
        """Send what may be sent and take the next header; returns its payload's length."""
        self.usable = False
        if requests := exchange.requests():
            await self._send(requests)
        await self._receive(self._buffer[:_HEADER])
        return self._accept(exchange)

    def _accept(self, exchange: Exchange, spare: int = 0) -> int:
        """Check the header in the buffer; `spare` payload bytes came with it."""
        self._fresh = False
        try:
            return exchange.accept(self._buffer[:_HEADER])
        except Exception:
            self.usable = exchange.in_order and not spare
            self._tag = exchange.next_tag
            raise

    def _done(self, exchange: Exchange) -> None:
        self._tag = exchange.next_tag
        self.marks = exchange.marks
        self.usable = True

    async def _send(self, data: bytes) -> None:
        try:
            try:
                sent = self._sock.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                # A daemon that takes no requests while we wait for its replies: the
                # socket's buffer holds thousands of them.
                await self.loop.sock_sendall(self._sock, data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the daemon said before it closed is still to be read
        except OSError:
            raise lost(self._path) from None

    async def _receive_some(self, view: memoryview) -> int:
        """At least one byte into `view`."""
        try:
            got = await self.loop.sock_recv_into(self._sock, view)
        except OSError:
            raise lost(self._path) from None
        if not got:
            raise lost(self._path)
        self.answered = True
        return got

    async def _receive(self, view: memoryview) -> None:
        """Fill `view`."""
        filled = 0
        while filled < len(view):
            filled += await self._receive_some(view[filled:])
