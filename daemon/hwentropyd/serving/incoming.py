"""A connection on its way from the acceptor to a worker."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from hwentropyd.channel import Assign
from hwentropyd.role import Role

from .identity import Peer
from .shares import Admission


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """Accepted, and not yet a worker's."""

    sock: socket.socket
    role: Role
    peer: Peer
    admission: Admission
    may_have_fresh: bool
    admit_fresh: Callable[[Admission], bool]
    """Whether a request with prediction resistance is within its user's rate."""
    ended: Callable[[Admission], None]
    """Called once, when the connection is over, wherever it was by then."""

    def assign(self, number: int) -> Assign:
        """The message that gives it to a worker as the connection of this number."""
        peer, allowance = self.peer, self.admission.allowance
        return Assign(
            number,
            self.role,
            self.admission.user,
            peer.uid,
            peer.gid,
            peer.pid,
            self.may_have_fresh,
            allowance.requests_per_second or 0,
            allowance.bytes_per_second or 0,
            allowance.leases_per_second or 0,
        )

    def turn_away(self) -> None:
        """Close it: no worker takes it."""
        self.sock.close()
        self.ended(self.admission)
