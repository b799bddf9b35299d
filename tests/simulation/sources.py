"""A source on the simulated clock: what its sampler does, without a thread or a device.

The monitor and its health tests are the daemon's own, on real bytes.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim
from hwentropy_sources.health.alarms import Alarm
from hwentropy_sources.health.monitor import LONGEST_PROBATION, SourceMonitor
from hwentropy_sources.health.repeats import KEY_BYTES
from hwentropyd.seeding.credit import DIGEST_BITS, Backing
from hwentropyd.seeding.pool import Contribution


class Fault(Enum):
    """What a source can do wrong."""

    STUCK = auto()
    BIASED = auto()
    HANG = auto()
    GONE = auto()
    ERROR = auto()
    SHORT = auto()


class Host(Protocol):
    """What a source needs of the world."""

    @property
    def now(self) -> float:
        """The simulated clock, in seconds."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something called after so many seconds."""
        ...

    def delivered(self, contribution: Contribution) -> None:
        """Tell the supervisor of samples."""
        ...

    def changed(self, name: str, *, usable: bool) -> None:
        """Tell the supervisor of another state."""
        ...


@dataclass(frozen=True)
class Nature:
    """What a source is."""

    name: str
    group: str
    credited: bool
    min_entropy: float
    read_seconds: float
    deadline: float
    steady: bool
    """Never faulty."""
    strength: int | None
    """Bits that the DRBG behind it holds; None: live."""
    renewal_seconds: float | None
    """Of that DRBG."""


class SimulatedSource:
    """One source: opened, tested, sampled on demand and every `poll_seconds`."""

    def __init__(
        self,
        nature: Nature,
        min_bits: int,
        poll_seconds: float,
        chance: random.Random,
        host: Host,
    ) -> None:
        self.nature = nature
        self.fault: Fault | None = None
        self._claim = Claim(8, nature.min_entropy, "simulated")
        bits = min(min_bits, DIGEST_BITS)
        self._batch = min(math.ceil(bits / nature.min_entropy), STARTUP_SAMPLES)
        self.openings: list[float] = []
        self._min_bits = min_bits
        self._poll_seconds = poll_seconds
        self._chance = chance
        self._host = host
        self._monitor = SourceMonitor(lambda: host.now, lambda: host.now)
        self._wanted = 0.0
        self._busy = False
        self._clean = 0
        """Samples since it was opened or last gave an alarm."""
        self._next = 0.0
        """When the step comes that is waited for."""
        self._told = False
        self._step()

    @property
    def name(self) -> str:
        """As in a configuration."""
        return self.nature.name

    @property
    def group(self) -> str:
        """Its independence group."""
        return self.nature.group

    @property
    def credited(self) -> bool:
        """False: mixed in only."""
        return self.nature.credited

    @property
    def usable(self) -> bool:
        """Whether it is healthy, as its monitor sees it."""
        return self._monitor.usable

    @property
    def strength(self) -> int | None:
        """Bits that the DRBG behind it holds."""
        return self.nature.strength

    @property
    def longest_startup(self) -> float:
        """Seconds that the reads of its startup test take after many alarms."""
        return math.ceil(LONGEST_PROBATION / self._batch) * self.nature.read_seconds

    def demand(self) -> None:
        """As Sampler.demand."""
        self._wanted = self._min_bits
        if not self._busy and self._monitor.is_open:
            self._step()

    def _step(self) -> None:
        if self._busy:
            return
        if not self._monitor.is_open:
            if self._host.now < self._monitor.open_at:
                self._again(self._monitor.open_at - self._host.now)
                return
            if self.fault is Fault.GONE:
                self._failed(lambda: self._monitor.missing("not here"))
                return
            self._clean = 0
            self.openings.append(self._host.now)
            self._monitor.opened(self._claim, bytes(KEY_BYTES))
            self._tell()
        self._busy = True
        started, wanted = self._host.now, self._wanted
        self._wanted = 0.0
        hangs = self.fault is Fault.HANG
        seconds = self.nature.deadline if hangs else self.nature.read_seconds
        self._host.later(seconds, lambda: self._finish(started, wanted))

    def _finish(self, started: float, wanted: float) -> None:
        self._busy = False
        alarm = (
            {
                Fault.HANG: Alarm.HANG,
                Fault.ERROR: Alarm.ERROR,
                Fault.SHORT: Alarm.SHORT,
            }.get(self.fault)
            if self.fault
            else None
        )
        if alarm is not None:
            self._failed(lambda: self._monitor.fault(alarm, "simulated"))
            return
        if self.fault is Fault.GONE:
            self._failed(lambda: self._monitor.missing("gone"))
            return
        data = self._data()
        alarms = self._monitor.alarms.total()
        if self._monitor.sampled(data, len(data)):
            assert self._clean >= STARTUP_SAMPLES, f"{self.name}: used before it was tested"
            bits = self._batch * self.nature.min_entropy
            self._wanted = max(self._wanted, wanted - bits)
            self._host.delivered(
                Contribution(
                    self.name,
                    self.group,
                    data,
                    bits if self.credited else 0.0,
                    started,
                    self._backing(),
                )
            )
        self._clean = self._clean + len(data) if self._monitor.alarms.total() == alarms else 0
        self._tell()
        if not self._monitor.is_open:
            self._step()
        elif self._wanted > 0 or not self.usable:
            self._again(0.0)
        else:
            self._again(self._poll_seconds)

    def _backing(self) -> Backing | None:
        nature = self.nature
        if nature.strength is None:
            return None
        return Backing(nature.strength, nature.renewal_seconds, self.openings[-1])

    def _data(self) -> bytearray:
        if self.fault is Fault.STUCK:
            return bytearray([7]) * self._batch
        data = bytearray(self._chance.randbytes(self._batch))
        if self.fault is Fault.BIASED:
            for at in range(0, len(data), 2):
                data[at] = 7
        return data

    def _failed(self, note: Callable[[], None]) -> None:
        note()
        self._tell()
        self._step()

    def _again(self, seconds: float) -> None:
        at = self._next = self._host.now + seconds

        def step() -> None:
            if self._next == at:  # none was asked for since
                self._step()

        self._host.later(seconds, step)

    def _tell(self) -> None:
        if self._told != self.usable:
            self._told = self.usable
            self._host.changed(self.name, usable=self.usable)
