"""Getting a lease from the daemon: one connection, op LEASE, the generation page.

The page comes with the first lease of a connection.  Its epoch is read before
each request, so that a reseed between request and reply is noticed at the next
draw, not missed.  Seeds are received into memory that is overwritten after use.

A child that a signal handler forks in the middle, also by the C library's `fork`, of
which nobody is told, has no part in it: `ours` is asked before and after each step.

What this does not protect against: such a fork between that look and the receive right
behind it.  The child may take the reply then, which it throws away, and its parent waits
for it until its timeout.
"""

import array
import contextlib
import math
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hwentropy.blocking.connection import connect
from hwentropy.endpoint import expired, lost
from hwentropy.errors import refusal
from hwentropy.exchange import FIRST_TAG, refuses_connection
from hwentropy_core.errors import ProtocolError
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader, ServiceState, boottime
from hwentropy_core.wire import (
    HEADER,
    LEASE_BYTES,
    Lease,
    Op,
    Reply,
    ReplyFlag,
    RequestFlag,
    Status,
    decode_lease,
    decode_reply,
)

#: How often a wait for a reply looks whether a handler has forked meanwhile: the child
#: would wait for ever, as its parent takes the reply.
FORK_LOOK_SECONDS: Final = 0.1

#: Room for one descriptor: the kernel closes what a peer sends beyond it.
_ANCILLARY_BYTES: Final = socket.CMSG_LEN(array.array("i").itemsize)


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease with the page it is bound to."""

    lease: Lease
    page: PageReader
    epoch: int
    """What the page has to say for as long as the lease is good."""
    ends: int
    """When it ends by its seconds; this and all times by `boottime`."""
    marked: bool
    """Whether the reply said that the daemon was degraded."""

    @property
    def outdated(self) -> bool:
        """Whether the daemon reseeded or failed closed since the request."""
        return self.page.words[PageReader.EPOCH] != self.epoch

    @property
    def stops(self) -> int:
        """When a new one is due, at the latest: its end, or that of a stuck daemon's word."""
        until = self.page.words[PageReader.SERVES_UNTIL]
        return min(self.ends, until) if until else self.ends

    @property
    def degraded(self) -> bool:
        """Whether the daemon was degraded when it granted this, or is now."""
        # It may turn degraded under a lease, whose epoch stays; nobody is told but by
        # the page.  It turns `ok` with a new generation only, which ends the lease.
        words = self.page.words
        return (
            self.marked
            or words[PageReader.STATE] == ServiceState.DEGRADED
            or 0 < words[PageReader.OK_UNTIL] <= boottime()
        )


