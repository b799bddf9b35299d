"""One connection of the blocking client: system calls and nothing else.

A read of one request is one `send` and one receive of what the daemon sent
together: header and payload, the payload straight into the caller's memory.
What is still missing of a large one takes a second receive (MSG_WAITALL).

Whoever gets an exception from a method looks at `usable`: where it is false,
the stream is in an unknown place and the connection must be closed.
"""

import errno
import socket
import struct
import time
from typing import Final

from hwentropy.endpoint import expired, lost, unreachable
from hwentropy.errors import OverQuota
from hwentropy.exchange import FIRST_TAG, Exchange, Info, decode_info, is_plain
from hwentropy_core.errors import HwentropyError
from hwentropy_core.limits import MAX_READ, SMALL_BYTES
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
        "_fresh",
        "_head",
        "_path",
        "_sock",
        "_tag",
        "_timeout",
        "_view",
        "answered",
        "marks",
        "usable",
    )

    def __init__(self, path: str, timeout: float | None, deadline: float | None) -> None:
        """Connect; raises DaemonUnavailable, NotPermitted or Timeout."""
        self._path = path
        self._timeout = timeout
        self._deadline = deadline
        self._tag = FIRST_TAG
        self._fresh = True
        self._buffer = bytearray(_HEADER + SMALL_BYTES)
        self._view = memoryview(self._buffer)
        self._head = self._view[:_HEADER]
        self.answered = False
        """Whether any byte of the present call's reply has come."""
        self.usable = True
        """Whether the next call may use it."""
        self.marks = 0
        """The flags that any reply of the last call had."""
        self._sock = connect(path, timeout, deadline)

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
        end = _HEADER + size
        tag = self._ask(size, flags)
        if self._deadline is not None:
            self._arm()
        try:
            got = self._sock.recv_into(self._view[:end])
        except OSError as error:
            raise self._failure(error) from None
        payload = self._view[_HEADER:end]
        self._finish(tag, flags, got, payload)
        data = bytes(payload)
        payload[:] = ZEROS[:size]
        self.usable = True
        return data

    def read_into(self, out: memoryview, flags: int) -> int:
        """Fill a writable byte view of at least one byte; returns how many came.

        Fewer than asked for where OVER_QUOTA came after some of them.  On an exception
        the view may be filled in part.
        """
        size = len(out)
        if size > MAX_READ:
            return self._read_pipelined(out, flags)
        tag = self._ask(size, flags)
        if self._deadline is not None:
            self._arm()
        try:
            got = self._sock.recvmsg_into((self._head, out))[0]
        except OSError as error:
            raise self._failure(error) from None
        self._finish(tag, flags, got, out)
        self.usable = True
        return size

    def info(self) -> Info:
        """Ask the daemon what it is."""
        exchange = Exchange.info(self._tag, self._path, fresh=self._fresh)
        payload = bytearray(self._next_reply(exchange))
        self._receive(memoryview(payload))
        info = decode_info(payload, self._path)
        self._done(exchange)
        return info

    def _read_pipelined(self, out: memoryview, flags: int) -> int:
        exchange = Exchange.read(len(out), flags, self._tag, self._path, fresh=self._fresh)
        filled = 0
        while not exchange.finished:
            try:
                length = self._next_reply(exchange)
            except OverQuota:
                if not filled:
                    raise
                self.marks = exchange.marks
                return filled
            self._receive(out[filled : filled + length])
            filled += length
        self._done(exchange)
        return filled

    def _ask(self, size: int, flags: int) -> int:
        """Send one READ; returns its tag."""
        self.usable = False
        tag = self._tag
        self._tag = (tag + 1) & 0xFFFF
        self._send(HEADER.pack(_READ, flags, tag, size))
        return tag

    def _finish(self, tag: int, flags: int, got: int, payload: memoryview) -> None:
        """Take what is left of a reply of which the first `got` bytes came at once."""
        if not got:
            raise lost(self._path)
        self.answered = True
        if got < _HEADER:
            self._receive(self._head[got:])
            got = _HEADER
        self.marks = 0
        if not is_plain(self._buffer, tag, len(payload)):
            # An error, a degraded daemon, or nonsense.
            exchange = Exchange.read(len(payload), flags, tag, self._path, fresh=self._fresh)
            exchange.requests()
            self._accept(exchange, spare=got - _HEADER)
            self.marks = exchange.marks
        self._fresh = False
        if got < _HEADER + len(payload):
            self._receive(payload[got - _HEADER :])

    def _next_reply(self, exchange: Exchange) -> int:
        """Send what may be sent and take the next header; returns its payload's length."""
        self.usable = False
        if requests := exchange.requests():
            self._send(requests)
        self._receive(self._head)
        return self._accept(exchange)

    def _accept(self, exchange: Exchange, spare: int = 0) -> int:
        """Check the header in the buffer; `spare` payload bytes came with it."""
        self._fresh = False
        try:
            return exchange.accept(self._head)
        except Exception:
            self.usable = exchange.in_order and not spare
            self._tag = exchange.next_tag
            raise

    def _done(self, exchange: Exchange) -> None:
        self._tag = exchange.next_tag
        self.marks = exchange.marks
        self.usable = True

    def _send(self, data: bytes) -> None:
        """Send a few dozen bytes: the socket's buffer has room for them."""
        if self._deadline is not None:
            self._arm()
        try:
            sent = self._sock.send(data, _NOSIGNAL)
            while sent < len(data):
                sent += self._sock.send(data[sent:], _NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the daemon said before it closed is still to be read
        except OSError as error:
            raise self._failure(error) from None

    def _receive(self, view: memoryview) -> None:
        """Fill `view`."""
        filled = 0
        while filled < len(view):
            if self._deadline is not None:
                self._arm()
            try:
                got = self._sock.recv_into(view[filled:], 0, _WAITALL)
            except OSError as error:
                raise self._failure(error) from None
            if not got:
                raise lost(self._path)
            self.answered = True
            filled += got

    def _failure(self, error: OSError) -> HwentropyError:
        if isinstance(error, TimeoutError):
            return expired(self._path, self._timeout or 0)
        return lost(self._path)

    def _arm(self) -> None:
        """Let the next system call wait no longer than the call still may."""
        left = (self._deadline or 0) - time.monotonic()
        if left <= 0:
            raise expired(self._path, self._timeout or 0)
        self._sock.settimeout(left)


def connect(path: str, timeout: float | None, deadline: float | None) -> socket.socket:
    """A connected socket; raises as `Connection` does."""
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
