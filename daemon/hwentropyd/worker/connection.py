"""One client's connection: answers its requests until it would have to wait.

`serve` runs in one of the engine's threads and ends with what the connection
waits for.  Between two calls a connection holds no output byte: what a slow
client did not take yet is drawn anew when it is ready (a reply is `length`
random bytes; which ones is settled only when they are sent).  So its memory is
bounded by one receive of requests, whatever the client does.
"""

import mmap
import socket
import struct
import threading
from collections import deque
from contextlib import nullcontext
from typing import Final, Protocol

from hwentropy_core.drbg import Keystream
from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader, ServiceState
from hwentropy_core.wire import HEADER

from .drbg import SeedNotReceivedError, WorkerDrbg
from .protocols import Reply, ServerProtocol, Wait

#: Bytes generated and sent at a time in a large reply: the largest that lies in
#: a core's second-level cache together with ZEROS and what the kernel copies.
CHUNK_BYTES: Final = 128 * 1024

#: A turn among a crowd, in bytes made or what takes as long: some 100 us.  As much as
#: is sent at a time anyhow: less would cost the crowd a third of its throughput.
TURN_BYTES: Final = CHUNK_BYTES

#: Bytes of requests taken at a time: 512 requests.
RECEIVE_BYTES: Final = 512 * HEADER.size


class Load(Protocol):
    """What a connection knows of the others."""

    @property
    def quiet(self) -> bool:
        """Whether a thread may stay with its connection; else: one turn, and no waiting."""
        ...

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


_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class OneTurn:
    """The load that gives a connection one turn and no waiting."""

    def __init__(self, bulk: threading.Lock) -> None:
        self.bulk = bulk
        self.quiet = False
        self.alone = False


class Buffers:
    """A thread's buffers: requests come into one, replies go out of the other."""

    __slots__ = ("inbox", "outbox")

    def __init__(self) -> None:
        self.inbox = memoryview(bytearray(RECEIVE_BYTES))
        # A map takes memory as it is written to: most threads never have a large reply.
        self.outbox = memoryview(mmap.mmap(-1, HEADER.size + CHUNK_BYTES, _PRIVATE))


class ClientConnection:
    """State of one connection between two turns of service."""

    __slots__ = ("_chunk", "_generator", "_replies", "id", "paused", "protocol", "sock", "user")

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        user: int,
        protocol: ServerProtocol,
        generator: WorkerDrbg,
    ) -> None:
        """`user` is the number of the share that the connection belongs to."""
        self.sock = sock
        self.id = number
        self.user = user
        self.protocol = protocol
        self._generator = generator
        self._replies: deque[Reply] = deque()
        self.paused = False
        """The engine's: it waits for its user's rate."""
        # No more is made at a time than the socket's buffer takes: the rest would be lost.
        buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._chunk = min(HEADER.size + CHUNK_BYTES, max(buffer, SMALL_BYTES))

    def serve(self, buffers: Buffers, load: Load) -> Wait:
        """Serve until it has to wait; raises nothing that a peer can cause.

        While it is quiet, waits for input itself for a moment (the
        socket's receive timeout): the next request of a busy client is then
        answered with two system calls.
        """
        try:
            before = self.protocol.requests
            while (wait := self._answer_held(buffers, load)) is Wait.INPUT:
                if not load.quiet and self.protocol.requests != before:
                    return wait  # it had its turn
                if (received := self._receive(buffers, load)) is None:
                    return Wait.WRITABLE if self._replies else Wait.INPUT
                if not received:
                    return Wait.END
                self.protocol.feed(buffers.inbox[:received])
        except (OSError, SeedNotReceivedError):
            return Wait.END
        return wait

    def close(self) -> None:
        """Close the socket, and overwrite a lease that the client did not take."""
        self.sock.close()
        while self._replies:
            fixed = self._replies.popleft().fixed
            if isinstance(fixed, bytearray):
                wipe(fixed)

    def _receive(self, buffers: Buffers, load: Load) -> int | None:
        """Receive, and answer small requests that come alone; how much came that is not one.

        None where nothing more came, or the client did not take an answer.
        """
        receive_into = self.sock.recv_into
        send = self.sock.send
        answer_small = self.protocol.answer_small
        inbox, outbox = buffers.inbox, buffers.outbox
        header_size = HEADER.size
        used = outbox[:0]
        try:
            received = receive_into(inbox, 0, 0 if load.quiet else socket.MSG_DONTWAIT)
            # Back to `recv` at once: while this works on after `send`, the woken client
            # looks to the scheduler as if it needed another CPU.
            while length := answer_small(inbox, received, outbox):
                size = header_size + length
                used = outbox[: max(size, len(used))]
                try:
                    sent = send(outbox[:size], 0 if load.quiet else socket.MSG_DONTWAIT)
                except BlockingIOError:
                    sent = 0
                if sent < size:
                    self._replies.append(Reply(bytes(outbox[:header_size]), length))
                    self._advance(sent)
                    return None
                if not load.quiet:
                    return None
                received = receive_into(inbox)
        except BlockingIOError:
            return None
        finally:
            # The last reply is overwritten by the next one, or here: before the
            # connection is put back, so SOCKET_WAIT_SECONDS seconds after it at the latest.
            wipe(used)
        return received

    def _answer_held(self, buffers: Buffers, load: Load) -> Wait:
        """Finish the replies under way and answer the requests that are complete."""
        while True:
            if self._remaining() and self._generator.state is ServiceState.FAILED:
                return Wait.END  # in the middle of a reply there is no other way to say so
            wait = self._collect(CHUNK_BYTES if load.quiet else TURN_BYTES)
            if not self._replies:
                return wait
            if not self._send(buffers, load):
                return Wait.WRITABLE
            if self.protocol.closing and not self._replies:
                return Wait.END
            if not load.quiet:
                return Wait.YIELD if self._replies else wait

    def _collect(self, most: int) -> Wait:
        """Take replies, up to a cost, from the protocol; says what the next one waits for."""
        planned = self._remaining()
        while planned < most and not self.protocol.closing:
            reply = self.protocol.next()
            if isinstance(reply, Wait):
                return reply
            self._replies.append(reply)
            planned += reply.cost
        return Wait.YIELD

    def _send(self, buffers: Buffers, load: Load) -> bool:
        """Send the replies under way; False when the client does not take them."""
        outbox = buffers.outbox[: self._chunk if load.quiet else min(self._chunk, TURN_BYTES)]
        used = outbox[:0]
        stream: Keystream | None = None
        words = self._generator.words
        generation = words[PageReader.GENERATION]
        total = self._remaining()
        try:
            if total > SMALL_BYTES:
                stream = self._generator.keystream()
            while self._replies:
                if stream is not None and words[PageReader.GENERATION] != generation:
                    break  # what is left is made of the new seed
                # Then nobody waits for the lock, and one call sends it as it is taken.
                alone = load.alone
                with nullcontext() if stream is None else load.bulk:
                    size = self._fill(outbox, stream)
                    used = outbox[: max(size, len(used))]
                    sent = 0 if alone else self._push(outbox[:size], socket.MSG_DONTWAIT)
                if sent < size and load.quiet:
                    sent += self._push(outbox[sent:size])
                self._advance(sent)
                if sent < size:
                    return False
                if not load.quiet:
                    break
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
