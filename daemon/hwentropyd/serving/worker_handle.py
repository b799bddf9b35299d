"""One serving process, seen from the supervisor: what it is told, and how it fares.

No message to it is lost: what the channel does not take at once waits its turn here.
A connection is not a message that waits: the channel takes it now, or another worker does.
"""

import asyncio
import errno
import logging
import socket
from collections import deque
from typing import Final

from hwentropy_core.memory import wipe
from hwentropy_core.status import WorkerStatus
from hwentropyd import channel
from hwentropyd.child import Child

from .incoming import Incoming

log = logging.getLogger(__name__)

#: Seconds without an answer after which a worker gets no connection: a busy one takes
#: some twenty milliseconds, and another one is there, or the backlog, meanwhile.
ANSWER_SECONDS: Final = 1.0

#: The channel is full: a worker is slower than messages or connections come.
_FULL: Final = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}


class WorkerHandle:
    """One worker process."""

    def __init__(
        self, child: Child, number: int, loop: asyncio.AbstractEventLoop, now: float
    ) -> None:
        self._loop = loop
        self._queue: deque[bytearray] = deque()
        self.child = child
        self.sock = child.sock
        self.number = number
        self.started = now
        self.asked: float | None = None
        """When the ping was sent that it has not answered yet."""
        self.silent_looks = 0
        """How often that was seen since."""
        self.checked = False
        """Whether its known-answer tests have passed since that was last cleared."""
        self.ready = False
        self.hung_up = False
        """Whether its channel is closed, and its end to be reported."""
        self.connections: dict[int, Incoming] = {}
        """By number; the socket of each is closed here."""
        self.requests = 0
        self.bytes = 0

    @property
    def pid(self) -> int:
        """Its process id; 0 until it is known to be started."""
        return self.child.pid

    @property
    def waiting(self) -> int:
        """Messages that the channel has not taken yet."""
        return len(self._queue)

    def serves(self, now: float) -> bool:
        """Whether it may be given a connection: it is ready, and answers."""
        waits = 0.0 if self.asked is None else now - self.asked
        return self.ready and not self.hung_up and waits < ANSWER_SECONDS

    def send(self, message: channel.Message) -> None:
        """Send a message, in its turn if the channel is full.

        The queue is bounded by the answers to its own requests and by the seeds of
        workers.SILENT_LOOKS, at most four a second (seeder.FRESH_SECONDS) beside those of
        `reseed_bytes`.  To one that is closed there is nothing to say: a request of its
        may be met in that moment.
        """
        if self.sock.fileno() < 0:
            return
        self._queue.append(message.encode())
        if len(self._queue) == 1:
            self._flush()

    def ask(self, now: float) -> None:
        """Send it a ping."""
        self.asked = now
        self.send(channel.Ping())

    def hand_over(self, message: channel.Assign, fd: int) -> bool:
        """Give it a connection; False when it cannot take it now or ever."""
        return not self._queue and self._sent(message.encode(), [fd])

    def close(self) -> None:
        """Kill it and close the channel."""
        self._loop.remove_reader(self.sock)
        self._loop.remove_writer(self.sock)
        self._loop.remove_reader(self.child.report)
        self._drop_queue()
        self.child.kill()
        self.child.close()

    def _flush(self) -> None:
        while self._queue and self._sent(self._queue[0], []):
            wipe(self._queue.popleft())  # it may have been a seed
        if self._queue:
            self._loop.add_writer(self.sock, self._flush)
        else:
            self._loop.remove_writer(self.sock)

    def _sent(self, datagram: bytearray, fds: list[int]) -> bool:
        try:
            socket.send_fds(self.sock, [datagram], fds)
        except OSError as error:
            if error.errno in _FULL:
                return False
            # Its end is closed: there is nobody to tell, and its own end comes next.
            log.debug("worker %d: %s", self.pid, error.strerror)
            self._drop_queue()
            return False
        return True

    def _drop_queue(self) -> None:
        while self._queue:
            wipe(self._queue.popleft())

    def status(self, now: float) -> WorkerStatus:
        """What `hwentropy status` shows of it."""
        return WorkerStatus(
            pid=self.pid,
            connections=len(self.connections),
            requests=self.requests,
            bytes=self.bytes,
            serving=self.serves(now),
        )
