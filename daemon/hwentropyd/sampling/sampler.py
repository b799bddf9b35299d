"""A sampler: one source's own thread, so that a hung one holds up nothing else.

    open -> startup test -> a batch every `poll_seconds`, or at once on demand
         -> on any fault: close, wait the monitor's pause, open again

A batch is as many samples as credit `min_bits`, so that each healthy source
alone could carry a seed, but no more than a digest of the pool holds and at most 1,024:
a source of which little is claimed takes several, one after another where somebody asks.
On-demand tests and batches take turns where both are wanted, so however often somebody has
the source tested, it goes on giving; a test is not broken off for that, since its samples
have to be consecutive (SP 800-90B 4.3).

The event loop calls `tick`, which declares a call that overran its deadline hung.
A thread that is stuck in a system call cannot be stopped; its late result is thrown
away and the sampler goes on once it returns.  A source in a collector ends its late
calls itself.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from hwentropy_core.attestation import Attestation
from hwentropy_core.limits import MIN_SEED_BITS
from hwentropy_core.memory import wipe
from hwentropy_core.page import boottime
from hwentropy_core.status import SourceStatus
from hwentropy_sources.contract import (
    STARTUP_SAMPLES,
    Claim,
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)
from hwentropy_sources.health import Alarm, HealthTests
from hwentropy_sources.health.monitor import SourceMonitor, SourceState
from hwentropy_sources.health.repeats import KEY_BYTES
from hwentropyd.seeding.pool import SOURCE_DIGESTS, Contribution

from . import claims
from .faults import SourceFault, hung, raised, wrong_length
from .shown import TestResult, status_of

log = logging.getLogger(__name__)

#: Least H of a sample that is credited, 1/205: below, all that the pool keeps of a source, 64
#: batches of 1,024 samples, holds no seed.
LEAST_CREDITED: Final = MIN_SEED_BITS / (SOURCE_DIGESTS * STARTUP_SAMPLES)

#: Called from the sampler's thread.
Deliver = Callable[[Contribution], None]
#: So too: what was signed, or why nothing was.
Attested = Callable[[Attestation | None, str], None]


class _FaultNotedError(Exception):
    """The monitor knows already what went wrong with this call."""


class Sampler:
    """One source with its monitor and its thread."""

    def __init__(
        self,
        name: str,
        source: Source,
        config: SourceConfig,
        *,
        min_bits: int,
        poll_seconds: float,
        deliver: Deliver,
        changed: Callable[[bool], None],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = lambda: boottime() / 1e9,
    ) -> None:
        """`changed` is called, from the sampler's thread, after every change of state.

        It is told whether the source was usable then: by the time somebody acts on it,
        the source may have failed and recovered, and what it gave before must not count.
        """
        self.name = name
        self.kind = config.kind or source.kind
        self.config = config
        self._may_be_credited = config.credit and source.credited
        self.credited_bits = 0.0
        """Bits credited to it in seeds so far; the supervisor counts."""
        self._source = source
        self._min_bits = min_bits
        self._poll_seconds = poll_seconds
        self._deliver = deliver
        self._changed = changed
        self._monotonic = monotonic
        self._boot = boot
        self.monitor = SourceMonitor(monotonic, wall)
        self._description = self._described()
        self._lock = threading.Condition()
        self._bits_wanted = 0.0
        """Claimed bits still to be drawn without waiting for the next look."""
        self._stopping = False
        self._next_poll = 0.0
        self._opened = 0.0
        self._busy_since: float | None = None
        self._overran = False
        self._tests: list[Callable[[TestResult], None]] = []
        self._running_tests: list[Callable[[TestResult], None]] = []
        self._tested_last = False
        self._statements: list[tuple[bytes, Attested]] = []
        self._told = (self.monitor.state, self.monitor.reason)
        self._thread = threading.Thread(target=self._run, name=f"sampler-{name}", daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next step; does not wait for it."""
        with self._lock:
            self._stopping = True
            self._lock.notify()

    def demand(self) -> None:
        """Draw what credits `min_bits` as soon as possible."""
        with self._lock:
            claim = self._description.claim
            # No more than the pool keeps, or a least claim would have it at work for ever.
            most = SOURCE_DIGESTS * claims.batch(claim, self._min_bits) * claim.min_entropy
            self._bits_wanted = min(self._min_bits, most)
            self._lock.notify()

    def test(self, done: Callable[[TestResult], None]) -> None:
        """Run the on-demand test; `done` is called from the sampler's thread."""
        with self._lock:
            stuck = self._busy_since is not None and self._overran
            if not stuck:
                self._tests.append(done)
                self._lock.notify()
        if stuck:
            done(self._test_result(ran=False))

    def attest(self, statement: bytes, done: Attested) -> None:
        """Have the source's device sign; `done` is called from the sampler's thread."""
        with self._lock:
            self._statements.append((statement, done))
            self._lock.notify()

    def tick(self) -> None:
        """Declare a call hung that took longer than its deadline."""
        with self._lock:
            if (
                self._source.ends_late_calls
                or self._busy_since is None
                or self._overran
                or self._monotonic() - self._busy_since < self.config.deadline
            ):
                return
            self._overran = True
            fault = hung(self.config.deadline)
            self.monitor.fault(fault.alarm, fault.reason, fault.remedy)
            tests = [*self._running_tests, *self._tests]
            self._running_tests.clear()
            self._tests.clear()
        for done in tests:
            done(self._test_result(ran=True))
        self._tell()

    @property
    def credited(self) -> bool:
        """Whether it may be: one that claims too little to fill a seed would be waited for."""
        return self._may_be_credited and self._description.claim.min_entropy >= LEAST_CREDITED

    @property
    def group(self) -> str:
        """Its independence group."""
        return self._description.group

    @property
    def usable(self) -> bool:
        """Whether it is healthy."""
        return self.monitor.usable

    @property
    def strength(self) -> int | None:
        """Bits that the DRBG behind it holds; None: a live source."""
        return self._description.claim.strength

    @property
    def settled(self) -> bool:
        """Whether it has found out how it is."""
        return self.monitor.state is not SourceState.STARTING

    def status(self) -> SourceStatus:
        """What `hwentropy sources` shows of it."""
        with self._lock:
            return status_of(
                self.name,
                self.kind,
                self._description,
                self.monitor,
                credited=self.credited,
                credited_bits=self.credited_bits,
            )

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._stopping and (wait := self._wait_seconds()) > 0:
                    self._lock.wait(wait)
                if self._stopping:
                    break
                statements, self._statements = self._statements, []
            for statement, done in statements:
                done(*self._attested(statement))
            if statements:
                self._tell()
                continue
            with self._lock:
                wanted, self._bits_wanted = self._bits_wanted, 0.0
                # Work that is due comes between two tests.
                if not self._tested_last or self._seconds_to_work(wanted) > 0:
                    self._running_tests, self._tests = self._tests, []
                self._tested_last = bool(self._running_tests)
            was_open = self.monitor.is_open
            try:
                self._step(wanted)
            except _FaultNotedError:
                self._close()
            except BaseException as error:  # noqa: BLE001  (a plug-in may raise anything)
                self._note(error)
                self._close()
            self._answer_tests(self._test_result(ran=was_open))
            self._tell()
        self._close()

    def _wait_seconds(self) -> float:
        """Seconds until there is something to do; at most what a condition can wait."""
        if self._tests or self._statements:
            return 0.0
        return self._seconds_to_work(self._bits_wanted)

    def _seconds_to_work(self, wanted: float) -> float:
        """Seconds until it is to be opened or sampled, tests apart."""
        now = self._monotonic()
        if not self.monitor.is_open:
            return self.monitor.open_at - now
        if wanted > 0 or self.monitor.state is not SourceState.HEALTHY:
            return 0.0
        return self._next_poll - now

    def _step(self, wanted: float) -> None:
        if not self.monitor.is_open:
            if not self._running_tests:
                self._open()
            return
        if self._running_tests:
            self._answer_tests(self._test_on_demand())
            with self._lock:
                self._bits_wanted = max(self._bits_wanted, wanted)
            return
        claim = self._description.claim
        count = claims.batch(claim, self._min_bits)
        started = self._boot()
        data = self._read(count, claim)
        with self._lock:
            usable = self.monitor.sampled(data, count)
            failed = self.monitor.state is SourceState.FAILED
        if failed:
            wipe(data)
            self._close()
            return
        if usable:
            bits = count * claim.min_entropy
            self._next_poll = self._monotonic() + self._poll_seconds
            with self._lock:
                # Somebody may have asked meanwhile: for samples later than these.
                self._bits_wanted = max(self._bits_wanted, wanted - bits)
            self._deliver(
                Contribution(
                    self.name,
                    self.group,
                    data,
                    bits if self.credited else 0.0,
                    started,
                    claims.backing(claim, self._opened),
                )
            )
        else:
            wipe(data)
        self._look_at_facts()

    def _open(self) -> None:
        self._opened = self._boot()
        self._timed(self._source.open)
        description = self._timed(self._described)
        key = os.urandom(KEY_BYTES)
        with self._lock:
            self._description = description
            self._next_poll = 0.0
            self.monitor.opened(description.claim, key)

    def _look_at_facts(self) -> None:
        """What it says of itself may change while it is open; group and claim may not."""
        facts = self._timed(self._source.describe).facts
        with self._lock:
            self._description = replace(self._description, facts=facts)

    def _read(self, count: int, claim: Claim) -> bytearray:
        """One read, its length checked; raises what the source raises, or SourceError."""
        expected = count * claim.sample_bytes
        got = self._timed(lambda: self._source.read(count, self.config.deadline))
        # By way of memoryview: a number would become that many zeros.
        data = got if isinstance(got, bytearray) else bytearray(memoryview(got))
        if len(data) != expected:
            wipe(data)
            raise wrong_length(len(data), expected)
        return data

    def _test_on_demand(self) -> TestResult:
        claim = self._description.claim
        tests = HealthTests(claim, os.urandom(KEY_BYTES))
        chunk = claims.batch(claim, self._min_bits)
        done = 0
        while done < STARTUP_SAMPLES:
            count = min(chunk, STARTUP_SAMPLES - done)
            data = self._read(count, claim)
            finding = tests.feed(data)
            wipe(data)
            done += count
            with self._lock:
                self.monitor.samples += count
            if finding is not None:
                with self._lock:
                    self.monitor.failed_test(finding, "on-demand test: ")
                    reason = self.monitor.reason
                self._close()
                return TestResult(ran=True, passed=False, samples=done, reason=reason)
        return TestResult(ran=True, passed=True, samples=done, reason="")

    def _attested(self, statement: bytes) -> tuple[Attestation | None, str]:
        if not self.monitor.is_open:
            return None, f"the source is {self.monitor.state.value}"
        try:
            attestation = self._timed(lambda: self._source.attest(statement))
        except SourceFault as fault:
            self._note(fault)
            self._close()
            return None, fault.reason
        except SourceError as error:
            return None, error.reason
        except _FaultNotedError:
            self._close()
            return None, self.monitor.reason
        return attestation, "its device does not sign"

    def _test_result(self, *, ran: bool) -> TestResult:
        return TestResult(ran=ran, passed=False, samples=0, reason=self.monitor.reason)

    def _answer_tests(self, result: TestResult) -> None:
        with self._lock:
            tests, self._running_tests = self._running_tests, []
        for done in tests:
            done(result)

    def _timed(self, call: Callable[[], Any]) -> Any:
        with self._lock:
            self._overran = False
            self._busy_since = self._monotonic()
        late = None
        try:
            late = call()
            return late
        finally:
            with self._lock:
                self._busy_since = None
                overran = self._overran
            if overran:
                if isinstance(late, bytearray):
                    wipe(late)
                raise _FaultNotedError

    def _note(self, error: BaseException) -> None:
        """Tell the monitor what a call of the source raised."""
        with self._lock:
            if isinstance(error, SourceAbsent):
                self.monitor.missing(error.reason, error.remedy)
                return
            if not isinstance(error, SourceError):
                error = raised(type(error).__name__)
            alarm = error.alarm if isinstance(error, SourceFault) else Alarm.ERROR
            self.monitor.fault(alarm, error.reason, error.remedy)

    def _close(self) -> None:
        try:
            self._timed(self._source.close)
        except _FaultNotedError:
            log.warning("source %s took too long to close", self.name)
        except BaseException as error:  # noqa: BLE001  (a plug-in may raise anything)
            log.warning("source %s raised %s on close", self.name, type(error).__name__)

    def _described(self) -> Description:
        return claims.configured(self._source.describe(), self.config)

    def _tell(self) -> None:
        """Log a change of state, once, and let the supervisor know."""
        monitor = self.monitor
        with self._lock:
            if self._stopping or self._told == (monitor.state, monitor.reason):
                return
            self._told = (monitor.state, monitor.reason)
            usable = monitor.usable
            remedy = f"; {monitor.remedy}" if monitor.remedy else ""
            again = f"; tried again in {monitor.pause:.0f} s"
        if monitor.state is SourceState.FAILED:
            log.warning("source %s failed: %s%s%s", self.name, monitor.reason, remedy, again)
        elif monitor.state is SourceState.SUSPECT:
            log.warning("source %s is suspect: %s", self.name, monitor.reason)
        elif monitor.state is SourceState.HEALTHY:
            log.info("source %s is healthy", self.name)
        self._changed(usable)
