"""What supervisor and worker say to each other over their socket pair.

One message is one SEQPACKET datagram: a kind byte and fixed fields, native byte
order (both ends are the same program).  Kinds a worker takes: a connection
(with its descriptor), a seed, an answer to a request for fresh entropy, an order to
forget, a wake-up after a state change, a ping, an order to test itself, a stop.  Kinds it
sends: ready, a connection that ended, a request for fresh entropy, bytes drawn, a pong,
that its tests passed.

Both ends trust each other; a message that does not parse is a bug and ends the
worker, which is then replaced.

Datagrams are encoded into buffers, and decoded from ones, that can be overwritten: who
sends or receives a seed does.
"""

import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from hwentropy_core.limits import KEY_BYTES

from .role import Role

#: Longer than every message.
MESSAGE_BYTES: Final = 128

_ROLES: Final = tuple(Role)
_GENERATION: Final = struct.Struct("=Q")


class Message:
    """Base: a kind byte and the fields in `layout`."""

    kind: ClassVar[bytes]
    layout: ClassVar[struct.Struct]

    def encode(self) -> bytearray:
        """The datagram."""
        values = [getattr(self, name) for name in self.__dataclass_fields__]  # type: ignore[attr-defined]
        return self._packed(values)

    @classmethod
    def decode(cls, payload: memoryview) -> Self:
        """Read the fields of a datagram whose kind byte was this class's."""
        return cls(*cls.layout.unpack(payload))

    def _packed(self, values: list[Any]) -> bytearray:
        datagram = bytearray(1 + self.layout.size)
        datagram[:1] = self.kind
        self.layout.pack_into(datagram, 1, *values)
        return datagram


@dataclass(frozen=True, slots=True)
class Assign(Message):
    """Supervisor: serve this connection; its descriptor comes with the message."""

    kind = b"C"
    layout = struct.Struct("=QBQIIi?QQQ")
    id: int
    role: Role
    user: int
    """Number of the share that it belongs to (hwentropyd.serving.shares)."""
    uid: int
    gid: int
    pid: int
    """As SO_PEERCRED says; 0 where the peer's process is not visible from here."""
    may_have_fresh: bool
    """Whether the user may ask for prediction resistance."""
    requests_per_second: int
    bytes_per_second: int
    leases_per_second: int
    """Of all the user's connections; 0: no limit."""

    def encode(self) -> bytearray:
        """The datagram."""
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        values[1] = _ROLES.index(self.role)
        return self._packed(values)

    @classmethod
    def decode(cls, payload: memoryview) -> Self:
        """Read the fields; raises ValueError for a role that there is not."""
        number, role, *rest = cls.layout.unpack(payload)
        if role >= len(_ROLES):
            raise ValueError("unknown role in a message between supervisor and worker")
        return cls(number, _ROLES[role], *rest)


@dataclass(frozen=True, slots=True, repr=False)
class Seed(Message):
    """Supervisor: seed of this generation; the page moves right after."""

    kind = b"S"
    layout = struct.Struct(f"=Q{KEY_BYTES}s")
    generation: int
    seed: bytearray
    """Its holder overwrites it."""

    @classmethod
    def decode(cls, payload: memoryview) -> Self:
        """Read the fields."""
        if len(payload) != cls.layout.size:
            raise struct.error("a seed of another size")
        # Not by `unpack`, whose `bytes` could not be overwritten.
        (generation,) = _GENERATION.unpack_from(payload)
        return cls(generation, bytearray(payload[_GENERATION.size :]))


@dataclass(frozen=True, slots=True)
class Fresh(Message):
    """Supervisor: whether a connection's request for fresh entropy was met."""

    kind = b"F"
    layout = struct.Struct("=Q??")
    id: int
    met: bool
    live: bool
    """Whether it was met by live sources."""


@dataclass(frozen=True, slots=True)
class FreshRefused(Message):
    """Supervisor: a connection's user has had its share of fresh entropy for now."""

    kind = b"O"
    layout = struct.Struct("=Q")
    id: int


@dataclass(frozen=True, slots=True)
class Forget(Message):
    """Supervisor: erase the generator; the page has moved, and a seed comes later."""

    kind = b"E"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Wake(Message):
    """Supervisor: the state on the page changed; check what waits."""

    kind = b"W"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Supervisor: are you there?"""

    kind = b"?"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Check(Message):
    """Supervisor: run the known-answer tests; end if one fails."""

    kind = b"K"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Supervisor: answer what has begun, then end."""

    kind = b"Q"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """Worker: it serves."""

    kind = b"R"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Checked(Message):
    """Worker: its known-answer tests passed."""

    kind = b"A"
    layout = struct.Struct("=")


@dataclass(frozen=True, slots=True)
class Closed(Message):
    """Worker: a connection has ended."""

    kind = b"D"
    layout = struct.Struct("=Q")
    id: int


@dataclass(frozen=True, slots=True)
class WantFresh(Message):
    """Worker: a connection asked for prediction resistance."""

    kind = b"P"
    layout = struct.Struct("=Q")
    id: int


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Worker: requests of a user that it refused since the last such message."""

    kind = b"N"
    layout = struct.Struct("=QQQ")
    user: int
    over_quota: int
    not_permitted: int


@dataclass(frozen=True, slots=True)
class Drawn(Message):
    """Worker: bytes handed out since the last such message."""

    kind = b"B"
    layout = struct.Struct("=Q")
    count: int


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """Worker: it is there; totals since it started, and bytes since the last message."""

    kind = b"!"
    layout = struct.Struct("=QQQ")
    requests: int
    bytes: int
    drawn: int


_KINDS: Final[dict[bytes, type[Message]]] = {
    one.kind: one
    for one in (
        *(Assign, Seed, Fresh, FreshRefused, Forget, Wake, Ping, Check, Stop),
        *(Ready, Closed, WantFresh, Refused, Drawn, Pong, Checked),
    )
}


def decode(datagram: bytes | bytearray | memoryview) -> Message:
    """The message in a datagram; raises ValueError when it is none."""
    view = memoryview(datagram)
    message = _KINDS.get(bytes(view[:1]))
    if message is None:
        raise ValueError("unknown kind of message between supervisor and worker")
    try:
        return message.decode(view[1:])
    except struct.error:
        raise ValueError("message of the wrong size between supervisor and worker") from None
