"""The native protocol (docs/protocol.md): which reply a request gets, or what it waits for."""

import json
from typing import ClassVar, Final

from hwentropy_core import VERSION
from hwentropy_core.limits import MAX_READ
from hwentropy_core.memory import wipe
from hwentropy_core.page import PageReader, ServiceState
from hwentropy_core.wire import (
    HEADER,
    PROTOCOL_VERSION,
    Lease,
    Op,
    Refusal,
    ReplyFlag,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    encode_lease,
    encode_reply,
)
from hwentropyd.worker.drbg import WorkerDrbg

from .contract import FreshAnswer, LeaseTerms, Quota, Reply, Wait

#: Requests up to here are answered in the shortest way when they come alone.  Their
#: bytes take no more than some ten microseconds, so nobody waits for them to be made.
FAST_PATH_BYTES: Final = 16 * 1024

#: Bytes of a lease that is granted while degraded, and what it counts there: as much as the
#: largest READ, so that `degraded_bytes` limit leases as they limit reads, and one client's
#: lease does not use them up.  At some 20 us a LEASE that is 2 % of the time its bytes take.
DEGRADED_LEASE_BYTES: Final = MAX_READ

#: What a LEASE or an INFO costs, in random bytes (contract.REPLY_COST): some 20 us.
OTHER_COST: Final = 20 * 1024

_OK_UNTIL: Final = PageReader.OK_UNTIL
_READ: Final = int(Op.READ)
_DONT_BLOCK: Final = int(RequestFlag.DONT_BLOCK)
_HEADER_BYTES: Final = HEADER.size
_unpack = HEADER.unpack_from


class NativeProtocol:
    """The server's end of one connection."""

    __slots__ = (
        "_clock",
        "_generator",
        "_may_have_fresh",
        "_measured",
        "_page_sent",
        "_quota",
        "_read_into",
        "_reader",
        "_request",
        "_terms",
        "_words",
        "closing",
        "fresh",
        "requests",
    )

    reads: ClassVar = True

    def __init__(
        self, generator: WorkerDrbg, terms: LeaseTerms, quota: Quota, *, may_have_fresh: bool
    ) -> None:
        self.requests = 0
        self.fresh: FreshAnswer | None = None
        self.closing = False
        self._generator = generator
        self._reader = RequestReader()
        self._request: Request | None = None
        """Taken from the reader, and waiting."""
        self._terms = terms
        self._quota = quota
        # At hand for the short way.
        self._measured = quota.measured
        self._read_into = generator.read_into
        self._words = generator.words
        self._clock = generator.clock
        self._may_have_fresh = may_have_fresh
        self._page_sent = False

    @property
    def held(self) -> int:
        """Bytes of requests that wait for their turn."""
        return len(self._reader)

    def feed(self, data: memoryview) -> None:
        """Take bytes from the client."""
        self._reader.feed(data)

    def answer_small(self, inbox: memoryview, received: int, outbox: memoryview) -> int:
        """One READ, not large, of a healthy daemon: what `next` does, in half the calls."""
        if received != _HEADER_BYTES or self._reader:
            return 0
        op, flags, tag, length = _unpack(inbox)
        if (
            op != _READ
            or flags > _DONT_BLOCK
            or not 0 < length <= FAST_PATH_BYTES
            or self._measured
            # The state and the age of the seed in one: 0 unless it is `ok`.
            or self._clock() >= self._words[_OK_UNTIL]
        ):
            return 0
        HEADER.pack_into(outbox, 0, 0, 0, tag, length)
        self._read_into(outbox[_HEADER_BYTES : _HEADER_BYTES + length])
        self.requests += 1
        return length  # type: ignore[no-any-return]  # struct has no types

    def next(self) -> Reply | Wait:
        """The next reply, or what it has to wait for first."""
        request = self._request or self._reader.next()
        if request is None:
            return Wait.INPUT
        if isinstance(request, Refusal):
            self.closing = request.closes
            reply = Reply(encode_reply(request.status, request.tag))
        else:
            begun = self._begin(request)
            if isinstance(begun, Wait):
                self._request = request
                return begun
            reply = begun
            self._request = None
        self.requests += 1
        return reply

    def _begin(self, request: Request) -> Reply | Wait:
        """The reply to a request, or what the request has to wait for."""
        state = self._generator.state
        # Used up whatever comes of it: it was for this request and no later one.
        fresh, self.fresh = self.fresh, None
        if request.op is Op.INFO:
            return Reply(self._info(request, state), cost=OTHER_COST)
        if state is ServiceState.FAILED:
            return Reply(encode_reply(Status.FAILED_CLOSED, request.tag))
        if state is ServiceState.STARTING:
            if not request.flags & RequestFlag.DONT_BLOCK:
                return Wait.SEED
            return Reply(encode_reply(Status.NOT_SEEDED, request.tag))
        if request.flags & RequestFlag.PREDICTION_RESISTANCE:
            if not self._may_have_fresh:
                self._quota.refuse_permission()
                return Reply(encode_reply(Status.NOT_PERMITTED, request.tag))
            if fresh is None:
                return Wait.FRESH
            if fresh.status is not Status.OK:
                return Reply(encode_reply(fresh.status, request.tag))
        flags = ReplyFlag.DEGRADED if state is ServiceState.DEGRADED else ReplyFlag(0)
        if fresh is not None and not fresh.live:
            flags |= ReplyFlag.NOT_LIVE
        lease = request.op is Op.LEASE
        quota = self._quota
        if not (quota.admit_lease() if lease else quota.admit_read(request.length)):
            return Reply(encode_reply(Status.OVER_QUOTA, request.tag))
        if lease:
            return self._lease(request, flags)
        header = encode_reply(Status.OK, request.tag, request.length, flags)
        return Reply(header, request.length)

    def _info(self, request: Request, state: ServiceState) -> bytes:
        payload = json.dumps(
            {
                "protocol": [PROTOCOL_VERSION],
                "version": VERSION,
                "state": state.label,
                "generation": self._generator.words[PageReader.GENERATION],
                "limits": {"max_read": MAX_READ},
            }
        ).encode()
        return encode_reply(Status.OK, request.tag, len(payload)) + payload

    def _lease(self, request: Request, flags: ReplyFlag) -> Reply:
        generation, seed = self._generator.lease_seed()
        terms = self._terms
        most = terms.max_bytes
        if flags & ReplyFlag.DEGRADED:
            most = min(most, DEGRADED_LEASE_BYTES)
            self._generator.count_lease(most)
        payload = encode_lease(Lease(generation, most, terms.max_seconds, seed))
        wipe(seed)
        page_fd = None
        if not self._page_sent:
            self._page_sent = True
            page_fd = terms.page_fd
            flags |= ReplyFlag.PAGE
        # Joined by a bytearray: `header + payload` would be `bytes`, which stay.
        header = encode_reply(Status.OK, request.tag, len(payload), flags)
        fixed = bytearray().join((header, payload))
        wipe(payload)
        return Reply(fixed, 0, page_fd, cost=OTHER_COST)
