"""Getting a lease from the daemon: one connection, op LEASE, the generation page.

The page comes with the first lease of a connection.  Its epoch is read before
each request, so that a reseed between request and reply is noticed at the next
draw, not missed.
"""

import os
import socket
from dataclasses import dataclass

from hwentropy_core.errors import ProtocolError
from hwentropy_core.page import PageReader
from hwentropy_core.wire import (
    HEADER,
    LEASE_BYTES,
    Lease,
    Op,
    ReplyFlag,
    RequestFlag,
    Status,
    decode_lease,
    decode_reply,
)

from .endpoint import expired, lost, unreachable
from .errors import refusal


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease with the page it is bound to."""

    lease: Lease
    page: PageReader
    epoch: int
    """What the page has to say for as long as the lease is good."""


class LeaseConnection:
    """One connection to the native socket at `path`, used for leases only.

    `timeout` is in seconds, for connecting and for each reply; None waits for the
    first seed as long as it takes.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        """Connect; raises DaemonUnavailable, NotPermitted or Timeout."""
        self._path = path
        self._timeout = timeout
        self._page: PageReader | None = None
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(timeout)
            self._sock.connect(path)
        except TimeoutError:
            self.close()
            raise expired(path, timeout or 0) from None
        except OSError as error:
            self.close()
            raise unreachable(path, error) from None

    def renew(self, *, block: bool = True) -> Granted:
        """Ask for a lease.

        Raises the status's exception, DaemonUnavailable, Timeout or ProtocolError;
        after all but the first the connection is closed.
        """
        epoch = None if self._page is None else self._page.words[PageReader.EPOCH]
        flags = 0 if block else int(RequestFlag.DONT_BLOCK)
        try:
            self._sock.sendall(HEADER.pack(Op.LEASE, flags, 0, 0), socket.MSG_NOSIGNAL)
            lease = self._receive()
        except TimeoutError:
            self.close()
            raise expired(self._path, self._timeout or 0) from None
        except OSError:
            self.close()
            raise lost(self._path) from None
        except ProtocolError:
            self.close()
            raise
        if self._page is None:
            self.close()
            raise ProtocolError(f"the daemon at {self._path} sent a lease without its page")
        if epoch is None:
            # The page came with this very reply: whatever happened before it was
            # read is a reason to ask once more.
            return self.renew(block=block)
        return Granted(lease, self._page, epoch)

    @property
    def alive(self) -> bool:
        """Whether the daemon still holds its end."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection; a page in use stays mapped."""
        self._sock.close()

    def _receive(self) -> Lease:
        reply = decode_reply(self._exactly(HEADER.size))
        if reply.tag:
            raise ProtocolError(f"reply with tag {reply.tag} where 0 was due, {self._path}")
        if reply.status is not Status.OK:
            raise refusal(reply.status, self._path)
        payload = self._exactly(reply.length)
        if bool(reply.flags & ReplyFlag.PAGE) and self._page is None:
            raise ProtocolError(f"the daemon at {self._path} sent no page with its first lease")
        if len(payload) != LEASE_BYTES:
            raise ProtocolError(f"lease of {len(payload)} bytes, {self._path}")
        return decode_lease(payload)

    def _exactly(self, size: int) -> bytearray:
        """`size` bytes; a descriptor that comes with them is the page's."""
        data = bytearray()
        while len(data) < size:
            part, fds, _, _ = socket.recv_fds(self._sock, size - len(data), 1)
            for fd in fds:
                self._take_page(fd)
            if not part:
                raise ConnectionResetError
            data += part
        return data

    def _take_page(self, fd: int) -> None:
        try:
            self._page = PageReader(fd)
        finally:
            os.close(fd)
