"""Which connection is served by which thread.

One thread has the lead: it watches the epoll set, in which each connection is with
EPOLLONESHOT, and takes what is ready in turns that are fair between users (turns.py).
While few are busy it hands the lead on and stays with its connection: that blocks in
`recv`, the fastest answer there is.  When more are busy than threads can stay, nobody
does: who has the lead keeps it and serves one short turn after another by itself, since
only one thread at a time can run Python anyhow.  So thousands of idle connections cost
no thread, a few busy ones no epoll, and a crowd delays another user by one turn of each
user in it.
"""

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from hwentropy_core.page import ServiceState
from hwentropyd.channel import Assign

from . import protocols
from .connection import Buffers, ClientConnection, Load, OneTurn
from .drbg import WorkerDrbg
from .protocols import FreshAnswer, LeaseTerms, Wait
from .quota import Quotas
from .turns import Turns

log = logging.getLogger(__name__)

#: Threads that may stay with a connection each.  As many as a core keeps busy in turns
#: without waiting for the interpreter's lock; beyond it one thread serves as many requests.
STAYING: Final = 4

#: Threads of a worker: one more has the lead.
THREADS: Final = STAYING + 1

#: Seconds that a crowd is remembered, so that what is busy a hundred times a second is not
#: taken for quiet in between.
CROWD_SECONDS: Final = 0.05

#: Seconds between two looks at whether a paced stream may go on.
PAUSE_SECONDS: Final = 0.05

#: Events taken at a time: all that are ready, so that none stands in the kernel's queue
#: behind another user's crowd.
MAX_EVENTS: Final = 4096

#: How long a thread waits on a quiet or full connection before it puts it back,
#: in seconds.  Longer than the think time of a busy client (microseconds), short
#: enough that the one newcomer who finds all threads waiting does not notice.
SOCKET_WAIT_SECONDS: Final = 0.01

_EVENTS: Final = {
    Wait.INPUT: select.EPOLLIN | select.EPOLLONESHOT,
    Wait.WRITABLE: select.EPOLLOUT | select.EPOLLONESHOT,
    # A socket with room is ready at once, behind those that already are.
    Wait.YIELD: select.EPOLLOUT | select.EPOLLONESHOT,
    # Brings it to the thread with the lead, which keeps it until its time.
    Wait.PAUSE: select.EPOLLOUT | select.EPOLLONESHOT,
    # Only its end wakes it (EPOLLHUP is always reported); else `resume` does.
    Wait.SEED: select.EPOLLONESHOT,
    Wait.FRESH: select.EPOLLONESHOT,
}

#: What a thread may wait for itself, with the connection.
_STAYS: Final = {Wait.INPUT, Wait.WRITABLE, Wait.YIELD}


