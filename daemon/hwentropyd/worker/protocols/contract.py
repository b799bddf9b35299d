"""What the connection's shell and a protocol agree on.

A protocol is fed what came and asked for the next reply; it answers with one, or
with what it waits for.  A reply's random bytes are a number until they are sent.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Final, Protocol

from hwentropy_core.wire import Status


class Wait(Enum):
    """What a connection waits for."""

    INPUT = auto()
    WRITABLE = auto()
    """for the client to take what was sent"""
    SEED = auto()
    """for the daemon to be seeded"""
    FRESH = auto()
    """for entropy collected after its request"""
    PAUSE = auto()
    """for its user's rate of bytes"""
    YIELD = auto()
    """for a thread: it has had its share"""
    END = auto()
    """for nothing: it is over"""


#: What a reply costs beside its random bytes, as so many of those: some 3 us, at a byte
#: in a nanosecond.
REPLY_COST: Final = 3 * 1024


class Reply:
    """What is still to be sent of one reply."""

    __slots__ = ("cost", "fixed", "page_fd", "remaining")

    def __init__(
        self,
        fixed: bytes | bytearray,
        remaining: int = 0,
        page_fd: int | None = None,
        *,
        cost: int = 0,
    ) -> None:
        self.fixed = fixed
        """The header, or all of a reply that holds no random bytes."""
        self.remaining = remaining
        """Random bytes after it."""
        self.page_fd = page_fd
        """A descriptor that goes with its first byte, until it has gone."""
        self.cost = (cost or REPLY_COST) + remaining
        """Its part of a turn."""


class Quota(Protocol):
    """What the connection's user may still have."""

    @property
    def measured(self) -> bool:
        """Whether every request has to be counted."""
        ...

    def admit_read(self, length: int, /) -> bool:
        """Whether a READ of so many bytes is within the user's rates."""
        ...

    def admit_lease(self) -> bool:
        """Whether a LEASE is."""
        ...

    @property
    def stream_bytes(self) -> int:
        """What a stream gives at a time."""
        ...

    def admit_stream(self) -> bool:
        """Whether a stream may give so many now."""
        ...

    def refuse_permission(self) -> None:
        """Count a request that the user may not make."""
        ...


@dataclass(frozen=True, slots=True)
class FreshAnswer:
    """How a request for fresh entropy ended."""

    status: Status
    """OK when it was met."""
    live: bool = False
    """Whether live sources met it."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What comes with every lease."""

    max_bytes: int
    max_seconds: int
    page_fd: int
    """The generation page, for the client to map."""


class ServerProtocol(Protocol):
    """One connection's end of a protocol."""

    reads: ClassVar[bool]
    """Whether its client sends anything."""
    closing: bool
    """Whether the connection ends after the replies it has given."""
    requests: int
    """Requests answered so far."""
    fresh: FreshAnswer | None
    """How its request for fresh entropy ended, once that is known."""

    def feed(self, data: memoryview) -> None:
        """Take bytes from the client."""
        ...

    def next(self) -> Reply | Wait:
        """The next reply, or what it has to wait for first."""
        ...

    def answer_small(self, inbox: memoryview, received: int, outbox: memoryview, /) -> int:
        """Answer the common request, where it came alone, straight into `outbox`.

        Returns the random bytes behind the reply's header; 0 when what came, the first
        `received` bytes of `inbox`, is anything else and has to be fed.
        """
        ...
