"""What a worker speaks, one module each: requests in, replies and waits out, no socket.

`make` gives the protocol of a role; `hwentropyd.worker.connection` receives and sends.
"""

from typing import Final

from hwentropyd.role import Role
from hwentropyd.worker.drbg import WorkerDrbg

from .contract import LeaseTerms, Reply, ServerProtocol, Wait
from .native import NativeProtocol
from .stream import StreamProtocol

__all__ = ["LeaseTerms", "Reply", "ServerProtocol", "Wait", "make"]

_BY_ROLE: Final[dict[Role, type[NativeProtocol | StreamProtocol]]] = {
    Role.ENTROPY: NativeProtocol,
    Role.STREAM: StreamProtocol,
}


def make(role: Role, generator: WorkerDrbg, terms: LeaseTerms) -> ServerProtocol:
    """The protocol of a connection of this role; KeyError for one that no worker serves."""
    return _BY_ROLE[role](generator, terms)
