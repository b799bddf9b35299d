"""One client's connection: answers its requests until it would have to wait.

`serve` runs in one of the engine's threads and ends with what the connection
waits for.  Between two calls a connection holds no output byte: what a slow
client did not take yet is drawn anew when it is ready (a reply is `length`
random bytes; which ones is settled only when they are sent).  So its memory is
bounded by one receive of requests, whatever the client does.
"""

import json
import socket
from enum import Enum, auto
from importlib.metadata import version
from typing import Final, Protocol

from hwentropy_core.limits import MAX_READ, SMALL_BYTES
from hwentropy_core.memory import ZEROS, wipe
from hwentropy_core.page import PageReader, ServiceState
from hwentropy_core.wire import (
    HEADER,
    PROTOCOL_VERSION,
    Op,
    Refusal,
    ReplyFlag,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    encode_reply,
)

from .generator import Generator, SeedNotReceivedError

#: Bytes generated and sent at a time in a large reply: the largest that lies in
#: a core's second-level cache together with ZEROS and what the kernel copies.
CHUNK_BYTES: Final = 128 * 1024

#: Bytes of requests taken at a time: 512 requests.
RECEIVE_BYTES: Final = 512 * HEADER.size

# Read while files may still be opened.
_VERSION: Final = version("hwentropy")

_OK_WORD: Final = int(ServiceState.OK)
_READ: Final = int(Op.READ)
_DONT_BLOCK: Final = int(RequestFlag.DONT_BLOCK)


class Wait(Enum):
    """What a connection waits for after `serve`."""

    INPUT = auto()
    ROOM = auto()
    """for the client to take what was sent"""
    SEED = auto()
    """for the daemon to be seeded"""
    FRESH = auto()
    """for entropy collected after its request"""
    TURN = auto()
    """for a thread: it has had its share"""
    END = auto()
    """for nothing: it is over"""


class Crowd(Protocol):
    """What a connection knows of the others."""

    idle: int
    """Threads free to take up another connection; 0 means: do not linger."""


class Buffers:
    """A thread's buffers: requests come into one, replies go out of the other."""

    __slots__ = ("inbox", "outbox")

    def __init__(self) -> None:
        self.inbox = memoryview(bytearray(RECEIVE_BYTES))
        self.outbox = memoryview(bytearray(HEADER.size + CHUNK_BYTES))


