"""One client's connection: answers its requests until it would have to wait.

`serve` runs in one of the engine's threads and ends with what the connection
waits for.  Between two calls a connection holds no output byte: what a slow
client did not take yet is drawn anew when it is ready (a reply is `length`
random bytes; which ones is settled only when they are sent).  So its memory is
bounded by one receive of requests, whatever the client does.
"""

import json
import socket
import struct
import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from hwentropy_core import VERSION
from hwentropy_core.drbg import Keystream
from hwentropy_core.limits import MAX_READ, SMALL_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader, ServiceState
from hwentropy_core.wire import (
    HEADER,
    PROTOCOL_VERSION,
    Lease,
    Op,
    Refusal,
    ReplyFlag,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    encode_lease,
    encode_reply,
)

from .drbg import SeedNotReceivedError, WorkerDrbg

#: Bytes generated and sent at a time in a large reply: the largest that lies in
#: a core's second-level cache together with ZEROS and what the kernel copies.
CHUNK_BYTES: Final = 128 * 1024

#: Requests up to here are answered in the shortest way when they come alone.  Their
#: bytes take no more than some ten microseconds, so nobody waits for them to be made.
FAST_PATH_BYTES: Final = 16 * 1024

#: Bytes of requests taken at a time: 512 requests.
RECEIVE_BYTES: Final = 512 * HEADER.size

_OK_WORD: Final = int(ServiceState.OK)
_READ: Final = int(Op.READ)
_DONT_BLOCK: Final = int(RequestFlag.DONT_BLOCK)


class Wait(Enum):
    """What a connection waits for after `serve`."""

    INPUT = auto()
    WRITABLE = auto()
    """for the client to take what was sent"""
    SEED = auto()
    """for the daemon to be seeded"""
    FRESH = auto()
    """for entropy collected after its request"""
    YIELD = auto()
    """for a thread: it has had its share"""
    END = auto()
    """for nothing: it is over"""


class Load(Protocol):
    """What a connection knows of the others."""

    idle: int
    """Threads free to take up another connection; 0 means: do not linger."""
    bulk: threading.Lock
    """Held by whoever makes and sends a piece of a large reply.

    While a thread makes one it holds the interpreter's lock, and with many at it some
    thread that the scheduler has put aside always does; so small requests waited
    milliseconds.  One at a time makes as much, as the lock let no two make any at once.
    """

    @property
    def alone(self) -> bool:
        """Whether no other connection keeps a thread busy."""
        ...


class Buffers:
    """A thread's buffers: requests come into one, replies go out of the other."""

    __slots__ = ("inbox", "outbox")

    def __init__(self) -> None:
        self.inbox = memoryview(bytearray(RECEIVE_BYTES))
        self.outbox = memoryview(bytearray(HEADER.size + CHUNK_BYTES))


class _Reply:
    """What is still to be sent of one reply."""

    __slots__ = ("fixed", "page_fd", "remaining")

    def __init__(
        self, fixed: bytes | bytearray, remaining: int = 0, page_fd: int | None = None
    ) -> None:
        self.fixed = fixed
        """The header, or all of a reply that holds no random bytes."""
        self.remaining = remaining
        """Random bytes after it."""
        self.page_fd = page_fd
        """A descriptor that goes with its first byte, until it has gone."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What comes with every lease."""

    max_bytes: int
    max_seconds: int
    page_fd: int
    """The generation page, for the client to map."""


