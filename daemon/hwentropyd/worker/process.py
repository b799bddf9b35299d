"""The worker process: its channel to the supervisor.

The template forks it.  Its first message is its settings, with the generation page.
Its main thread listens to the channel; when the channel closes, the supervisor is
gone and so is the worker, at once.
"""

import array
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from hwentropy_core import known_answers
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader
from hwentropy_core.wire import Status
from hwentropyd import channel, confinement

from .drbg import WorkerDrbg
from .engine import Engine
from .outbox import Outbox
from .protocols import FreshAnswer, LeaseTerms
from .settings import WorkerSettings

#: Seconds for what has begun when told to stop; the supervisor allows 0.85 in all.
DRAIN_SECONDS: Final = 0.6

#: Longer than the settings.
_SETTINGS_BYTES: Final = 4096

#: Room for one descriptor.
_ANCILLARY_BYTES: Final = socket.CMSG_LEN(array.array("i").itemsize)


class WorkerProcess:
    """A worker's end of the channel."""

    def __init__(self, sock: socket.socket, terms: LeaseTerms) -> None:
        self._sock = sock
        self._outbox = Outbox(sock)
        self._send = self._outbox.send
        self._generator = WorkerDrbg(PageReader(terms.page_fd), self._report_drawn)
        self._engine = Engine(self._generator, terms, self._connection_ended, self._want_fresh)

    def run(self) -> None:
        """Serve until told to stop or the supervisor is gone."""
        self._engine.start()
        self._send(channel.Ready())
        buffer = memoryview(bytearray(channel.MESSAGE_BYTES))
        while True:
            try:
                size, fds = _receive(self._sock, buffer)
            except ConnectionResetError:
                return  # the supervisor ended without having read all that we sent
            if not size:
                return
            message = channel.decode(buffer[:size])
            wipe(buffer[:size])
            if isinstance(message, channel.Assign):
                self._adopt(message, fds)
            elif isinstance(message, channel.Seed):
                self._generator.seed(message.generation, message.seed)
            elif isinstance(message, channel.Forget):
                self._generator.forget()
            elif isinstance(message, channel.Fresh):
                status = Status.OK if message.met else Status.FAILED_CLOSED
                self._engine.answer_fresh(message.id, FreshAnswer(status, live=message.live))
            elif isinstance(message, channel.FreshRefused):
                self._engine.answer_fresh(message.id, FreshAnswer(Status.OVER_QUOTA))
            elif isinstance(message, channel.Check):
                known_answers.check()
                self._send(channel.Checked())
            elif isinstance(message, channel.Wake):
                self._engine.resume()
            elif isinstance(message, channel.Ping):
                for refused in self._engine.take_refused():
                    self._send(channel.Refused(*refused))
                totals = self._engine.totals()
                self._send(
                    channel.Pong(totals, self._generator.drawn, self._generator.take_drawn())
                )
            elif isinstance(message, channel.Stop):
                self._engine.drain(DRAIN_SECONDS)
                return

    def _adopt(self, message: channel.Assign, fds: list[int]) -> None:
        if not fds:
            # No descriptor was free for it (MSG_CTRUNC), so the kernel has closed it.
            # Only that client is turned away.
            self._connection_ended(message.id)
            return
        self._engine.adopt(socket.socket(fileno=fds[0]), message)

    def _connection_ended(self, number: int) -> None:
        self._send(channel.Closed(number))

    def _want_fresh(self, number: int) -> None:
        self._send(channel.WantFresh(number))

    def _report_drawn(self) -> None:
        # Else it is said when the channel takes messages again, after the next draw.
        if not self._outbox.blocked:
            self._send(channel.Drawn(self._generator.take_drawn()))


def _receive(sock: socket.socket, buffer: memoryview) -> tuple[int, list[int]]:
    """The next datagram into `buffer`, which its caller overwrites; a descriptor with it."""
    size, ancillary, _, _ = sock.recvmsg_into([buffer], _ANCILLARY_BYTES)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data)
    return size, fds.tolist()


def prepare(sock: socket.socket) -> Callable[[], None]:
    """Take the settings and give up every right; returns what serves.

    Raises KnownAnswerError where this process would compute wrongly.
    """
    known_answers.check()
    datagram, fds, _, _ = socket.recv_fds(sock, _SETTINGS_BYTES, 1)
    settings = msgspec.msgpack.decode(datagram, type=WorkerSettings)
    terms = LeaseTerms(settings.lease_bytes, settings.lease_seconds, fds[0])
    worker = WorkerProcess(sock, terms)
    confinement.raise_descriptor_limit()
    confinement.confine_worker()
    return worker.run
