"""The supervisor: puts sources, seeder, root and workers together, starts and stops them.

One event loop.  What happens becomes an event of the seeder, and what the seeder decides
is done here.  Every connection is accepted here and handed on, so that load is balanced
and limits have one home; the supervisor never reads from a data connection and never
blocks: sources run in their samplers' threads and come in through `call_soon_threadsafe`.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Final

from hwentropy_core import known_answers
from hwentropy_core.errors import HwentropyError
from hwentropy_core.known_answers import KnownAnswerError
from hwentropy_core.page import boottime
from hwentropy_core.status import Reseeded, ServiceStatus
from hwentropy_sources.health.known_answers import HEALTH

from .channel import Fresh
from .child import Children
from .config.schema import Config
from .events.clones import CloneWatch
from .operating.history import History
from .operating.notify import Notifier
from .operating.status import StatusReporter
from .role import Role
from .sampling.remote import make_source
from .sampling.sampler import Sampler
from .sampling.shown import TestResult
from .seeding import seeder
from .seeding.availability import Cause
from .seeding.pool import Contribution, Seed
from .seeding.root import Root
from .seeding.seeder import Seeder
from .serving.acceptor import Acceptor
from .serving.access import Rules
from .serving.gate import Gate
from .serving.listeners import Listeners
from .serving.shares import Shares
from .serving.worker_handle import WorkerHandle
from .serving.workers import PING_SECONDS, WorkerPool

log = logging.getLogger(__name__)

#: Seconds between checks of deadlines and limits.  The shortest limit that a
#: configuration can set is a second; a check costs some ten microseconds.
TICK_SECONDS: Final = PING_SECONDS

#: Seconds between checks whether the sockets are still where they were made.
CHECK_SECONDS: Final = 5.0

#: What this process must compute rightly.
KNOWN_ANSWERS: Final = {**known_answers.GENERATOR, **HEALTH}

#: Seconds for workers to test themselves: a hundred times what it takes them.
CHECK_PATIENCE: Final = 1.0


class NotEnoughEntropyError(HwentropyError):
    """The sources did not give a fresh full-strength seed in time."""


class UnknownSourceError(HwentropyError):
    """No source of this name is configured."""


class Supervisor:
    """The daemon.  `run` returns when it was told to stop."""

    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        notifier: Notifier,
        children: Children,
        state_dir: Path,
        clones: CloneWatch,
    ) -> None:
        """`state_dir` is where the seed log is kept."""
        self._config = config
        self._listeners = listeners
        self.root = Root()
        self._notifier = notifier
        self._clones = clones
        self._waiting: dict[Hashable, Callable[[seeder.Answer], None]] = {}
        """Whom to tell of a fresh request's answer."""
        self._woken_at: float | None = None
        self._waker: asyncio.TimerHandle | None = None
        self._next_check = 0.0
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._settled = asyncio.Event()
        self._seeded = asyncio.Event()
        shares = Shares(config.server.max_connections, config.unread_bytes)
        gate = Gate(shares, Rules.from_config(config), time.monotonic)
        self._workers = WorkerPool(
            self.root,
            config.server,
            children,
            drawn=lambda count: self._handle(seeder.Drawn(count)),
            want_fresh=self._want_fresh,
            ended=self._connection_ended,
            refused=gate.note_refused,
        )
        self._acceptors = [
            Acceptor(listener, gate, self._workers)
            for listener in listeners.sockets
            if listener.role is not Role.CONTROL
        ]
        self._samplers = [
            Sampler(
                setup.name,
                make_source(setup, children),
                setup.config,
                min_bits=config.pool.min_bits,
                poll_seconds=config.pool.poll_seconds,
                deliver=self._deliver,
                changed=partial(self._sampler_changed, setup.name),
            )
            for setup in config.sources
        ]
        self._seeder = Seeder(config.seeder_policy(), self._samplers)
        self._history = History(config.seed_log, state_dir, self._samplers)
        self.reporter = StatusReporter(
            config.pool,
            [str(listener.path) for listener in listeners.sockets],
            self.root,
            self._seeder,
            self._samplers,
            self._workers,
            shares,
            self._history,
            clones.signs,
        )

    async def run(self, on_settled: Callable[[ServiceStatus], None]) -> None:
        """Serve until `stop` is called; `on_settled` is called once the sources are known."""
        self._history.start()
        for sampler in self._samplers:
            sampler.start()
        for acceptor in self._acceptors:
            acceptor.start()
        self._workers.start()
        self._clones.start(self._loop, lambda sign: self._handle(seeder.Cloned(sign)))
        stopping = self._loop.create_task(self._stop.wait())
        ticking = self._loop.create_task(self._tick_for_ever())
        announcing = self._loop.create_task(self._announce_ready())
        greeting = self._loop.create_task(self._greet(on_settled))
        try:
            await asyncio.wait(
                (stopping, ticking, self._failed), return_when=asyncio.FIRST_COMPLETED
            )
            # These two only end by a bug, and without them no deadline and no limit holds.
            for vital in (ticking, self._failed):
                if vital.done():
                    vital.result()
        finally:
            self._notifier.send(STOPPING="1")
            for task in (stopping, ticking, announcing, greeting):
                task.cancel()
            await self._end()

    def stop(self) -> None:
        """Make `run` return."""
        self._stop.set()

    async def reseed(self) -> Reseeded:
        """Reseed from entropy collected from now on.

        Raises NotEnoughEntropyError after `prediction_resistance_seconds`.
        """
        answered: asyncio.Future[tuple[seeder.Answer, int]] = self._loop.create_future()

        def answer_now(answer: seeder.Answer) -> None:
            if not answered.done():  # else its caller has just gone
                answered.set_result((answer, self.root.generation))

        self._waiting[answered] = answer_now
        self._handle(seeder.FreshWanted(answered))
        try:
            answer, generation = await answered
        finally:
            self._forget(answered)
        if not answer.met:
            raise NotEnoughEntropyError(f"{answer.reason}; see `hwentropy sources`")
        return Reseeded(generation=generation, live=answer.live)

    async def check(self) -> list[int]:
        """Run the known-answer tests here and in the workers; whose processes passed.

        Raises KnownAnswerError, and so does `run` then: nothing is served any more.
        """
        try:
            known_answers.check(KNOWN_ANSWERS)
        except KnownAnswerError as error:
            self._fail(error)
            raise
        return [os.getpid(), *await self._workers.check(CHECK_PATIENCE)]

    async def test_source(self, name: str) -> TestResult:
        """Run a source's on-demand health test; raises UnknownSourceError."""
        sampler = next((sampler for sampler in self._samplers if sampler.name == name), None)
        if sampler is None:
            raise UnknownSourceError(f"no source {name!r} is configured")
        future: asyncio.Future[TestResult] = self._loop.create_future()

        def done(result: TestResult) -> None:
            self._call(lambda: None if future.done() else future.set_result(result))

        sampler.test(done)
        return await future

    def _deliver(self, contribution: Contribution) -> None:
        self._call(lambda: self._handle(seeder.Delivered(contribution)))

    def _sampler_changed(self, name: str, usable: bool) -> None:  # noqa: FBT001 (a callback)
        self._call(lambda: self._handle(seeder.SourceChanged(name, usable)))

    def _call(self, call: Callable[[], object]) -> None:
        # A sampler may speak up while the loop is already closed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _want_fresh(self, worker: WorkerHandle, number: int) -> None:
        who = (worker.number, number)
        self._waiting[who] = lambda answer: worker.send(Fresh(number, answer.met, answer.live))
        self._handle(seeder.FreshWanted(who))

    def _connection_ended(self, worker: WorkerHandle, number: int) -> None:
        """Nobody waits for its answer any more: requests are bounded by connections."""
        self._forget((worker.number, number))

    def _forget(self, who: Hashable) -> None:
        if self._waiting.pop(who, None) is not None:
            self._handle(seeder.FreshCancelled(who))

    def _handle(self, event: seeder.Event) -> None:
        if self._stop.is_set():
            return  # the sources have been told to stop
        try:
            for action in self._seeder.handle(event, boottime() / 1e9):
                self._carry_out(action)
        except Exception as error:  # noqa: BLE001  (`run` raises it)
            # What was decided is not what was done: nothing that follows can be trusted.
            self._fail(error)
            return
        self._wake_in_time()
        if not self._settled.is_set() and all(one.settled for one in self._samplers):
            self._settled.set()

    def _fail(self, error: Exception) -> None:
        """Have `run` raise this, unless it is about to raise another."""
        if not self._failed.done():
            self._failed.set_exception(error)

    def _carry_out(self, action: seeder.Action) -> None:
        match action:
            case seeder.Demand():
                for sampler in self._samplers:
                    sampler.demand()
            case seeder.Reseed(seed, cause):
                self._reseed(seed, cause)
            case seeder.Forget():
                self.root.forget()
                self._workers.forget()
            case seeder.Publish(state, ok_until, serves_until):
                self.root.page.publish(state, round(ok_until * 1e9), round(serves_until * 1e9))
            case seeder.Announce(state, reason):
                self._workers.wake()
                if reason:
                    log.warning("the service is %s: %s", state.label, reason)
                else:
                    log.info(
                        "the service is %s (generation %d)", state.label, self.root.generation
                    )
            case seeder.Answer(who):
                if (tell := self._waiting.pop(who, None)) is not None:
                    tell(action)

    def _reseed(self, seed: Seed, cause: Cause) -> None:
        for sampler in self._samplers:
            sampler.credited_bits += seed.brought.get(sampler.name, 0.0)
        generation = self.root.reseed(seed, self._workers.send_seeds)
        self.reporter.note_seed(seed)
        self._history.note_seed(seed, cause, generation)
        self._seeded.set()

    def _wake_in_time(self) -> None:
        """Have a tick come when the seeder wants one."""
        at = self._seeder.wake_at
        if at == self._woken_at:
            return
        self._woken_at = at
        if self._waker is not None:
            self._waker.cancel()
        if at is not None:
            self._waker = self._loop.call_later(at - boottime() / 1e9, self._wake)

    def _wake(self) -> None:
        self._woken_at = None
        self._handle(seeder.Tick())

    async def _tick_for_ever(self) -> None:
        while True:
            self._tick(time.monotonic())
            await asyncio.sleep(TICK_SECONDS)

    def _tick(self, now: float) -> None:
        for sampler in self._samplers:
            sampler.tick()
        self._handle(seeder.Tick())
        self._workers.tick()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self._listeners.check()
        state, reason = self.reporter.state()
        shown = f"{state.label}, generation {self.root.generation}"
        self._notifier.show(f"{shown}: {reason}" if reason else shown)
        self._notifier.keep_alive(now, TICK_SECONDS)

    async def _announce_ready(self) -> None:
        await self._workers.ready()
        await self._seeded.wait()
        self._notifier.send(READY="1")

    async def _greet(self, on_settled: Callable[[ServiceStatus], None]) -> None:
        """Greet once it is known how every source is, or after the longest deadline.

        Without a seed too: that is when it matters most what the sources say.
        """
        longest = max((sampler.config.deadline for sampler in self._samplers), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest + TICK_SECONDS):
                await self._workers.ready()
                await self._seeded.wait()
                await self._settled.wait()
        _give_memory_back()
        on_settled(self.reporter.status())

    async def _end(self) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()
        for sampler in self._samplers:
            sampler.stop()
        await self._workers.stop()
        self.root.erase()
        self._history.stop()


def _give_memory_back() -> None:
    """Have libc return what the start took and freed: 0.6 MB (malloc_trim(3), glibc's)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
