"""Who is let in: identity, rights and shares, asked of each accepted connection.

The one place that refuses.  What is refused is told to its client, once a minute to the
log, and counted for the status.
"""

import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

from hwentropy_core.wire import Status, encode_reply
from hwentropyd.role import Role

from . import identity
from .access import Rules
from .incoming import Incoming
from .shares import Admission, Shares

log = logging.getLogger(__name__)

_CONNECTION: Final = (
    "has its share of connections or of reply memory ([limits] connections, unread_bytes): "
    "another connection is refused"
)
_SOCKET: Final = "may not use {0}.sock ([access] {0}): a connection is refused"
_REQUEST: Final = "asks for more than it may have ([limits] {}): requests are refused"
_FRESH: Final = (
    "may not ask for fresh entropy ([access] prediction_resistance): requests are refused"
)


class Gate:
    """Lets connections in."""

    def __init__(self, shares: Shares, rules: Rules, clock: Callable[[], float]) -> None:
        """`clock` in seconds, for how often the log hears of a user."""
        self._shares = shares
        self._rules = rules
        self._clock = clock

    def admit(self, client: socket.socket, role: Role) -> Incoming | None:
        """The connection with its share; None, and it is told and closed, if refused."""
        try:
            peer = identity.of(client)
        except OSError:
            client.close()  # it has gone already
            return None
        rights = self._rules.of(peer)
        if role not in rights.roles:
            self._shares.note_not_permitted(peer.key)
            self._refuse(client, role, peer.key, Status.NOT_PERMITTED)
            return None
        admission = self._shares.admit(peer.key, rights.allowance, operator=rights.operator)
        if admission is None:
            self._refuse(client, role, peer.key, Status.OVER_QUOTA)
            return None
        with contextlib.suppress(OSError):  # a buffer of the kernel's size costs more, no more
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, admission.buffer.size)
        return Incoming(
            client, role, peer, admission, rights.fresh, self._admit_fresh, self._shares.release
        )

    def note_refused(self, user: int, over_quota: int, not_permitted: int) -> None:
        """Take note of requests that a worker refused the user of this number."""
        key = self._shares.note_refused(user, over_quota, not_permitted)
        if key is None:
            return
        rates = ", ".join(self._shares.rates(key))
        self._say(key, _REQUEST.format(rates) if over_quota else _FRESH)

    def _admit_fresh(self, admission: Admission) -> bool:
        admitted = self._shares.admit_fresh(admission, self._clock())
        if not admitted:
            self._say(admission.key, _REQUEST.format("fresh_per_second"))
        return admitted

    def _refuse(
        self, client: socket.socket, role: Role, key: identity.ShareKey, status: Status
    ) -> None:
        """Before any request of it was read, so with tag 0 (docs/protocol.md)."""
        with client, contextlib.suppress(OSError):
            if role is Role.ENTROPY:
                client.send(encode_reply(status, 0), socket.MSG_DONTWAIT)
        refused = status is Status.NOT_PERMITTED
        self._say(key, _SOCKET.format(role) if refused else _CONNECTION)

    def _say(self, key: identity.ShareKey, what: str) -> None:
        if line := self._shares.to_say(key, what, self._clock()):
            log.warning("%s", line)
