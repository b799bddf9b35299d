"""The worker process: `hwentropyd.worker CHANNEL_FD PAGE_FD LEASE_BYTES LEASE_SECONDS`.

Started by the supervisor only.  Its main thread listens to the channel; when
the channel closes, the supervisor is gone and so is the worker, at once.
"""

import contextlib
import os
import socket
import sys
from typing import Final, NoReturn

from hwentropy_core.page import PageReader
from hwentropy_core.wire import Status
from hwentropyd import channel, confinement
from hwentropyd.operating import logs, signals, streams

from .drbg import WorkerDrbg
from .engine import Engine
from .protocols import LeaseTerms

#: Seconds for what has begun when told to stop; the supervisor allows 0.9 in all.
DRAIN_SECONDS: Final = 0.6


class WorkerProcess:
    """A worker's end of the channel."""

    def __init__(self, sock: socket.socket, terms: LeaseTerms) -> None:
        self._sock = sock
        self._generator = WorkerDrbg(PageReader(terms.page_fd), self._report_drawn)
        self._engine = Engine(self._generator, terms, self._connection_ended, self._want_fresh)

    def run(self) -> None:
        """Serve until told to stop or the supervisor is gone."""
        self._engine.start()
        self._send(channel.Ready())
        while True:
            try:
                datagram, fds, _, _ = socket.recv_fds(self._sock, channel.MESSAGE_BYTES, 1)
            except ConnectionResetError:
                return  # the supervisor ended without having read all that we sent
            if not datagram:
                return
            message = channel.decode(datagram)
            if isinstance(message, channel.Assign):
                self._adopt(message, fds)
            elif isinstance(message, channel.Seed):
                self._generator.seed(message.generation, bytearray(message.seed))
            elif isinstance(message, channel.Fresh):
                met = Status.OK if message.met else Status.FAILED_CLOSED
                self._engine.answer_fresh(message.id, met)
            elif isinstance(message, channel.FreshRefused):
                self._engine.answer_fresh(message.id, Status.OVER_QUOTA)
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
        self._send(channel.Drawn(self._generator.take_drawn()))

    def _send(self, message: channel.Message) -> None:
        # A supervisor that is gone is noticed by the main thread's receive.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._sock.send(message.encode())


def main() -> NoReturn:
    """Entry point of the process."""
    signals.ignore()
    streams.install(held=True)
    streams.run(_run)


def _run() -> NoReturn:
    channel_fd, page_fd, lease_bytes, lease_seconds = (int(word) for word in sys.argv[1:])
    logs.set_up()
    terms = LeaseTerms(lease_bytes, lease_seconds, page_fd)
    worker = WorkerProcess(socket.socket(fileno=channel_fd), terms)
    confinement.raise_descriptor_limit()
    confinement.confine_worker()
    streams.release()
    worker.run()
    streams.finish(streams.STOP_SECONDS)
    # Threads may be in the middle of a send to a client that does not read.
    os._exit(0)


if __name__ == "__main__":
    main()
