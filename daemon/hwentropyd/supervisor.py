"""The supervisor: one event loop that ties sources, pool, root and workers together.

Every connection is accepted here and handed on, so that load is balanced and limits
have one home; the supervisor never reads from a data connection and never blocks: sources
run in their samplers' threads and come in through `call_soon_threadsafe`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from hwentropy_core import VERSION
from hwentropy_core.errors import HwentropyError
from hwentropy_core.status import PolicyStatus, ServiceStatus, SourceStatus, iso_time
from hwentropy_sources import registry

from .channel import Fresh
from .config.schema import Config
from .operating.notify import Notifier
from .role import Role
from .sampling.sampler import Sampler, TestResult
from .seeding.availability import Availability, AvailabilityPolicy
from .seeding.fresh_requests import FreshRequests
from .seeding.pool import Contribution, Pool
from .seeding.root import Root
from .serving.acceptor import Acceptor
from .serving.listeners import Listeners
from .serving.workers import PING_SECONDS, WorkerHandle, WorkerPool

log = logging.getLogger(__name__)

#: Seconds between looks at deadlines and limits.  The shortest limit that a
#: configuration can set is a second; a look costs some ten microseconds.
TICK_SECONDS: Final = 0.5


class NotEnoughEntropyError(HwentropyError):
    """The sources did not give a fresh full-strength seed in time."""


class UnknownSourceError(HwentropyError):
    """No source of this name is configured."""


class Supervisor:
    """The daemon.  `run` returns when it was told to stop."""

    def __init__(self, config: Config, listeners: Listeners, notifier: Notifier) -> None:
        self.config = config
        self.listeners = listeners
        self.root = Root()
        self.availability = Availability(_availability_policy(config))
        self.seeded_at: float | None = None
        """When the last seed went in, seconds since the epoch."""
        self._notifier = notifier
        self._pool = Pool(config.pool.policy())
        self._fresh_requests = FreshRequests()
        self._answers: dict[tuple[int, int], asyncio.Task[None]] = {}
        """Who answers a wish for fresh entropy, by worker and connection."""
        self._started = time.monotonic()
        self._next_ping = 0.0
        self._last_status = ""
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._seeded = asyncio.Event()
        self.workers = WorkerPool(
            self.root,
            config.server,
            drawn=self._drawn,
            want_fresh=self._want_fresh,
            ended=self._connection_ended,
        )
        self._acceptors = [
            Acceptor(listener, self.workers)
            for listener in listeners.sockets
            if listener.role is not Role.CONTROL
        ]
        self.samplers = [
            Sampler(
                setup.name,
                registry.make_source(setup.kind, setup.config),
                setup.config,
                min_bits=config.pool.min_bits,
                poll_seconds=config.pool.poll_seconds,
                deliver=self._deliver,
                changed=partial(self._sampler_changed, setup.name),
            )
            for setup in config.sources
        ]

    async def run(self, on_settled: Callable[[ServiceStatus], None]) -> None:
        """Serve until SIGTERM or SIGINT; `on_settled` is called once the sources are known."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        for sampler in self.samplers:
            sampler.start()
        for acceptor in self._acceptors:
            acceptor.start()
        self.workers.start()
        stopping = self._loop.create_task(self._stop.wait())
        ticking = self._loop.create_task(self._tick_for_ever())
        announcing = self._loop.create_task(self._announce_ready())
        greeting = self._loop.create_task(self._greet(on_settled))
        try:
            await asyncio.wait((stopping, ticking), return_when=asyncio.FIRST_COMPLETED)
            if ticking.done():
                # It only ends by a bug; without it no deadline and no limit holds.
                ticking.result()
        finally:
            self._notifier.send(STOPPING="1")
            for task in (stopping, ticking, announcing, greeting):
                task.cancel()
            await self._end()

    def stop(self) -> None:
        """Make `run` return."""
        self._stop.set()

    async def reseed(self) -> int:
        """Reseed from entropy collected from now on; returns the new generation.

        Raises NotEnoughEntropyError after `prediction_resistance_seconds`.
        """
        wish = self._fresh_requests.add(time.monotonic(), self._loop.create_future())
        self._demand()
        try:
            async with asyncio.timeout(self.config.server.prediction_resistance_seconds):
                return await wish.future
        except TimeoutError:
            why = self.availability.shortage(self._healthy_groups())
            raise NotEnoughEntropyError(
                f"{why or 'the healthy sources did not give a fresh seed in time'}; "
                "see `hwentropy sources`"
            ) from None
        finally:
            self._fresh_requests.forget(wish)

    async def test_source(self, name: str) -> TestResult:
        """Run a source's on-demand health test; raises UnknownSourceError."""
        sampler = next((sampler for sampler in self.samplers if sampler.name == name), None)
        if sampler is None:
            raise UnknownSourceError(f"no source {name!r} is configured")
        future: asyncio.Future[TestResult] = self._loop.create_future()

        def done(result: TestResult) -> None:
            self._call(lambda: None if future.done() else future.set_result(result))

        sampler.test(done)
        return await future

    def sources(self) -> list[SourceStatus]:
        """What feeds the service."""
        return [sampler.status() for sampler in self.samplers]

    async def counted_status(self) -> ServiceStatus:
        """`status` once the workers have said what they served."""
        await self.workers.count()
        return self.status()

    def status(self) -> ServiceStatus:
        """How the service is, the workers' counts as of their last answer."""
        return ServiceStatus(
            state=self.availability.state.label,
            reason=self.availability.reason,
            generation=self.root.generation,
            seeded_at=None if self.seeded_at is None else iso_time(self.seeded_at),
            reseeds=self.root.reseeds,
            version=VERSION,
            pid=os.getpid(),
            uptime_seconds=round(time.monotonic() - self._started, 3),
            workers=[worker.status() for worker in self.workers.workers],
            sources=self.sources(),
            policy=PolicyStatus(
                min_bits=self.config.pool.min_bits, min_groups=self.config.pool.min_groups
            ),
            sockets=[str(listener.path) for listener in self.listeners.sockets],
        )

    def _deliver(self, contribution: Contribution) -> None:
        self._call(lambda: self._take(contribution))

    def _sampler_changed(self, name: str, usable: bool) -> None:  # noqa: FBT001 (a callback)
        self._call(lambda: self._note_change(name, usable=usable))

    def _call(self, call: Callable[[], object]) -> None:
        # A sampler may speak up while the loop is already closed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _take(self, contribution: Contribution) -> None:
        self._pool.add(contribution)
        self._evaluate()

    def _note_change(self, name: str, *, usable: bool) -> None:
        """In its turn: after what the source gave before, and before what it gives now."""
        if not usable:
            self._pool.discredit(name)
        self._evaluate()

    def _evaluate(self) -> None:
        """Reseed if it is due or wished for and the pool suffices; then judge the state."""
        now = time.monotonic()
        healthy = self._healthy_groups()
        for sampler in self.samplers:
            if not sampler.usable:  # now already, before its change has come to its turn
                self._pool.discredit(sampler.name)
        met = self._fresh_requests.met(self._pool.sufficient)
        due = self.availability.reseed_due(now, healthy & self._pool.group_credits().keys())
        # With min_bits alone met, the service would say `ok` and `degraded` in turn.
        enough = len(healthy) >= self.config.pool.min_groups
        if enough and (met or (due and self._pool.sufficient())):
            self._reseed(now, met)
        if self.availability.observe(now, healthy):
            self._publish_state()
            log.warning("%s: %s", self.availability.state.label, self.availability.reason)
        if not self._settled.is_set() and all(sampler.settled for sampler in self.samplers):
            self._settled.set()

    def _drawn(self, count: int) -> None:
        self.availability.drawn(count)
        if self.availability.reseed_due(time.monotonic(), frozenset()):
            self._demand()
        self._evaluate()

    def _healthy_groups(self) -> frozenset[str]:
        return frozenset(
            sampler.group for sampler in self.samplers if sampler.usable and sampler.credited
        )

    def _reseed(self, now: float, met: int) -> None:
        first = not self.root.seeded
        seed = self._pool.take()
        for sampler in self.samplers:
            sampler.credited_bits += seed.credited.get(sampler.name, 0.0)
        generation = self.root.reseed(seed, self.workers.send_seeds)
        self.seeded_at = time.time()
        before = self.availability.state
        self.availability.reseeded(now, seed.groups)
        if before is not self.availability.state:
            self._publish_state()
            log.info("%s (generation %d)", self.availability.state.label, generation)
        if first:
            self._seeded.set()
        self._fresh_requests.grant(met, generation)
        if self._fresh_requests:
            self._demand()

    def _publish_state(self) -> None:
        self.root.page.state = self.availability.state
        self.workers.wake()

    def _demand(self) -> None:
        for sampler in self.samplers:
            sampler.demand()

    def _want_fresh(self, worker: WorkerHandle, number: int) -> None:
        if self._stop.is_set():
            return  # the sources have been told to stop

        async def answer() -> None:
            try:
                await self.reseed()
            except NotEnoughEntropyError:
                met = False
            else:
                met = True
            worker.send(Fresh(number, met))

        key = (worker.number, number)
        task = self._answers[key] = self._loop.create_task(answer())

        def answered(_: asyncio.Task[None]) -> None:
            if self._answers.get(key) is task:
                del self._answers[key]

        task.add_done_callback(answered)

    def _connection_ended(self, worker: WorkerHandle, number: int) -> None:
        """Nobody waits for its answer any more: wishes are bounded by connections."""
        task = self._answers.get((worker.number, number))
        if task is not None:
            task.cancel()

    async def _tick_for_ever(self) -> None:
        while True:
            self._tick(time.monotonic())
            await asyncio.sleep(TICK_SECONDS)

    def _tick(self, now: float) -> None:
        for sampler in self.samplers:
            sampler.tick()
        self._evaluate()
        if self.availability.reseed_due(now, frozenset()):
            self._demand()
        if now >= self._next_ping:
            self._next_ping = now + PING_SECONDS
            self.workers.tick(now)
            self.listeners.look()
        self._notify(now)

    def _notify(self, now: float) -> None:
        status = f"{self.availability.state.label}, generation {self.root.generation}"
        if self.availability.reason:
            status += f": {self.availability.reason}"
        if status != self._last_status:
            self._last_status = status
            self._notifier.send(STATUS=status)
        self._notifier.keep_alive(now, TICK_SECONDS)

    async def _announce_ready(self) -> None:
        await self.workers.ready()
        await self._seeded.wait()
        self._notifier.send(READY="1")

    async def _greet(self, on_settled: Callable[[ServiceStatus], None]) -> None:
        """Greet once it is known how every source is, or after the longest deadline.

        Without a seed too: that is when it matters most what the sources say.
        """
        longest = max((sampler.config.deadline for sampler in self.samplers), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest + TICK_SECONDS):
                await self.workers.ready()
                await self._seeded.wait()
                await self._settled.wait()
        on_settled(self.status())

    async def _end(self) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()
        for sampler in self.samplers:
            sampler.stop()
        for task in self._answers.values():
            task.cancel()
        await self.workers.stop()
        self.root.erase()


def _availability_policy(config: Config) -> AvailabilityPolicy:
    pool = config.pool
    return AvailabilityPolicy(
        min_groups=pool.min_groups,
        reseed_seconds=pool.reseed_seconds,
        reseed_bytes=pool.reseed_bytes,
        degraded_seconds=pool.degraded_seconds,
        degraded_bytes=pool.degraded_bytes,
    )
