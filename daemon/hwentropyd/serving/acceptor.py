"""Accepts connections on the data sockets and has a worker take each.

What cannot be taken now stays in the kernel's backlog: while no worker has room
in its channel, or no descriptor is left, accepting rests for a moment.
"""

import asyncio
import errno
import socket
from abc import ABC, abstractmethod
from typing import Final

from .gate import Gate
from .listeners import Listener
from .workers import WorkerPool

#: Connections accepted in one turn of the event loop.
AT_ONCE: Final = 64

#: Seconds of rest: some hundred connections' work of a worker, hardly noticed by one.
REST_SECONDS: Final = 0.02

#: Why the kernel gives no connection now.
NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Watched(ABC):
    """A listening socket that the event loop watches from `start` to `stop`, but for rests."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._stopped = False

    def start(self) -> None:
        """Accept from now on."""
        self._loop.add_reader(self._sock, self._accept)

    def stop(self) -> None:
        """Leave newcomers to whoever listens next."""
        self._stopped = True
        self._loop.remove_reader(self._sock)

    @abstractmethod
    def _accept(self) -> None:
        """Take what connects; called when something does."""

    def _rest(self) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.call_later(REST_SECONDS, self._resume)

    def _resume(self) -> None:
        if not self._stopped:
            self.start()


class Acceptor(Watched):
    """One data socket."""

    def __init__(self, listener: Listener, gate: Gate, workers: WorkerPool) -> None:
        super().__init__(listener.sock)
        self._role = listener.role
        self._gate = gate
        self._workers = workers

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._workers.full:
                self._rest()
                return
            try:
                client, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in NO_ROOM:
                    continue  # the client has gone already
                self._rest()
                return
            incoming = self._gate.admit(client, self._role)
            if incoming is not None:
                self._workers.assign(incoming)
