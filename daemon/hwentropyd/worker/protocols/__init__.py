"""What a worker speaks, one module each: requests in, replies and waits out, no socket.

`make` gives that of a connection; `hwentropyd.worker.connection` receives and sends.
"""

from hwentropyd.channel import Assign
from hwentropyd.role import Role
from hwentropyd.worker.drbg import WorkerDrbg

from .contract import FreshAnswer, LeaseTerms, Quota, Reply, ServerProtocol, Wait
from .native import NativeProtocol
from .stream import StreamProtocol

__all__ = ["FreshAnswer", "LeaseTerms", "Quota", "Reply", "ServerProtocol", "Wait", "make"]


def make(
    assigned: Assign, generator: WorkerDrbg, terms: LeaseTerms, quota: Quota
) -> ServerProtocol:
    """The protocol of a connection; ValueError for a role that no worker serves."""
    match assigned.role:
        case Role.ENTROPY:
            fresh = assigned.may_have_fresh
            return NativeProtocol(generator, terms, quota, may_have_fresh=fresh)
        case Role.STREAM:
            return StreamProtocol(generator, quota)
        case _:
            raise ValueError(f"no worker serves connections of role {assigned.role}")
