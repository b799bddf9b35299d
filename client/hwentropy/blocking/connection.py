"""One connection of the blocking client: system calls and nothing else.

A small read is one `send` and one `recv_into`: the daemon sends header and
payload together.  A larger one takes the header, then has the kernel copy the
payload straight into the caller's memory.

Whoever gets an exception from a method looks at `usable`: where it is false,
the stream is in an unknown place and the connection must be closed.
"""

import errno
import socket
import struct
import time
from typing import Final

from hwentropy.endpoint import expired, lost, unreachable
from hwentropy.exchange import Exchange, Info, decode_info, is_plain
from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.memory import ZEROS, wipe
from hwentropy_core.wire import HEADER, Op

_HEADER: Final = HEADER.size
_READ: Final = int(Op.READ)
# A daemon that is gone must be an exception, not a signal, also in a program
# that set SIGPIPE back to its default.
_NOSIGNAL: Final = socket.MSG_NOSIGNAL
_WAITALL: Final = socket.MSG_WAITALL


class Connection:
    """A connection to the native socket at `path`.

    `timeout` is in seconds and counts anew from each `start`; None waits for
    ever, in plain blocking system calls.
    """

    __slots__ = (
        "_buffer",
        "_deadline",
        "_path",
        "_sock",
        "_tag",
        "_timeout",
        "_view",
        "answered",
        "degraded",
        "usable",
    )

    def __init__(self, path: str, timeout: float | None, deadline: float | None) -> None:
        """Connect; raises DaemonUnavailable, NotPermitted or Timeout."""
        self._path = path
        self._timeout = timeout
        self._deadline = deadline
        self._tag = 0
        self._buffer = bytearray(_HEADER + SMALL_BYTES)
        self._view = memoryview(self._buffer)
        self.answered = False
        """Whether any byte of the present call's reply has come."""
        self.usable = True
        """Whether the next call may use it."""
        self.degraded = False
        """Whether the last read was served while the daemon was degraded."""
        self._sock = _connect(path, timeout, deadline)

    def start(self, deadline: float | None) -> None:
        """Begin a call that has to end by `deadline` (monotonic seconds)."""
        self._deadline = deadline
        self.answered = False

    def close(self) -> None:
        """Give the connection up."""
        self.usable = False
        self._sock.close()
        wipe(self._view)

    def interrupt(self) -> None:
        """End the wait of a call that another thread is in."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.EBADF}:
                raise

    def read_small(self, size: int, flags: int) -> bytes:
        """1 to SMALL_BYTES bytes."""
        end = self._small(size, flags)
        data = bytes(self._view[_HEADER:end])
        self._buffer[_HEADER:end] = ZEROS[:size]
        self.usable = True
        return data

    def read_into(self, out: memoryview, flags: int) -> None:
        """Fill a writable byte view of at least one byte.

        On an exception it may be filled in part.
        """
        size = len(out)
        if size <= SMALL_BYTES:
            end = self._small(size, flags)
            out[:] = self._view[_HEADER:end]
            self._buffer[_HEADER:end] = ZEROS[:size]
            self.usable = True
            return
        exchange = Exchange.read(size, flags, self._tag, self._path)
        filled = 0
        while not exchange.finished:
            length = self._next_reply(exchange)
            self._receive(out[filled : filled + length])
            filled += length
        self._done(exchange)

    def info(self) -> Info:
        """Ask the daemon what it is."""
        exchange = Exchange.info(self._tag, self._path)
        payload = bytearray(self._next_reply(exchange))
        self._receive(memoryview(payload))
        self._done(exchange)
        return decode_info(payload, self._path)

    def _small(self, size: int, flags: int) -> int:
        """One READ into the connection's own buffer; returns where its bytes end."""
        self.usable = False
        tag = self._tag
        self._tag = (tag + 1) & 0xFFFF
        self._send(HEADER.pack(_READ, flags, tag, size))
        end = _HEADER + size
        view = self._view
        got = self._receive_some(view[:end])
        if got == end and is_plain(self._buffer, tag, size):
            self.degraded = False
            return end
        # An error, a degraded daemon, a reply in pieces, or nonsense.
        exchange = Exchange.read(size, flags, tag, self._path)
        exchange.requests()
        if got < _HEADER:
            self._receive(view[got:_HEADER])
            got = _HEADER
        self._accept(exchange, spare=got - _HEADER)
        if got < end:
            self._receive(view[got:end])
        self.degraded = exchange.degraded
        return end

    def _next_reply(self, exchange: Exchange) -> int:
        """Send what may be sent and take the next header; returns its payload's length."""
        self.usable = False
        if requests := exchange.requests():
            self._send(requests)
        self._receive(self._view[:_HEADER])
        return self._accept(exchange)

    def _accept(self, exchange: Exchange, spare: int = 0) -> int:
        """Check the header in the buffer; `spare` payload bytes came with it."""
        try:
            return exchange.accept(self._view[:_HEADER])
        except Exception:
            self.usable = exchange.in_order and not spare
            self._tag = exchange.next_tag
            raise

    def _done(self, exchange: Exchange) -> None:
        self._tag = exchange.next_tag
        self.degraded = exchange.degraded
        self.usable = True

    def _send(self, data: bytes) -> None:
        """Send a few dozen bytes: the socket's buffer has room for them."""
        if self._deadline is not None:
            self._arm()
        try:
            sent = self._sock.send(data, _NOSIGNAL)
            while sent < len(data):
                sent += self._sock.send(data[sent:], _NOSIGNAL)
        except TimeoutError:
            raise expired(self._path, self._timeout or 0) from None
        except OSError:
            raise lost(self._path) from None

    def _receive_some(self, view: memoryview) -> int:
        """At least one byte into `view`."""
        if self._deadline is not None:
            self._arm()
        try:
            got = self._sock.recv_into(view)
        except TimeoutError:
            raise expired(self._path, self._timeout or 0) from None
        except OSError:
            raise lost(self._path) from None
        if not got:
            raise lost(self._path)
        self.answered = True
        return got

    def _receive(self, view: memoryview) -> None:
        """Fill `view`."""
        filled = 0
        while filled < len(view):
            if self._deadline is not None:
                self._arm()
            try:
                got = self._sock.recv_into(view[filled:], 0, _WAITALL)
            except TimeoutError:
                raise expired(self._path, self._timeout or 0) from None
            except OSError:
                raise lost(self._path) from None
            if not got:
                raise lost(self._path)
            self.answered = True
            filled += got

    def _arm(self) -> None:
        """Let the next system call wait no longer than the call still may."""
        left = (self._deadline or 0) - time.monotonic()
        if left <= 0:
            raise expired(self._path, self._timeout or 0)
        self._sock.settimeout(left)


def _connect(path: str, timeout: float | None, deadline: float | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if deadline is not None:
            # Not settimeout: a non-blocking connect to a Unix socket whose queue
            # is full fails at once, a blocking one waits its turn (unix(7)).
            # At least 1 us: zero would mean no limit (socket(7)).
            microseconds = max(1, round((deadline - time.monotonic()) * 1_000_000))
            interval = struct.pack("ll", *divmod(microseconds, 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        sock.connect(path)
    except BlockingIOError:
        sock.close()
        raise expired(path, timeout or 0) from None
    except OSError as error:
        sock.close()
        raise unreachable(path, error) from None
    except BaseException:
        sock.close()
        raise
    return sock
