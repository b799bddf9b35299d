"""Accepts on the control socket, and says whose connection begins next.

To accept costs some 20 us, to begin a conversation twenty times that.  So the kernel's
queue, which knows no users, is emptied at once; who has hung up again without a word is
let go of, and of the rest one user's crowd is before another's connection with one turn
at most (worker/turns.py).  Places to wait are shared as everything is (serving/shares.py):
of a user who has its share the one that waits longest gives way, and an operator always
has a place.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from hwentropyd.serving.acceptor import NO_ROOM, Watched
from hwentropyd.serving.identity import credentials
from hwentropyd.serving.shares import Budget
from hwentropyd.worker.turns import Turns

#: Connections taken from the kernel in one turn of the event loop: 5 ms of it.
AT_ONCE: Final = 256


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end.  Raises OSError."""
    return credentials(sock)[1]


def is_operator(uid: int) -> bool:
    """Whether the reserve is open to this user."""
    return uid in {0, os.geteuid()}


class ControlAcceptor(Watched):
    """One listening socket, watched from its making to `close`."""

    def __init__(
        self,
        sock: socket.socket,
        most: int,
        places: int,
        begin: Callable[[socket.socket, int], None],
        uid_of: Callable[[socket.socket], int] = peer_uid,
    ) -> None:
        """`begin` is given connections with their user; so many `places` are there to wait.

        Of `most` connections at a time an eighth begin in one turn of the event loop, so
        that each has seven more for its first call to come before a crowd has made it the
        longest idle one.
        """
        super().__init__(sock)
        self._begin = begin
        self._uid_of = uid_of
        self._in_a_turn = max(1, most // 8)
        self._places = Budget(places)
        self._turns: Turns[tuple[int, socket.socket]] = Turns()
        """Those that gave way too, closed."""
        self._waiting: dict[int, deque[socket.socket]] = {}
        """By user, in their order."""
        self.start()

    def close(self) -> None:
        """Leave newcomers to whoever listens next; what waits is closed."""
        self.stop()
        while self._turns:
            self._turns.take()[1].close()

    def _accept(self) -> None:
        idle = not self._turns
        for _ in range(AT_ONCE):
            try:
                client, _ = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in NO_ROOM:
                    continue  # the client has gone already
                self._rest()
                break
            self._take(client)
        if idle and self._turns:
            self._loop.call_soon(self._go_on)

    def _take(self, client: socket.socket) -> None:
        """Give it its place among those that wait, if it is still there and has one."""
        client.setblocking(False)
        try:
            uid = self._uid_of(client)
        except OSError:
            client.close()
            return
        if _is_gone(client):
            client.close()
            return
        waiting = self._waiting.get(uid)
        if not self._places.charge(uid, 1, operator=is_operator(uid)):
            if not waiting:
                client.close()
                return
            waiting.popleft().close()
        self._waiting.setdefault(uid, deque()).append(client)
        self._turns.add(uid, (uid, client))

    def _go_on(self) -> None:
        begun = 0
        while self._turns and begun < self._in_a_turn:
            uid, client = self._turns.take()
            if client.fileno() < 0:
                continue  # it gave way
            waiting = self._waiting[uid]
            waiting.popleft()
            if not waiting:
                del self._waiting[uid]
            self._places.release(uid, 1)
            self._begin(client, uid)
            begun += 1
        if self._turns:
            self._loop.call_soon(self._go_on)


def _is_gone(client: socket.socket) -> bool:
    """Whether it has hung up, and left no call behind."""
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
