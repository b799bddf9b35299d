"""One call as bytes to send and replies to expect: no sockets, no clock.

Both clients are thin shells around this module:

    read(n)   ->  requests of at most 1 MiB, WINDOW of them on the way at a time
    replies   ->  in request order; each header is checked against its request
    status    ->  an exception of `hwentropy.errors`

A shell sends what `requests()` gives, hands the next eight bytes to `accept`,
reads as many payload bytes as that returns, and goes on until `finished`.

What this does not protect against: a server that sends well-formed replies of
its own choosing.  Whoever owns the socket's directory is trusted.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from hwentropy_core.errors import ProtocolError
from hwentropy_core.limits import MAX_READ
from hwentropy_core.page import ServiceState
from hwentropy_core.wire import HEADER, Op, Reply, ReplyFlag, RequestFlag, Status, decode_reply

from .errors import refusal

#: Requests on the way at a time.  Two keep the server busy while the client
#: takes a reply; four also cover the time either is off its CPU.  More only
#: make the requests of others wait longer.
WINDOW: Final = 4

#: Largest INFO payload that is read.  The reply of protocol 1 is below 300
#: bytes; the rest is room for later keys.
MAX_INFO: Final = 16 * 1024

#: Largest number in an INFO: what every reader of JSON holds exactly (RFC 8259 6).
MAX_NUMBER: Final = (1 << 53) - 1

#: Tag of a connection's first request.  Not 0, which the reply has that refuses the
#: connection itself.
FIRST_TAG: Final = 1

#: Statuses of a reply that refuses a connection.
AT_CONNECT: Final = frozenset({Status.NOT_PERMITTED, Status.OVER_QUOTA})

_STATES: Final = frozenset(state.label for state in ServiceState)
_TAGS: Final = 1 << 16
_OK: Final = int(Status.OK)
_READ: Final = int(Op.READ)
_PREDICTION_RESISTANCE: Final = int(RequestFlag.PREDICTION_RESISTANCE)
_DEGRADED: Final = int(ReplyFlag.DEGRADED)
_NOT_LIVE: Final = int(ReplyFlag.NOT_LIVE)


def read_flags(*, block: bool, prediction_resistance: bool) -> int:
    """The flags of a READ request."""
    flags = 0 if block else int(RequestFlag.DONT_BLOCK)
    if prediction_resistance:
        flags |= RequestFlag.PREDICTION_RESISTANCE
    return flags


@dataclass(frozen=True, slots=True)
class Info:
    """What the daemon says of itself to any client (op INFO)."""

    protocols: tuple[int, ...]
    """Versions of the native protocol it speaks."""
    version: str
    """The daemon's own version."""
    state: str
    """`starting`, `ok`, `degraded` or `failed`."""
    generation: int
    """Moves when every generator below the root has to rekey; 0 before the first seed."""
    max_read: int
    """Largest length of one READ request, in bytes."""


