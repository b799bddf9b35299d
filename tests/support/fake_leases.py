"""The LEASE side of a fake daemon, and what a client has to make of its leases.

    leases = Leases()
    daemon.handler = leases
    expected = leases.reference()      # the client's generator, after the last lease

The reference is the generator of docs/drbg.md, seeded with what was granted.
"""

import os
import socket
from collections.abc import Callable

from hwentropy_core.drbg import Drbg
from hwentropy_core.page import PageWriter
from hwentropy_core.wire import (
    HEADER,
    Lease,
    Op,
    Refusal,
    ReplyFlag,
    Request,
    Status,
    encode_lease,
    encode_reply,
)
from support.fake_server import Peer, honest

#: The purpose of the generator behind a lease, of any client of this project.
PURPOSE = b"lease"


class Leases:
    """A handler for FakeDaemon: grants leases, answers the rest honestly.

    What is granted can be changed at any time: `max_bytes`, `max_seconds`,
    `flags`, `fd` (of the page, None: none is sent), `announced` (None: as the
    protocol says), `status`, and `before`, called between request and reply.
    """

    def __init__(self) -> None:
        self.page = PageWriter()
        self.page.generation = 1
        self.max_bytes = 1 << 30
        self.max_seconds = 300
        self.flags = 0
        self.fd: int | None = self.page.fd
        self.announced: bool | None = None
        self.status = Status.OK
        self.before: Callable[[], None] = lambda: None
        self.seeds: list[bytes] = []
        """Every seed that was granted."""
        self.request_flags: list[int] = []
        self.payload: bytes | None = None
        """Sent in place of the lease."""
        self._paged: set[int] = set()

    def close(self) -> None:
        """Close the page's descriptor."""
        os.close(self.page.fd)

    def __call__(self, peer: Peer, request: Request | Refusal) -> None:
        """Answer one request."""
        if isinstance(request, Refusal) or request.op is not Op.LEASE:
            honest(peer, request)
            return
        self.request_flags.append(int(request.flags))
        if self.status is not Status.OK:
            peer.send(encode_reply(self.status, request.tag))
            return
        self.before()
        seed = os.urandom(32)
        self.seeds.append(seed)
        first = peer.number not in self._paged
        self._paged.add(peer.number)
        announced = first if self.announced is None else self.announced
        flags = self.flags | (ReplyFlag.PAGE if announced else 0)
        lease = Lease(self.page.generation, self.max_bytes, self.max_seconds, bytearray(seed))
        payload = bytes(encode_lease(lease)) if self.payload is None else self.payload
        frame = HEADER.pack(Status.OK, flags, request.tag, len(payload)) + payload
        with_page = self.fd is not None and (first or self.announced)
        fds = [self.fd] if with_page and self.fd is not None else []
        sent = socket.send_fds(peer.sock, [frame], fds)
        assert sent == len(frame)

    def reference(self) -> Drbg:
        """A generator that was seeded with the last grant alone."""
        drbg = Drbg(PURPOSE)
        self.reseed(drbg)
        return drbg

    def reseed(self, drbg: Drbg) -> None:
        """Give a reference the last grant."""
        drbg.reseed([(b"parent", self.seeds[-1])])
