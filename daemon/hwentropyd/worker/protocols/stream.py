"""The plain stream: random bytes without end, and no request (docs/protocol.md)."""

from typing import ClassVar

from hwentropy_core.page import ServiceState
from hwentropyd.worker.drbg import WorkerDrbg

from .contract import FreshAnswer, Quota, Reply, Wait


class StreamProtocol:
    """The server's end of one stream."""

    __slots__ = ("_generator", "_quota", "closing", "fresh", "requests")

    reads: ClassVar = False

    def __init__(self, generator: WorkerDrbg, quota: Quota) -> None:
        self.requests = 0
        self.closing = False
        self.fresh: FreshAnswer | None = None
        self._generator = generator
        self._quota = quota

    def feed(self, data: memoryview) -> None:
        """Nothing: what a client of a stream sends is not read."""

    def next(self) -> Reply | Wait:
        """As many bytes as the user may have; a stream has no status to say why not."""
        state = self._generator.state
        if state is ServiceState.STARTING:
            return Wait.SEED
        if state is ServiceState.FAILED:
            return Wait.END
        size = self._quota.stream_bytes
        return Reply(b"", size) if self._quota.admit_stream() else Wait.PAUSE

    def answer_small(self, _inbox: memoryview, _received: int, _outbox: memoryview) -> int:
        """No request is answered."""
        return 0