class LeaseConnection:
    """One connection to the native socket at `path`, used for leases only.

    `timeout` is what an exception names, in seconds; `deadline` (monotonic
    seconds) is what counts.  None: no limit.
    """

    def __init__(
        self,
        path: str,
        timeout: float | None,
        deadline: float | None,
        ours: Callable[[], bool] = lambda: True,
    ) -> None:
        """Connect; raises DaemonUnavailable, NotPermitted or Timeout.

        `ours` says whether this is still the process that connected.  Where it is a
        child that nobody was told of, the connection counts as lost.
        """
        self._path = path
        self._ours = ours
        self._timeout = timeout
        self._deadline = deadline
        self._page: PageReader | None = None
        self._fresh = True
        self._sock = connect(path, timeout, deadline)

    def renew(self, deadline: float | None, *, block: bool = True) -> Granted:
        """Ask for a lease.

        Raises the status's exception, DaemonUnavailable, Timeout or ProtocolError; the
        connection is closed then, unless it was a refusal of this request alone.
        """
        self._deadline = deadline
        flags = 0 if block else int(RequestFlag.DONT_BLOCK)
        while True:
            page = self._page
            epoch = 0 if page is None else page.words[PageReader.EPOCH]
            asked = boottime()
            lease, marked = self._exchange(flags)
            if page is not None:
                ends = asked + lease.max_seconds * 1_000_000_000
                return Granted(lease, page, epoch, ends, marked)
            # The page came with this very reply: whatever happened before it was
            # read is a reason to ask once more.
            wipe(lease.seed)

    @property
    def alive(self) -> bool:
        """Whether the daemon still holds its end, and has sent nothing unasked."""
        try:
            # MSG_DONTWAIT would do if Python did not wait for the timeout first.
            self._sock.setblocking(False)
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the connection; the page of a lease stays mapped."""
        self._page = None
        self._sock.close()

    def _exchange(self, flags: int) -> tuple[Lease, bool]:
        """A lease, and whether it was marked as granted while degraded."""
        try:
            reply, lease = self._ask(flags)
        except BaseException as error:
            # A signal handler's too: the reply to this request is nobody's now.
            self.close()
            if isinstance(error, TimeoutError):
                raise expired(self._path, self._timeout or 0) from None
            if isinstance(error, OSError):
                raise lost(self._path) from None
            raise
        if lease is None:
            raise refusal(reply.status, self._path)
        return lease, bool(reply.flags & ReplyFlag.DEGRADED)

    def _ask(self, flags: int) -> tuple[Reply, Lease | None]:
        """One request and its whole reply."""
        before = self._page
        self._arm()
        self._check_ours()
        # What a daemon said before it closed is still to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(HEADER.pack(Op.LEASE, flags, FIRST_TAG, 0), socket.MSG_NOSIGNAL)
        header = bytearray(HEADER.size)
        self._receive(header)
        reply = decode_reply(header)
        fresh, self._fresh = self._fresh, False
        if reply.tag != FIRST_TAG:
            if fresh and refuses_connection(reply):
                raise refusal(reply.status, self._path)
            raise ProtocolError(
                f"reply with tag {reply.tag} where {FIRST_TAG} was due, {self._path}"
            )
        lease = None
        if reply.status is Status.OK:
            if reply.length != LEASE_BYTES:
                raise ProtocolError(f"lease of {reply.length} bytes, {self._path}")
            lease = self._lease()
        try:
            self._check_ours()
            self._check_flags(reply, before, granted=lease is not None)
        except BaseException:
            if lease is not None:
                wipe(lease.seed)
            raise
        return reply, lease

    def _check_flags(self, reply: Reply, before: PageReader | None, *, granted: bool) -> None:
        """The page comes with the first lease of a connection, and with no other."""
        if reply.flags & ReplyFlag.NOT_LIVE:
            raise ProtocolError(
                f"the daemon at {self._path} sent a lease with the flag NOT_LIVE"
            )
        due = before is None and granted
        announced = bool(reply.flags & ReplyFlag.PAGE)
        if due != announced or due != (self._page is not before):
            raise ProtocolError(
                f"the daemon at {self._path} sent {'no' if due else 'a second'} generation page"
            )

    def _lease(self) -> Lease:
        payload = bytearray(LEASE_BYTES)
        try:
            self._receive(payload)
            lease = decode_lease(payload)
        finally:
            wipe(payload)
        if not lease.max_bytes or not lease.max_seconds:
            wipe(lease.seed)
            raise ProtocolError(f"the daemon at {self._path} sent a lease that has ended")
        return lease

    def _receive(self, buffer: bytearray) -> None:
        """Fill a buffer; a descriptor that comes with it is the page's."""
        view = memoryview(buffer)
        filled = 0
        while filled < len(view):
            self._await_input()
            self._check_ours()
            self._arm()
            got, ancillary, _, _ = self._sock.recvmsg_into(
                [view[filled:]], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    for fd in array.array("i", data):
                        self._take_page(fd)
            if not got:
                raise ConnectionResetError
            filled += got

    def _take_page(self, fd: int) -> None:
        try:
            if self._page is not None:
                raise ProtocolError(f"the daemon at {self._path} sent a second generation page")
            self._page = PageReader(fd)
        finally:
            os.close(fd)

    def _await_input(self) -> None:
        """Wait for something to receive, and receive nothing.

        A handler that forks, and comes back in both processes, finds most of them in
        here: the child looks whose the connection is before it takes its parent's reply.
        """
        fd = self._sock.fileno()
        if fd < 0:
            raise lost(self._path)  # closed by `after_fork`, in a child that was told
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        while True:
            left = math.inf if self._deadline is None else self._deadline - time.monotonic()
            if waiting.poll(max(0.0, min(left, FORK_LOOK_SECONDS)) * 1000):
                return
            self._check_ours()
            self._arm()

    def _check_ours(self) -> None:
        if not self._ours():
            raise lost(self._path)

    def _arm(self) -> None:
        """Let the next system call wait no longer than the call still may."""
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