class Engine:
    """The connections of a worker and the threads that serve them."""

    def __init__(
        self,
        generator: WorkerDrbg,
        terms: LeaseTerms,
        ended: Callable[[int], None],
        want_fresh: Callable[[int], None],
    ) -> None:
        """`ended` and `want_fresh` are called with a connection's id, from any thread."""
        self.quiet = True
        self.bulk = threading.Lock()
        self._generator = generator
        self._terms = terms
        self._ended = ended
        self._want_fresh = want_fresh
        self._epoll = select.epoll()
        self._lock = threading.Lock()
        self._by_fd: dict[int, ClientConnection] = {}
        self._waiting: dict[int, tuple[ClientConnection, Wait]] = {}
        self._requests_of_ended = 0
        self._empty = threading.Event()
        self._draining = False
        self._quotas = Quotas(time.monotonic)
        self._staying = 0
        # What is only ever touched with the lead:
        self._lead = threading.Lock()
        self._turns: Turns[ClientConnection] = Turns()
        self._paused: deque[tuple[float, ClientConnection]] = deque()
        self._crowded_until = 0.0
        self._turn = OneTurn(self.bulk)

    @property
    def alone(self) -> bool:
        """Whether no thread but the one that asks has a connection."""
        return self.quiet and self._staying <= 1

    def start(self) -> None:
        """Start the threads."""
        for number in range(THREADS):
            threading.Thread(target=self._run, name=f"serve-{number}", daemon=True).start()

    def adopt(self, sock: socket.socket, assigned: Assign) -> None:
        """Serve a connection from now on."""
        sock.setblocking(True)
        most = struct.pack("ll", 0, round(SOCKET_WAIT_SECONDS * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, most)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, most)
        quota = self._quotas.of(assigned)
        protocol = protocols.make(assigned, self._generator, self._terms, quota)
        connection = ClientConnection(
            sock, assigned.id, assigned.user, protocol, self._generator
        )
        with self._lock:
            self._by_fd[sock.fileno()] = connection
        try:
            self._epoll.register(sock, _EVENTS[Wait.INPUT if protocol.reads else Wait.YIELD])
        except OSError as error:
            # fs.epoll.max_user_watches is used up: only this client is turned away.
            log.warning("a connection could not be watched: %s", error.strerror)
            self._end(connection)

    def resume(self) -> None:
        """Serve again what waits for a seed: the state on the page has changed."""
        with self._lock:
            ready = [c for c, wait in self._waiting.values() if wait is Wait.SEED]
            for connection in ready:
                del self._waiting[connection.id]
        for connection in ready:
            self._put_back(connection, Wait.YIELD)

    def take_refused(self) -> list[tuple[int, int, int]]:
        """User, requests over quota, requests not permitted: new ones since the last call."""
        return self._quotas.take_refused()

    def answer_fresh(self, number: int, answer: FreshAnswer) -> None:
        """Tell a connection how its request for fresh entropy ended."""
        with self._lock:
            waiting = self._waiting.get(number)
            if waiting is None or waiting[1] is not Wait.FRESH:
                return
            del self._waiting[number]
        connection = waiting[0]
        connection.protocol.fresh = answer
        self._put_back(connection, Wait.YIELD)

    def drain(self, seconds: float) -> None:
        """Take no more requests, answer those that came, for so many seconds at most."""
        self._draining = True
        with self._lock:
            connections = list(self._by_fd.values())
            self._empty.clear()  # it may have been without connections before
            waiting = [connection for connection, _ in self._waiting.values()]
        for connection in waiting:
            self._end(connection)
        for connection in connections:
            # What has come can still be read, after it the end; a stream just ends.
            how = socket.SHUT_RD if connection.protocol.reads else socket.SHUT_RDWR
            with contextlib.suppress(OSError):
                connection.sock.shutdown(how)
        if connections:
            self._empty.wait(seconds)

    def totals(self) -> int:
        """Requests answered since the start."""
        with self._lock:
            return self._requests_of_ended + sum(
                c.protocol.requests for c in self._by_fd.values()
            )

    def _run(self) -> None:
        buffers = Buffers()
        while True:
            with self._lead:
                connection = self._lead_until_quiet(buffers)
            wait = self._serve(connection, buffers, self)
            with self._lock:
                self._staying -= 1
            self._put_back(connection, wait)

    def _lead_until_quiet(self, buffers: Buffers) -> ClientConnection:
        """Give turns; returns, to be stayed with, a connection that had one while it is quiet.

        Its turn comes first, as to hand the lead on takes as long as a small answer.
        """
        while True:
            connection = self._next()
            wait = self._serve(connection, buffers, self._turn)
            if self.quiet and wait in _STAYS:
                with self._lock:
                    self._staying += 1
                return connection
            if wait is Wait.YIELD:
                self._turns.add(connection.user, connection)
            else:
                self._put_back(connection, wait)

    def _next(self) -> ClientConnection:
        """Wait for something to be ready, and take the next in turn."""
        turns = self._turns
        while True:
            now = time.monotonic()
            while self._paused and self._paused[0][0] <= now:
                resumed = self._paused.popleft()[1]
                turns.add(resumed.user, resumed)
            timeout = 0.0 if turns else self._paused[0][0] - now if self._paused else -1
            for fd, event in self._epoll.poll(timeout, MAX_EVENTS):
                connection = self._by_fd.get(fd)
                if connection is None:
                    continue
                if event & select.EPOLLHUP and not event & select.EPOLLIN:
                    self._end(connection)
                elif connection.paused:
                    connection.paused = False
                    self._paused.append((now + PAUSE_SECONDS, connection))
                else:
                    turns.add(connection.user, connection)
            if turns:
                if self._staying + len(turns) > STAYING:
                    self._crowded_until = now + CROWD_SECONDS
                self.quiet = now >= self._crowded_until and self._staying < STAYING
                return turns.take()

    def _serve(self, connection: ClientConnection, buffers: Buffers, load: Load) -> Wait:
        try:
            return connection.serve(buffers, load)
        except Exception:
            # A bug, but of this connection only: the thread is needed.
            log.exception("a connection was ended by an unforeseen error")
            return Wait.END

    def _put_back(self, connection: ClientConnection, wait: Wait) -> None:
        if wait is Wait.END:
            self._end(connection)
            return
        if self._draining and wait in {Wait.SEED, Wait.FRESH}:
            self._end(connection)  # nobody answers these any more
            return
        with self._lock:
            if self._by_fd.get(connection.sock.fileno()) is not connection:
                return  # it ended while it was on its way back
            if wait in {Wait.SEED, Wait.FRESH}:
                self._waiting[connection.id] = (connection, wait)
            connection.paused = wait is Wait.PAUSE
            self._epoll.modify(connection.sock, _EVENTS[wait])
        if wait is Wait.FRESH:
            self._want_fresh(connection.id)
        elif wait is Wait.SEED and self._generator.state is not ServiceState.STARTING:
            self.resume()  # the seed came between the look at the page and now

    def _end(self, connection: ClientConnection) -> None:
        with self._lock:
            if self._by_fd.pop(connection.sock.fileno(), None) is None:
                return
            self._waiting.pop(connection.id, None)
            self._requests_of_ended += connection.protocol.requests
            empty = not self._by_fd
        connection.close()
        self._ended(connection.id)
        if empty:
            self._empty.set()
