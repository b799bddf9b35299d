"""A connection on its way from the acceptor to a worker."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from hwentropyd.channel import Assign
from hwentropyd.role import Role

from .identity import Peer


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """Accepted, and not yet a worker's."""

    sock: socket.socket
    role: Role
    peer: Peer
    user: int
    """Number of its share."""
    ended: Callable[[], None]
    """Called once, when the connection is over, wherever it was by then."""

    def assign(self, number: int) -> Assign:
        """The message that gives it to a worker as the connection of this number."""
        peer = self.peer
        return Assign(number, self.role, self.user, peer.uid, peer.gid, peer.pid)

    def turn_away(self) -> None:
        """Close it: no worker takes it."""
        self.sock.close()
        self.ended()