class Exchange:
    """One call on a connection.

    `marks` are the flags that any of its replies had; `in_order`, after a refusal,
    whether the connection can be used for the next call: no other reply is on the way and
    the server does not close.  `fresh` says that no reply has come on the connection yet:
    the first one may refuse the connection.
    """

    __slots__ = (
        "_accepted",
        "_flags",
        "_fresh",
        "_left",
        "_lengths",
        "_op",
        "_path",
        "_tag",
        "_unsent",
        "in_order",
        "marks",
    )

    def __init__(
        self, op: Op, size: int, flags: int, tag: int, path: str, *, fresh: bool = False
    ) -> None:
        """`tag` is the first request's; later ones count up from it, modulo 2^16."""
        self._fresh = fresh
        self._op = int(op)
        self._left = size
        self._unsent = max(1, -(-size // MAX_READ))
        self._flags = flags
        self._tag = tag
        self._path = path
        self._lengths: list[int] = []  # of the requests on the way, oldest first
        self._accepted = 0
        self.marks = 0
        self.in_order = False

    @classmethod
    def read(
        cls, size: int, flags: int, tag: int, path: str, *, fresh: bool = False
    ) -> "Exchange":
        """A READ of `size` bytes, at least one."""
        return cls(Op.READ, size, flags, tag, path, fresh=fresh)

    @classmethod
    def info(cls, tag: int, path: str, *, fresh: bool = False) -> "Exchange":
        """An INFO."""
        return cls(Op.INFO, 0, 0, tag, path, fresh=fresh)

    @property
    def finished(self) -> bool:
        """Whether the last header has come."""
        return not self._unsent and not self._lengths

    @property
    def next_tag(self) -> int:
        """The first tag that no request of this call has used."""
        return (self._tag + self._accepted + len(self._lengths)) % _TAGS

    def requests(self) -> bytes:
        """The requests to send now; empty while the window is full or nothing is left."""
        out = b""
        while self._unsent and len(self._lengths) < WINDOW:
            length = min(self._left, MAX_READ)
            out += HEADER.pack(self._op, self._flags, self.next_tag, length)
            self._left -= length
            self._unsent -= 1
            self._lengths.append(length)
        return out

    def accept(self, header: bytes | bytearray | memoryview) -> int:
        """Check the header of the next reply; returns the payload bytes that follow it.

        Raises ProtocolError when it does not belong to the oldest request on the
        way, and the status's own exception when it is not OK.
        """
        reply = decode_reply(header)
        tag = (self._tag + self._accepted) % _TAGS
        if not self._lengths:
            raise ProtocolError(f"the daemon at {self._path} sent a reply nobody asked for")
        fresh, self._fresh = self._fresh, False
        if reply.tag != tag:
            if fresh and refuses_connection(reply):
                raise refusal(reply.status, self._path)
            raise ProtocolError(f"reply with tag {reply.tag} where {tag} was due, {self._path}")
        expected = self._lengths.pop(0)
        self._accepted += 1
        if reply.status is not Status.OK:
            self.in_order = not self._lengths and reply.status is not Status.BAD_REQUEST
            raise refusal(reply.status, self._path)
        if self._op == _READ:
            lengths = range(expected, expected + 1)
            allowed = _DEGRADED
            if self._flags & _PREDICTION_RESISTANCE:
                allowed |= _NOT_LIVE
        else:
            lengths, allowed = range(1, MAX_INFO + 1), 0
        if reply.length not in lengths or reply.flags & ~allowed:
            raise ProtocolError(
                f"reply of {reply.length} bytes with flags {int(reply.flags):#x}, not as asked "
                f"for, {self._path}"
            )
        self.marks |= int(reply.flags)
        return reply.length


def refuses_connection(reply: Reply) -> bool:
    """Whether a connection's first reply, of another tag than its request, refuses it."""
    return reply.tag == 0 and reply.status in AT_CONNECT


def is_plain(reply: bytearray, tag: int, length: int) -> bool:
    """Whether a reply starts with the header of an ordinary success.

    The common case of a small READ by itself; for whatever else it may be there
    is `Exchange.accept`.
    """
    return HEADER.unpack_from(reply) == (_OK, 0, tag, length)


def decode_info(payload: bytes | bytearray | memoryview, path: str) -> Info:
    """Read the payload of an INFO reply; keys it does not know are ignored.

    Raises ProtocolError when it is not what docs/protocol.md says.
    """
    import json  # noqa: PLC0415 - only INFO needs it, and a read must not pay for it

    try:
        # Decoded first: `loads` takes UTF-16 and a byte order mark too.
        document = json.loads(str(payload, "utf-8"), parse_constant=_refuse)
        versions = document["protocol"]
        if type(versions) is not list:
            _refuse(versions)
        if type(document["version"]) is not str or document["state"] not in _STATES:
            _refuse(document)
        return Info(
            protocols=tuple(map(_integer, versions)),
            version=document["version"],
            state=document["state"],
            generation=_integer(document["generation"]),
            max_read=_integer(document["limits"]["max_read"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        # `from None`: the cause would quote the peer's bytes.
        raise ProtocolError(f"the daemon at {path} sent an INFO that cannot be read") from None


def _integer(value: object) -> int:
    """A number of an INFO, which may be written as 7.0."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        _refuse(value)
    return value


def _refuse(_value: object) -> NoReturn:
    raise ValueError("not an INFO")
