"""The native protocol, version 1, as bytes in and values out (docs/protocol.md).

Both directions use the same eight-byte header, big-endian:

    request  u8 op      u8 flags  u16 tag  u32 length
    reply    u8 status  u8 flags  u16 tag  u32 length   and `length` bytes

No sockets here.  A peer's bytes never raise anything but `ProtocolError`
(client side); on the server side a bad request is a value, `Refusal`, since it
has to be answered.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from .errors import ProtocolError
from .limits import KEY_BYTES, MAX_READ

PROTOCOL_VERSION: Final = 1
HEADER: Final = struct.Struct(">BBHI")


class Op(IntEnum):
    """What a request asks for."""

    READ = 1
    INFO = 2
    LEASE = 3


class RequestFlag(IntFlag):
    """Flags of a READ; a LEASE knows the first of them."""

    DONT_BLOCK = 1
    PREDICTION_RESISTANCE = 2


class ReplyFlag(IntFlag):
    """Flags of a reply."""

    DEGRADED = 1
    PAGE = 2
    """A descriptor of the generation page came with the reply to a LEASE."""
    NOT_LIVE = 4
    """Prediction resistance was met by generators alone: no live source is healthy."""


class Status(IntEnum):
    """How a request ended.  After BAD_REQUEST the server closes; else it goes on."""

    OK = 0
    NOT_SEEDED = 1
    TOO_LONG = 2
    NOT_PERMITTED = 3
    OVER_QUOTA = 4
    FAILED_CLOSED = 5
    BAD_REQUEST = 6


@dataclass(frozen=True, slots=True)
class Request:
    """One well-formed request."""

    op: Op
    flags: RequestFlag
    tag: int
    length: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error status, whatever the daemon's state."""

    status: Status
    tag: int

    @property
    def closes(self) -> bool:
        """Whether the connection ends after the answer."""
        return self.status is Status.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Reply:
    """The header of one reply; `length` bytes of payload follow it."""

    status: Status
    flags: ReplyFlag
    tag: int
    length: int


_READ_FLAGS: Final = int(RequestFlag.DONT_BLOCK | RequestFlag.PREDICTION_RESISTANCE)
_LEASE_FLAGS: Final = int(RequestFlag.DONT_BLOCK)
_REPLY_FLAGS: Final = int(ReplyFlag.DEGRADED | ReplyFlag.PAGE | ReplyFlag.NOT_LIVE)
_LEASE: Final = struct.Struct(f">QQI4x{KEY_BYTES}s")
_LEASE_TERMS: Final = struct.Struct(">QQI4x")

#: Bytes of the payload of a reply to a LEASE.
LEASE_BYTES: Final = _LEASE.size


def check_request(op: int, flags: int, tag: int, length: int) -> Request | Refusal:
    """Judge the four fields of a request header."""
    if op == Op.READ and not flags & ~_READ_FLAGS and length:
        if length > MAX_READ:
            return Refusal(Status.TOO_LONG, tag)
        return Request(Op.READ, RequestFlag(flags), tag, length)
    if op == Op.INFO and not flags and not length:
        return Request(Op.INFO, RequestFlag(0), tag, 0)
    if op == Op.LEASE and not flags & ~_LEASE_FLAGS and not length:
        return Request(Op.LEASE, RequestFlag(flags), tag, 0)
    return Refusal(Status.BAD_REQUEST, tag)


def encode_request(request: Request) -> bytes:
    """The eight bytes of a request."""
    return HEADER.pack(request.op, request.flags, request.tag, request.length)


def encode_reply(status: Status, tag: int, length: int = 0, flags: int = 0) -> bytes:
    """The eight bytes of a reply's header."""
    return HEADER.pack(status, flags, tag, length)


def decode_reply(header: bytes | bytearray | memoryview) -> Reply:
    """Read the eight bytes of a reply's header.

    Raises ProtocolError on anything the protocol rules out.  Whether tag and
    length are those that were asked for is its caller's to check.
    """
    status, flags, tag, length = HEADER.unpack(header)
    if status > Status.BAD_REQUEST:
        msg = f"reply with unknown status {status}"
        raise ProtocolError(msg)
    if flags & ~_REPLY_FLAGS:
        msg = f"reply with unknown flags {flags:#x}"
        raise ProtocolError(msg)
    if length > MAX_READ or (status != Status.OK and (length or flags)):
        msg = f"reply of status {status} with flags {flags:#x} and {length} bytes"
        raise ProtocolError(msg)
    return Reply(Status(status), ReplyFlag(flags), tag, length)


@dataclass(frozen=True, slots=True)
class Lease:
    """The payload of a reply to a LEASE: a generator of the client's own, for a while."""

    generation: int
    """The generation its seed is of."""
    max_bytes: int
    """Output after which it ends."""
    max_seconds: int
    """Seconds after which it ends."""
    seed: bytearray = field(repr=False)
    """32 bytes that nobody else was given; its holder overwrites them."""


def encode_lease(lease: Lease) -> bytearray:
    """The payload of a reply to a LEASE; holds the seed."""
    payload = bytearray(LEASE_BYTES)
    _LEASE.pack_into(
        payload, 0, lease.generation, lease.max_bytes, lease.max_seconds, lease.seed
    )
    return payload


def decode_lease(payload: bytearray) -> Lease:
    """Read the payload of a reply to a LEASE; raises ProtocolError on another length."""
    if len(payload) != LEASE_BYTES:
        msg = f"lease of {len(payload)} bytes, not {LEASE_BYTES}"
        raise ProtocolError(msg)
    # Without the seed: it would be a `bytes`, which cannot be overwritten.
    generation, max_bytes, max_seconds = _LEASE_TERMS.unpack_from(payload)
    return Lease(generation, max_bytes, max_seconds, payload[-KEY_BYTES:])


class RequestReader:
    """Cuts a byte stream into requests; holds at most what one `feed` brought.

    `feed` takes the bytes as they come; `next` gives one request or refusal at
    a time and None when it needs more.  After a refusal that closes, `next`
    gives nothing more.
    """

    __slots__ = ("_buffer", "_closed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._closed = False

    def __len__(self) -> int:
        """Bytes held that no `next` has taken yet."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the peer."""
        if not self._closed:
            self._buffer += data

    def next(self) -> Request | Refusal | None:
        """The next request, or None when the bytes of one are not complete."""
        if len(self._buffer) < HEADER.size:
            return None
        result = check_request(*HEADER.unpack_from(self._buffer))
        del self._buffer[: HEADER.size]
        if isinstance(result, Refusal) and result.closes:
            self._closed = True
            self._buffer.clear()
        return result


class ReplyReader:
    """Cuts a byte stream into replies with their payloads.

    For transports that bring bytes as they come; a blocking client reads the
    header, then the payload straight into its caller's buffer.
    """

    __slots__ = ("_buffer", "_header")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: Reply | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the server."""
        self._buffer += data

    def next(self) -> tuple[Reply, bytearray] | None:
        """The next reply with its payload, or None when it is not complete.

        Raises ProtocolError when the server broke the protocol.
        """
        if self._header is None:
            if len(self._buffer) < HEADER.size:
                return None
            self._header = decode_reply(bytes(self._buffer[: HEADER.size]))
            del self._buffer[: HEADER.size]
        header = self._header
        if len(self._buffer) < header.length:
            return None
        payload = self._buffer[: header.length]
        self._buffer[: header.length] = bytes(header.length)
        del self._buffer[: header.length]
        self._header = None
        return header, payload
