"""The state of one source: pure, with its clocks handed in.

    absent -> starting -> healthy <-> suspect -> failed -> (pause) -> starting

* `starting`: opened, and 1,024 samples are tested before the first one is used.
* `suspect`: an intermittent alarm (false alarm rate 2^-30 per sample).  Nothing
  it yields is used until it has passed its probation.
* `failed`: a permanent alarm (2^-60), a fault, or a second intermittent alarm within
  2^16 samples.  Opened again after a pause that doubles from 1 to 60 seconds.
* `absent`: not on this machine, and not seen healthy before; looked for again
  after the same pause.

The probation is 1,024 samples in a row without an alarm, and with each alarm of a source
in use twice as many as with the last one, up to 2^16; the startup test after a failure is
as long.  2^20 samples without an alarm end that.  A source whose alarms come back is used
less and less: with one in each 2^16 samples, not at all in the end.

A source that was healthy and is then not found has `failed`, with the reason:
an operator must not have to guess that there once was a device.

What this does not protect against: an adversary who controls a source and
feeds it plausible bytes.  That is what mixing and independence groups are for.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim

from .alarms import Alarm, Finding, Level
from .continuous import HealthTests
from .cutoffs import RETURN_SAMPLES

#: Seconds before a failed source is tried again: first and longest.  The first
#: lets a restarted daemon (tpm2-abrmd, swtpm) come back; the longest keeps the
#: wait of somebody who has just repaired a device below a minute.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

#: Clean samples after the startup test, and after the first alarm in FORGET_SAMPLES; the
#: most it grows to, so that a source with an alarm in each of these never gets through.
FIRST_PROBATION: Final = STARTUP_SAMPLES
LONGEST_PROBATION: Final = RETURN_SAMPLES

#: Clean samples after which the probation is the first again: 16 times what a source
#: must last without a second alarm.  A sound one has an alarm in these with a chance
#: below 2^-9 (2^20 times 2^-29.5, see RETURN_SAMPLES), which then costs it 2,048.
FORGET_SAMPLES: Final = 16 * RETURN_SAMPLES

Clock = Callable[[], float]


class SourceState(StrEnum):
    """See the module's docstring."""

    ABSENT = "absent"
    STARTING = "starting"
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAILED = "failed"


class SourceMonitor:
    """What is known of one source's health, fed with what its sampler sees."""

    def __init__(self, monotonic: Clock, wall: Clock) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._tests: HealthTests | None = None
        self._clean = 0
        self._probation = FIRST_PROBATION
        self._next_probation = FIRST_PROBATION
        self._since_alarm = FORGET_SAMPLES
        """Samples since the last alarm of a test; more are not told apart."""
        self._pause = 0.0
        self._next_pause = FIRST_PAUSE
        self._entered = monotonic()
        self._was_healthy = False
        self.state = SourceState.STARTING
        self.since = wall()
        """When it came into this state, seconds since the epoch."""
        self.reason = "not opened yet"
        self.remedy = ""
        self.samples = 0
        """Samples tested since the daemon started."""
        self.alarms: Counter[Alarm] = Counter()

    @property
    def usable(self) -> bool:
        """Whether what it yields now may go into the pool."""
        return self.state is SourceState.HEALTHY

    @property
    def is_open(self) -> bool:
        """Whether it is being sampled."""
        return self._tests is not None

    @property
    def open_at(self) -> float:
        """Monotonic time from which it may be opened (again)."""
        return self._entered + self._pause

    @property
    def pause(self) -> float:
        """Seconds from its last failure to the moment at which it is tried again."""
        return self._pause

    @property
    def tried_again_at(self) -> float | None:
        """When it is tried again, in seconds since the epoch; None where it did not fail."""
        if self.state not in {SourceState.FAILED, SourceState.ABSENT}:
            return None
        return self._wall() + self.open_at - self._monotonic()

    def opened(self, claim: Claim, key: bytes) -> None:
        """The source is open; its startup test begins.  `key`: as HealthTests takes it."""
        self._tests = HealthTests(claim, key)
        self._clean = 0
        longer = self._probation > FIRST_PROBATION
        over = f" over {self._probation} samples, after alarms" if longer else ""
        self._enter(SourceState.STARTING, f"startup test{over}")

    def sampled(self, data: bytes | bytearray, count: int) -> bool:
        """Test `count` samples; True when they may be used."""
        if self._tests is None:
            msg = "samples of a source that is not open"
            raise RuntimeError(msg)
        self.samples += count
        was_usable = self.usable
        finding = self._tests.feed(data)
        came_back = self._since_alarm < RETURN_SAMPLES
        self._since_alarm = min(self._since_alarm + count, FORGET_SAMPLES)
        if finding is None:
            # A run raises each level once.  Below H = 0.03 more than 1,024 samples
            # lie between the two: they are not clean.
            if not self._tests.alarm_stands:
                self._clean_samples(count)
            return was_usable
        if finding.level is Level.PERMANENT:
            self.failed_test(finding)
        elif self.state is SourceState.STARTING:
            self.failed_test(finding, "startup test: ")
        elif came_back:
            self.failed_test(finding, f"a second alarm within {RETURN_SAMPLES} samples: ")
        else:
            self._alarmed(finding)
            self._enter(SourceState.SUSPECT, finding.describe())
        return False

    def failed_test(self, finding: Finding, which: str = "") -> None:
        """A test found what fails the source; `which` stands before it in the reason."""
        self._alarmed(finding)
        self._fail(f"{which}{finding.describe()}")

    def fault(self, alarm: Alarm, reason: str, remedy: str = "") -> None:
        """It hung, raised or came back short."""
        self.alarms[alarm] += 1
        self._fail(reason, remedy)

    def missing(self, reason: str, remedy: str = "") -> None:
        """It is not on this machine, or has gone."""
        if self._was_healthy:
            if self.state is not SourceState.FAILED:
                self.alarms[Alarm.GONE] += 1
            self._fail(reason, remedy)
        else:
            self._retry_later(SourceState.ABSENT, reason, remedy)

    def _clean_samples(self, count: int) -> None:
        self._clean += count
        if self._since_alarm >= FORGET_SAMPLES:
            self._probation = self._next_probation = FIRST_PROBATION
        if self.state is SourceState.HEALTHY:
            if self._monotonic() - self._entered > LONGEST_PAUSE:
                self._next_pause = FIRST_PAUSE
        elif self._clean >= self._probation:
            self._was_healthy = True
            self._enter(SourceState.HEALTHY, "")

    def _alarmed(self, finding: Finding) -> None:
        self.alarms[finding.alarm] += 1
        self._clean = self._since_alarm = 0
        # One that fails its startup test was not used, and may be repaired next.
        if self.state is not SourceState.STARTING:
            self._probation = self._next_probation
            self._next_probation = min(2 * self._probation, LONGEST_PROBATION)

    def _fail(self, reason: str, remedy: str = "") -> None:
        self._retry_later(SourceState.FAILED, reason, remedy)

    def _retry_later(self, state: SourceState, reason: str, remedy: str) -> None:
        self._tests = None
        self._pause = self._next_pause
        self._next_pause = min(2 * self._pause, LONGEST_PAUSE)
        self._enter(state, reason, remedy)

    def _enter(self, state: SourceState, reason: str, remedy: str = "") -> None:
        if self.state is not state:
            self.since = self._wall()
        self.state = state
        self.reason = reason
        self.remedy = remedy
        self._entered = self._monotonic()