class Connection:
    """State of one connection between two turns of service."""

    __slots__ = (
        "_generator",
        "_header",
        "_reader",
        "_remaining",
        "_request",
        "fresh",
        "id",
        "requests",
        "sock",
        "stream",
    )

    def __init__(
        self, sock: socket.socket, number: int, generator: Generator, *, stream: bool
    ) -> None:
        self.sock = sock
        self.id = number
        self.requests = 0
        self.fresh: bool | None = None
        """The supervisor's answer to the wish for fresh entropy, once it is there."""
        self._generator = generator
        self.stream = stream
        self._reader = RequestReader()
        self._header = b""
        self._remaining = 0
        self._request: Request | None = None

    def serve(self, buffers: Buffers, crowd: Crowd) -> Wait:
        """Serve until it has to wait; raises nothing that a peer can cause.

        While another thread is free, waits for input itself for a moment (the
        socket's receive timeout): the next request of a busy client is then
        answered with two system calls.
        """
        try:
            if self.stream:
                return self._serve_stream(buffers)
            return self._serve_requests(buffers, crowd)
        except (OSError, SeedNotReceivedError):
            return Wait.END

    def _serve_stream(self, buffers: Buffers) -> Wait:
        state = self._generator.state
        if state is ServiceState.STARTING:
            return Wait.SEED
        if state is ServiceState.FAILED:
            return Wait.END
        self._remaining = MAX_READ
        return Wait.TURN if self._send(buffers) else Wait.ROOM

    def _serve_requests(self, buffers: Buffers, crowd: Crowd) -> Wait:
        receive_into = self.sock.recv_into
        send = self.sock.send
        inbox, outbox = buffers.inbox, buffers.outbox
        generator = self._generator
        words = generator.words
        reader = self._reader
        header_size = HEADER.size
        while True:
            if (wait := self._answer_held(buffers, crowd)) is not None:
                return wait
            try:
                received = receive_into(inbox, 0, 0 if crowd.idle else socket.MSG_DONTWAIT)
                # The common case by itself: one small READ of a healthy daemon.
                # It does what the general path does, in half the calls.
                while received == header_size and not len(reader):
                    op, flags, tag, length = HEADER.unpack_from(inbox)
                    if (
                        op != _READ
                        or flags > _DONT_BLOCK
                        or not 0 < length <= SMALL_BYTES
                        or words[PageReader.STATE] != _OK_WORD
                    ):
                        break
                    size = header_size + length
                    HEADER.pack_into(outbox, 0, 0, 0, tag, length)
                    payload = outbox[header_size:size]
                    generator.read_into(payload)
                    self.requests += 1
                    sent = send(outbox[:size])
                    payload[:] = ZEROS[:length]
                    if sent < size:
                        self._note_sent(bytes(outbox[:header_size]), sent, size)
                        return Wait.ROOM
                    if not crowd.idle:
                        return Wait.INPUT
                    received = receive_into(inbox)
            except BlockingIOError:
                return Wait.INPUT
            if not received:
                return Wait.END
            reader.feed(inbox[:received])

    def _answer_held(self, buffers: Buffers, crowd: Crowd) -> Wait | None:
        """Finish the reply under way and answer the requests that are complete."""
        while True:
            if self._header or self._remaining:
                if not self._send(buffers):
                    return Wait.ROOM
                if not crowd.idle:
                    return Wait.TURN
            request = self._request or self._reader.next()
            if request is None:
                return None
            if isinstance(request, Refusal):
                self.requests += 1
                self._header = encode_reply(request.status, request.tag)
                if request.closes:
                    self._send(buffers)
                    return Wait.END
                continue
            if (wait := self._begin(request)) is not None:
                self._request = request
                return wait
            self._request = None
            self.requests += 1

    def _begin(self, request: Request) -> Wait | None:
        """Set the reply up; or say what the request has to wait for."""
        state = self._generator.state
        if request.op is Op.INFO:
            self._header = self._info(request, state)
            return None
        flags = 0
        status = Status.OK
        if state is ServiceState.FAILED:
            status = Status.FAILED_CLOSED
        elif state is ServiceState.STARTING:
            if not request.flags & RequestFlag.DONT_BLOCK:
                return Wait.SEED
            status = Status.NOT_SEEDED
        elif request.flags & RequestFlag.PREDICTION_RESISTANCE:
            if self.fresh is None:
                return Wait.FRESH
            if not self.fresh:
                status = Status.FAILED_CLOSED
            self.fresh = None
        if state is ServiceState.DEGRADED:
            flags = ReplyFlag.DEGRADED
        if status is Status.OK:
            self._remaining = request.length
            self._header = encode_reply(status, request.tag, request.length, flags)
        else:
            self._header = encode_reply(status, request.tag)
        return None

    def _info(self, request: Request, state: ServiceState) -> bytes:
        payload = json.dumps(
            {
                "protocol": [PROTOCOL_VERSION],
                "version": _VERSION,
                "state": state.label,
                "generation": self._generator.words[PageReader.GENERATION],
                "limits": {"max_read": MAX_READ},
            }
        ).encode()
        return encode_reply(Status.OK, request.tag, len(payload)) + payload

    def _send(self, buffers: Buffers) -> bool:
        """Send header and `_remaining` bytes; False when the client does not take them."""
        outbox = buffers.outbox
        used = 0
        stream = None
        try:
            while self._header or self._remaining:
                start = len(self._header)
                if start > HEADER.size:
                    sent = self.sock.send(self._header)
                    self._header = self._header[sent:]
                    continue
                outbox[:start] = self._header
                payload = outbox[start : start + min(self._remaining, CHUNK_BYTES)]
                if stream is None and self._remaining > SMALL_BYTES:
                    stream = self._generator.keystream(self._remaining)
                if stream is not None:
                    stream.fill(payload)
                elif payload:
                    self._generator.read_into(payload)
                size = start + len(payload)
                used = max(used, size)
                sent = self.sock.send(outbox[:size])
                self._note_sent(self._header, sent, start + self._remaining)
                if sent < size:
                    return False
        except BlockingIOError:
            return False
        finally:
            wipe(outbox[:used])
        return True

    def _note_sent(self, header: bytes, sent: int, size: int) -> None:
        """Note what is still to be sent of `size` bytes that begin with `header`."""
        self._header = header[sent:]
        self._remaining = size - max(sent, len(header))