class ClientConnection:
    """State of one connection between two turns of service."""

    __slots__ = (
        "_closing",
        "_generator",
        "_page_sent",
        "_reader",
        "_replies",
        "_request",
        "_terms",
        "fresh",
        "id",
        "requests",
        "sock",
        "stream",
    )

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        generator: WorkerDrbg,
        terms: LeaseTerms,
        *,
        stream: bool,
    ) -> None:
        self.sock = sock
        self.id = number
        self.requests = 0
        self.fresh: bool | None = None
        """The supervisor's answer to the wish for fresh entropy, once it is there."""
        self._generator = generator
        self.stream = stream
        self._reader = RequestReader()
        self._replies: deque[_Reply] = deque()
        self._request: Request | None = None
        self._closing = False
        self._terms = terms
        self._page_sent = False

    def serve(self, buffers: Buffers, load: Load) -> Wait:
        """Serve until it has to wait; raises nothing that a peer can cause.

        While another thread is free, waits for input itself for a moment (the
        socket's receive timeout): the next request of a busy client is then
        answered with two system calls.
        """
        try:
            if self.stream:
                return self._serve_stream(buffers, load)
            return self._serve_requests(buffers, load)
        except (OSError, SeedNotReceivedError):
            return Wait.END

    def _serve_stream(self, buffers: Buffers, load: Load) -> Wait:
        state = self._generator.state
        if state is ServiceState.STARTING:
            return Wait.SEED
        if state is ServiceState.FAILED:
            return Wait.END
        if not self._replies:
            self._replies.append(_Reply(b"", MAX_READ))
        return Wait.YIELD if self._send(buffers, load) else Wait.WRITABLE

    def _serve_requests(self, buffers: Buffers, load: Load) -> Wait:
        receive_into = self.sock.recv_into
        send = self.sock.send
        inbox, outbox = buffers.inbox, buffers.outbox
        generator = self._generator
        words = generator.words
        reader = self._reader
        header_size = HEADER.size
        used = outbox[:0]
        while True:
            if (wait := self._answer_held(buffers, load)) is not None:
                return wait
            try:
                received = receive_into(inbox, 0, 0 if load.idle else socket.MSG_DONTWAIT)
                # The common case by itself: one READ, not large, of a healthy daemon.  It
                # does what the general path does, in half the calls, and goes back to
                # `recv` at once: while it works on after `send`, the woken client
                # looks to the scheduler as if it needed another CPU.
                while received == header_size and not len(reader):
                    op, flags, tag, length = HEADER.unpack_from(inbox)
                    if (
                        op != _READ
                        or flags > _DONT_BLOCK
                        or not 0 < length <= FAST_PATH_BYTES
                        or words[PageReader.STATE] != _OK_WORD
                    ):
                        break
                    size = header_size + length
                    HEADER.pack_into(outbox, 0, 0, 0, tag, length)
                    generator.read_into(outbox[header_size:size])
                    self.requests += 1
                    used = outbox[: max(size, len(used))]
                    try:
                        sent = send(outbox[:size])
                    except BlockingIOError:
                        sent = 0
                    if sent < size:
                        self._replies.append(_Reply(bytes(outbox[:header_size]), length))
                        self._advance(sent)
                        return Wait.WRITABLE
                    if not load.idle:
                        return Wait.INPUT
                    received = receive_into(inbox)
            except BlockingIOError:
                return Wait.INPUT
            finally:
                # The last reply is overwritten by the next one, or here: before the
                # connection is put back, so SOCKET_WAIT_SECONDS seconds after it at the latest.
                wipe(used)
            if not received:
                return Wait.END
            reader.feed(inbox[:received])

    def _answer_held(self, buffers: Buffers, load: Load) -> Wait | None:
        """Finish the replies under way and answer the requests that are complete."""
        while True:
            if self._remaining() and self._generator.state is ServiceState.FAILED:
                return Wait.END  # in the middle of a reply there is no other way to say so
            wait = self._collect()
            if not self._replies:
                return wait
            if not self._send(buffers, load):
                return Wait.WRITABLE
            if self._closing:
                return Wait.END
            if not load.idle:
                return Wait.YIELD

    def _collect(self) -> Wait | None:
        """Turn requests into replies, up to a chunk; or say what the next one waits for."""
        planned = self._remaining()
        while planned < CHUNK_BYTES and not self._closing:
            request = self._request or self._reader.next()
            if request is None:
                return None
            if isinstance(request, Refusal):
                reply = _Reply(encode_reply(request.status, request.tag))
                self._closing = request.closes
            else:
                begun = self._begin(request)
                if isinstance(begun, Wait):
                    self._request = request
                    return begun
                reply = begun
                self._request = None
            self._replies.append(reply)
            self.requests += 1
            planned += HEADER.size + reply.remaining
        return None

    def _begin(self, request: Request) -> _Reply | Wait:
        """The reply to a request, or what the request has to wait for."""
        state = self._generator.state
        # Used up whatever comes of it: it was for this request and no later one.
        fresh, self.fresh = self.fresh, None
        if request.op is Op.INFO:
            return _Reply(self._info(request, state))
        if state is ServiceState.FAILED:
            return _Reply(encode_reply(Status.FAILED_CLOSED, request.tag))
        if state is ServiceState.STARTING:
            if not request.flags & RequestFlag.DONT_BLOCK:
                return Wait.SEED
            return _Reply(encode_reply(Status.NOT_SEEDED, request.tag))
        if request.flags & RequestFlag.PREDICTION_RESISTANCE:
            if fresh is None:
                return Wait.FRESH
            if not fresh:
                return _Reply(encode_reply(Status.FAILED_CLOSED, request.tag))
        flags = ReplyFlag.DEGRADED if state is ServiceState.DEGRADED else ReplyFlag(0)
        if request.op is Op.LEASE:
            return self._lease(request, flags)
        header = encode_reply(Status.OK, request.tag, request.length, flags)
        return _Reply(header, request.length)

    def _info(self, request: Request, state: ServiceState) -> bytes:
        payload = json.dumps(
            {
                "protocol": [PROTOCOL_VERSION],
                "version": VERSION,
                "state": state.label,
                "generation": self._generator.words[PageReader.GENERATION],
                "limits": {"max_read": MAX_READ},
            }
        ).encode()
        return encode_reply(Status.OK, request.tag, len(payload)) + payload

    def _lease(self, request: Request, flags: ReplyFlag) -> _Reply:
        generation, seed = self._generator.lease_seed()
        terms = self._terms
        payload = encode_lease(Lease(generation, terms.max_bytes, terms.max_seconds, seed))
        wipe(seed)
        page_fd = None
        if not self._page_sent:
            self._page_sent = True
            page_fd = terms.page_fd
            flags |= ReplyFlag.PAGE
        header = encode_reply(Status.OK, request.tag, len(payload), flags)
        fixed = bytearray(header + payload)
        wipe(payload)
        return _Reply(fixed, 0, page_fd)

    def _send(self, buffers: Buffers, load: Load) -> bool:
        """Send the replies under way; False when the client does not take them."""
        outbox = buffers.outbox
        used = outbox[:0]
        stream: Keystream | None = None
        total = self._remaining()
        try:
            if total > SMALL_BYTES:
                stream = self._generator.keystream()
            while self._replies:
                # Then nobody waits for the lock, and one call sends it as it is taken.
                alone = load.alone
                with nullcontext() if stream is None else load.bulk:
                    size = self._fill(outbox, stream)
                    used = outbox[: max(size, len(used))]
                    sent = 0 if alone else self._push(outbox[:size], socket.MSG_DONTWAIT)
                if sent < size and load.idle:
                    sent += self._push(outbox[sent:size])
                self._advance(sent)
                if sent < size:
                    return False
        finally:
            wipe(used)
            if stream is not None:
                self._generator.count(total - self._remaining())
        return True

    def _push(self, data: memoryview, flags: int = 0) -> int:
        """Send what is taken at once or within SOCKET_WAIT_SECONDS; returns how many bytes."""
        first = self._replies[0]
        try:
            if first.page_fd is None:
                return self.sock.send(data, flags)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", first.page_fd))
            sent = self.sock.sendmsg([data], [rights], flags)
        except BlockingIOError:
            return 0
        first.page_fd = None
        return sent

    def _remaining(self) -> int:
        """Random bytes still to be sent."""
        return sum(reply.remaining for reply in self._replies)

    def _fill(self, outbox: memoryview, stream: Keystream | None) -> int:
        """Lay the replies out one behind the other as far as they fit; returns the size."""
        at = 0
        draw = self._generator.read_into if stream is None else stream.fill
        for reply in self._replies:
            start = at + len(reply.fixed)
            # A descriptor goes with the first byte of a send, so its reply begins one.
            if start > len(outbox) or (at and reply.page_fd is not None):
                break
            outbox[at:start] = reply.fixed
            at = min(start + reply.remaining, len(outbox))
            if at > start:
                draw(outbox[start:at])
            if at == len(outbox):
                break
        return at

    def _advance(self, sent: int) -> None:
        """Note that so many bytes of the replies are on their way."""
        while sent:
            reply = self._replies[0]
            fixed = min(sent, len(reply.fixed))
            rest = reply.fixed[fixed:]
            if isinstance(reply.fixed, bytearray):
                wipe(reply.fixed)
            reply.fixed = rest
            drawn = min(sent - fixed, reply.remaining)
            reply.remaining -= drawn
            sent -= fixed + drawn
            if not reply.fixed and not reply.remaining:
                self._replies.popleft()
