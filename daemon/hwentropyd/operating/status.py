"""The service's state and status, put together from the parts that know it.

`merged_state` decides; `StatusReporter` asks the parts and counts nothing itself, but
for the times that no part keeps: of the start and of the last seed.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hwentropy_core import VERSION
from hwentropy_core.page import ServiceState
from hwentropy_core.status import PolicyStatus, ServiceStatus, SourceStatus, iso_time
from hwentropyd.config.schema import PoolConfig
from hwentropyd.sampling.sampler import Sampler
from hwentropyd.seeding.pool import Seed
from hwentropyd.seeding.root import Root
from hwentropyd.seeding.seeder import Seeder
from hwentropyd.serving.shares import Shares
from hwentropyd.serving.workers import WorkerPool

from .history import History

StateAndReason = tuple[ServiceState, str]


#: From the one in which most is served to the one that needs the operator most.
_GRAVITY: Final = (
    ServiceState.OK,
    ServiceState.DEGRADED,
    ServiceState.STARTING,
    ServiceState.FAILED,
)


def merged_state(seeded: StateAndReason, shortage: StateAndReason | None) -> StateAndReason:
    """The service's state, and why: a seed is of no use where no worker serves.

    `seeded` is the seeder's; `shortage` how the service is for want of workers, None
    while one serves.  The graver holds, of two alike the seeder's: workers are started
    again by themselves, sources may need the operator.
    """
    if shortage is None or _GRAVITY.index(seeded[0]) >= _GRAVITY.index(shortage[0]):
        return seeded
    return shortage


class StatusReporter:
    """Tells how the service is."""

    def __init__(
        self,
        policy: PoolConfig,
        sockets: Sequence[str],
        root: Root,
        seeder: Seeder,
        samplers: Sequence[Sampler],
        workers: WorkerPool,
        shares: Shares,
        history: History,
        clone_signs: Mapping[str, str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`sockets` are the paths that it listens on; the clocks give seconds.

        `clone_signs` says of each sign of a copied machine whether it is watched.
        """
        self._policy = PolicyStatus(min_bits=policy.min_bits, min_groups=policy.min_groups)
        self._sockets = list(sockets)
        self._root = root
        self._seeder = seeder
        self._samplers = samplers
        self._workers = workers
        self._shares = shares
        self._history = history
        self._clone_signs = clone_signs
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._started = monotonic()
        self._seeded_at: float | None = None
        self._seed_groups: list[str] = []
        self._seed_bits = 0

    def note_seed(self, seed: Seed) -> None:
        """This seed went in just now."""
        self._seeded_at = self._wall_clock()
        self._seed_groups = sorted(seed.groups)
        self._seed_bits = math.floor(seed.bits)

    def state(self) -> StateAndReason:
        """The service's state, and why it is not `ok`."""
        return merged_state((self._seeder.state, self._seeder.reason), self._workers.shortage())

    def sources(self) -> list[SourceStatus]:
        """What feeds the service."""
        return [sampler.status() for sampler in self._samplers]

    async def counted_status(self) -> ServiceStatus:
        """`status` once the workers have said what they served."""
        await self._workers.count()
        return self.status()

    def status(self) -> ServiceStatus:
        """How the service is, the workers' counts as of their last answer."""
        state, reason = self.state()
        return ServiceStatus(
            state=state.label,
            reason=reason,
            generation=self._root.generation,
            seeded_at=None if self._seeded_at is None else iso_time(self._seeded_at),
            reseeds=self._root.reseeds,
            version=VERSION,
            pid=os.getpid(),
            uptime_seconds=round(self._monotonic() - self._started, 3),
            workers=self._workers.status(),
            sources=self.sources(),
            policy=self._policy,
            seed_log=self._history.status(),
            sockets=list(self._sockets),
            users=self._shares.status(),
            clones=self._seeder.clones,
            seed_groups=self._seed_groups if self._root.seeded else [],
            seed_bits=self._seed_bits if self._root.seeded else 0,
            clone_signs=dict(self._clone_signs),
        )
