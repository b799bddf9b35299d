"""The time of reads that go past the caches: the kind `jitter`, a raw noise source.

A sample is the low 8 bits of the time that some reads of memory took, counted in steps of
the CPU's counter.  Nothing is conditioned: `read` yields the samples as they are measured,
`tools/jitter.py` writes them, or the raw differences of the counter, to a file.
docs/jitter.md is the stochastic model: where the unpredictability comes from, what H was
assessed at, and why it is credited only where the operator says so.

    open   a look of 1,024 differences finds the counter's step and the reads of a sample
    read   the C extension `_jitter` measures; time // step, its low 8 bits

It sleeps when nobody asks, and takes at most 5 % of one CPU however often somebody does.

What this does not protect against: a host that simulates counter or memory, or that reads
what is ours; a neighbour that sees the same memory's delays.  The differences of a read
are overwritten; the numbers that Python made of them on the way are freed as they are.
"""

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import ClassVar, Final

from hwentropy_core.memory import wipe

from .contract import Claim, Description, Source, SourceAbsent, SourceConfig, SourceError
from .extension import load_extension

#: NIST's estimators gave 3.7 bits at the least on the machine that was assessed
#: (docs/jitter.md).  1/16 leaves a factor of 60 for machines that nobody has assessed.
CLAIM: Final = Claim(
    bits_per_sample=8,
    min_entropy=1 / 16,
    provenance="assessed on one machine with SP 800-90B's estimators, and a 60th of it",
    whitened=False,
    lag=True,
)

#: Differences of a look.  As many as the startup test has samples.
LOOK: Final = 1024

#: Reads of one sample: the fewest that take LEAST_STEPS.  64 is a round of all lines.
READS: Final = (8, 16, 32, 64)

#: Steps of the counter that the median sample takes.  Of 32 a change of 3 % shows; where
#: fewer fit into 64 reads, most of what varies falls between two steps.
LEAST_STEPS: Final = 32

#: Share of one CPU, and seconds of it that may be taken at once.  The service makes at
#: most four reseeds a second, of 5,120 samples each (320 bits at H = 1/16); at the 0.6 us
#: of the machine that was measured this is 1.3 %.  5 % serves one that is four times as
#: slow, and a second's worth at once its startup test and first seed.
CPU_SHARE: Final = 0.05
CPU_BURST: Final = 0.05


def load_jitter() -> ModuleType:
    """The C extension; raises SourceAbsent when it was not built or does not load."""
    return load_extension("hwentropy_sources._jitter")


def step_of(deltas: Sequence[int]) -> int:
    """The step that a counter moves by: the most common divisor of 8 differences.

    Counters count a slower clock in multiples (26 at a time on an AMD EPYC of 2.6 GHz).
    8 multiples of the step have a larger divisor with a chance of 1 - 1/zeta(8) = 0.4 %,
    and a single difference that is no multiple spoils one group of 8 and not the look.
    0 where the counter stands still.
    """
    divisors = Counter(math.gcd(*deltas[at : at + 8]) for at in range(0, len(deltas), 8))
    return divisors.most_common(1)[0][0]


def samples_of(deltas: Sequence[int], step: int) -> bytearray:
    """The low 8 bits of each difference, in steps."""
    return bytearray([delta // step & 0xFF for delta in deltas])


@dataclass(frozen=True, slots=True)
class Look:
    """What `open` found out."""

    reads: int
    step: int


class CpuLimit:
    """Work, bounded in the CPU time of the thread that does it.

    Over any span of T seconds at most `share` T + `burst`, and one piece of work more.
    """

    def __init__(
        self,
        share: float,
        burst: float,
        *,
        cpu: Callable[[], float] = time.thread_time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share = share
        self._burst = burst
        self._cpu = cpu
        self._monotonic = monotonic
        self._sleep = sleep
        self._left = burst
        self._at = monotonic()
        self.used = 0.0
        """Seconds of CPU so far."""

    def do(self, work: Callable[[], None], timeout: float) -> None:
        """Wait until there is CPU time left, then work.

        Raises SourceError where that would take longer than `timeout` seconds.
        """
        now = self._monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._share)
        self._at = now
        wait = max(0.0, -self._left / self._share)
        if wait > timeout:
            raise SourceError(
                f"no CPU time is left for it within {timeout:g} s: it may take "
                f"{self._share:.0%} of one CPU",
                "raise its `deadline`",
            )
        if wait:
            self._sleep(wait)
        before = self._cpu()
        try:
            work()
        finally:
            spent = self._cpu() - before
            self._left -= spent
            self.used += spent


class JitterConfig(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys of a `jitter` table."""

    credit: bool = False
    """As everywhere; false, as H was not assessed on the machine that it runs on."""


class Jitter(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "jitter"
    Config: ClassVar[type[SourceConfig]] = JitterConfig

    def __init__(
        self,
        config: SourceConfig | None = None,
        *,
        load: Callable[[], ModuleType] = load_jitter,
        limit: CpuLimit | None = None,
    ) -> None:
        self.config = config if config is not None else JitterConfig()
        self._load = load
        self._limit = limit if limit is not None else CpuLimit(CPU_SHARE, CPU_BURST)
        self._extension: ModuleType | None = None
        self._look: Look | None = None

    def describe(self) -> Description:
        """What the look found, and what it has cost so far."""
        facts: dict[str, str] = {}
        if self._extension is not None and self._look is not None:
            facts = {
                "counter": str(self._extension.COUNTER),
                "step": str(self._look.step),
                "reads": str(self._look.reads),
                "cpu": f"{self._limit.used:.3f} s",
            }
        return Description("jitter", CLAIM, facts)

    def open(self) -> None:
        """Look at the counter."""
        self.close()
        self._extension = self._load()
        if not self._extension.COUNTER:
            self._extension = None
            raise SourceAbsent(
                f"no counter and no cache flush is known on {platform.machine()}",
                "x86-64 and aarch64 have them",
            )
        try:
            self._look = self._find()
        finally:
            if self._look is None:
                self._extension = None

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says.

        A sample takes below a microsecond to some microseconds; `timeout` bounds the wait
        for CPU time.
        """
        if self._look is None:
            raise SourceError("the jitter source is not open")
        deltas = self.deltas(samples, self._look.reads, timeout)
        try:
            with memoryview(deltas).cast("Q") as numbers:
                return samples_of(numbers, self._look.step)
        finally:
            wipe(deltas)

    def deltas(self, count: int, reads: int, timeout: float) -> bytearray:
        """Raw differences of the counter, `reads` reads each, as native 64-bit integers."""
        if self._extension is None:
            raise SourceError("the jitter source is not open")
        out = bytearray(8 * count)
        self._limit.do(partial(self._extension.deltas, out, reads), timeout)
        return out

    def close(self) -> None:
        """Nothing is held."""
        self._extension = None
        self._look = None

    def _find(self) -> Look:
        steps = 0
        for reads in READS:
            deltas = self.deltas(LOOK, reads, self.config.deadline)
            numbers = sorted(memoryview(deltas).cast("Q"))
            step = step_of(memoryview(deltas).cast("Q"))
            wipe(deltas)
            if not step:
                raise SourceError(
                    "the counter stands still",
                    "the machine may be simulated; switch the source off",
                )
            steps = numbers[LOOK // 2] // step
            if steps >= LEAST_STEPS:
                return Look(reads, step)
        raise SourceAbsent(
            f"the counter is too coarse: {READS[-1]} reads of memory take {steps} of its "
            f"steps, and {LEAST_STEPS} are needed",
            "switch the source off",
        )
