"""A daemon's cores, two workers and leases of them in one process, to be copied whole.

The seeder's decisions are carried out here as the supervisor does; messages to workers
are calls.  A lease comes from a worker directly, with the page.
"""

from collections.abc import Callable

from hwentropy.lease.connection import Granted
from hwentropy.lease.drbg import LeasedDrbg
from hwentropy.lease.reservoir import Reservoir
from hwentropy_core.page import PageReader, ServiceState, boottime
from hwentropy_core.wire import Lease
from hwentropyd.seeding.availability import AvailabilityPolicy
from hwentropyd.seeding.credit import SeedPolicy
from hwentropyd.seeding.pool import Contribution
from hwentropyd.seeding.root import Root
from hwentropyd.seeding.seeder import (
    Cloned,
    Delivered,
    Event,
    Forget,
    Publish,
    Reseed,
    Seeder,
    SeederPolicy,
    SourceView,
    Tick,
)
from hwentropyd.worker.drbg import WorkerDrbg

RESEED_SECONDS = 60.0


class LocalLease(LeasedDrbg):
    """A lease whose daemon is in this process."""

    def __init__(self, make: Callable[[int], Reservoir], ask: Callable[[], Granted]) -> None:
        super().__init__(make)
        self._ask_here = ask

    def _ask(self, deadline: float | None, *, block: bool = True) -> Granted:  # noqa: ARG002 (nobody waits)
        return self._ask_here()


class Machine:
    """See the module's docstring; it is seeded, and has handed out bytes."""

    def __init__(
        self, source: SourceView, make_reservoir: Callable[[int], Reservoir], samples: bytes
    ) -> None:
        self._source = source
        self._ahead = 0.0
        self.root = Root()
        self.page = PageReader(self.root.page.fd)
        self.workers = [WorkerDrbg(self.page, lambda: None) for _ in range(2)]
        limits = AvailabilityPolicy(RESEED_SECONDS, 1 << 30, 600.0, 1 << 30)
        self.seeder = Seeder(SeederPolicy(SeedPolicy(), limits, 10.0), [source])
        self.lease = LocalLease(make_reservoir, self._grant)
        self.deliver(samples)
        self.draws()

    @property
    def state(self) -> ServiceState:
        """As the page shows it."""
        return self.page.state_at(boottime())

    def deliver(self, samples: bytes, started: float = 0.0) -> None:
        """Samples of full strength, that were begun to be read so many seconds from now."""
        source, bits = self._source, 8.0 * len(samples)
        begun = self._now() + started
        one = Contribution(source.name, source.group, bytearray(samples), bits, begun)
        self._handle(Delivered(one))

    def pass_time(self) -> None:
        """Until the next scheduled reseed is due."""
        self._ahead += RESEED_SECONDS + 1
        self._handle(Tick())

    def copied(self, sign: str) -> None:
        """A sign says that this is a copy."""
        self._handle(Cloned(sign))

    def draws(self) -> list[bytes]:
        """Small and large reads of each worker, and of the lease."""
        drawn: list[bytes] = []
        for worker in self.workers:
            for size in (32, 16_384):
                out = bytearray(size)
                worker.read_into(memoryview(out))
                drawn.append(bytes(out[-32:]))
        return [*drawn, self.draw_lease(), self.draw_lease()]

    def draw_lease(self) -> bytes:
        """32 bytes, as the generators of a client take them."""
        while True:
            ready = self.lease.reservoir.take(32)
            if ready is not None:
                return ready
            out = bytearray(32)
            size, _ = self.lease.draw(memoryview(out), None)
            if size:
                return bytes(out)

    def _grant(self) -> Granted:
        epoch = self.page.words[PageReader.EPOCH]
        generation, seed = self.workers[0].lease_seed()
        ends = boottime() + 300 * 10**9
        return Granted(Lease(generation, 1 << 30, 300, seed), self.page, epoch, ends, False)

    def _now(self) -> float:
        return boottime() / 1e9 + self._ahead

    def _handle(self, event: Event) -> None:
        for action in self.seeder.handle(event, self._now()):
            match action:
                case Reseed(seed):
                    self.root.reseed(seed, self._send_seeds)
                case Forget():
                    self.root.forget()
                    for worker in self.workers:
                        worker.forget()
                case Publish(state, ok_until, serves_until):
                    times = round(ok_until * 1e9), round(serves_until * 1e9)
                    self.root.page.publish(state, *times)
                case _:
                    pass

    def _send_seeds(self, generation: int) -> None:
        for worker in self.workers:
            worker.seed(generation, self.root.child_seed(b"worker", generation))
