"""The kind `jitter`: what it makes of a counter, what it refuses, and what it costs.

Counters that cannot be had on this machine are scripted: the extension is replaced by
one that fills in what a test says.
"""

import random
import time
from collections.abc import Callable, Iterator
from itertools import chain, count, cycle, islice, repeat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest

from hwentropy_sources import jitter
from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.extension import load_extension
from hwentropy_sources.health import Alarm
from hwentropy_sources.health.monitor import SourceMonitor, SourceState
from hwentropy_sources.health.repeats import KEY_BYTES
from hwentropy_sources.jitter import (
    CPU_BURST,
    CPU_SHARE,
    LEAST_STEPS,
    LOOK,
    READS,
    CpuLimit,
    Jitter,
    JitterConfig,
    load_jitter,
    samples_of,
    step_of,
)
from support import needed
from support.compiled import compiles_as_extension

C_SOURCE = Path(jitter.__file__).with_name("_jitter.c")


def noisy(seed: int = 1, step: int = 26, middle: int = 60) -> Iterator[int]:
    """Differences like a real counter's: multiples of a step around a middle."""
    noise = random.Random(seed)
    while True:
        yield step * max(1, round(noise.gauss(middle, 8)))


def scripted(deltas: Iterator[int], counter: str = "tsc") -> Callable[[], ModuleType]:
    """An extension whose counter moves as told, whatever is asked of it."""

    def fill(buffer: bytearray, reads: int) -> None:
        assert reads in READS
        with memoryview(buffer).cast("Q") as numbers:
            for index in range(len(numbers)):
                numbers[index] = next(deltas) % 2**64

    return lambda: cast("ModuleType", SimpleNamespace(COUNTER=counter, deltas=fill))


def opened(deltas: Iterator[int]) -> Jitter:
    source = Jitter(load=scripted(deltas))
    source.open()
    return source


def judged(source: Jitter, samples: int = 1024) -> SourceMonitor:
    """A monitor that has seen these samples of the source."""
    monitor = SourceMonitor(lambda: 0.0, lambda: 0.0)
    monitor.opened(source.describe().claim, bytes(KEY_BYTES))
    for _ in range(0, samples, 1024):
        monitor.sampled(source.read(1024, 1.0), 1024)
        if monitor.state is SourceState.FAILED:
            break
    return monitor


# ---- what a sample is --------------------------------------------------------


def test_a_sample_is_the_low_byte_of_the_steps() -> None:
    """Divided by the step, cut to 8 bits, in the order in which they were measured."""
    assert samples_of([26, 52, 26 * 255, 26 * 256, 26 * 257 + 25], 26) == bytes(
        [1, 2, 255, 0, 1]
    )


@pytest.mark.parametrize("step", [1, 2, 26, 1000])
def test_the_step_is_found(step: int) -> None:
    """The clock behind a counter shows in what its differences have in common."""
    source = noisy(step=step)
    assert step_of([next(source) for _ in range(LOOK)]) == step


def test_one_odd_difference_does_not_hide_the_step() -> None:
    """An interrupt, or a correction of the clock, spoils a group of 8 and no more."""
    source = noisy(step=26)
    deltas = [next(source) for _ in range(LOOK)]
    deltas[100] += 1
    assert step_of(deltas) == 26


def test_samples_are_raw() -> None:
    """Nothing is conditioned, held back or left out between the counter and `read`."""
    script = [26 * (40 + index % 50) for index in range(LOOK)]
    more = [26 * value for value in (3, 3, 300, 7)]
    source = opened(chain(script, more))
    assert source.read(4, 1.0) == bytes([3, 3, 300 & 0xFF, 7])
    claim = source.describe().claim
    assert (claim.whitened, claim.live, claim.lag) == (False, True, True)
    assert claim.min_entropy <= 1 / 16


def test_what_the_look_saw_is_never_yielded() -> None:
    """`read` measures anew."""
    source = opened(chain(islice(noisy(), LOOK), repeat(26 * 7)))
    assert source.read(16, 1.0) == bytes([7] * 16)


def test_it_says_what_it_found() -> None:
    """Counter, step, reads of a sample and CPU time; a group of its own."""
    source = opened(noisy(step=26))
    description = source.describe()
    assert description.group == "jitter"
    facts = dict(description.facts)
    assert facts.pop("cpu").endswith(" s")
    assert facts == {"counter": "tsc", "step": "26", "reads": "8"}
    source.close()
    assert source.describe().facts == {}


def test_it_is_not_credited_until_the_operator_says_so() -> None:
    """H was not assessed on the machine that it runs on."""
    assert JitterConfig().credit is False
    assert Jitter.credited
    assert Jitter.by_default


# ---- counters that are of no use ---------------------------------------------


def test_a_coarse_counter_takes_more_reads() -> None:
    """Twice as many until a sample takes 32 steps."""
    looks = (
        [16] * LOOK + [LEAST_STEPS - 1, LEAST_STEPS - 2] * (LOOK // 2) + [70, 71] * (LOOK // 2)
    )
    source = opened(iter([25 + one % 2 for one in looks[:LOOK]] + looks[LOOK:]))
    assert source.describe().facts["reads"] == str(READS[2])


@pytest.mark.parametrize(
    "deltas",
    [repeat(26), cycle([0, 1]), cycle([4, 5, 4, 6, 4, 5, 5]), cycle([1000, 2000])],
    ids=["constant", "ticks", "few steps", "two values"],
)
def test_a_counter_that_is_too_coarse_is_absent(deltas: Iterator[int]) -> None:
    """Where 64 reads take fewer than 32 steps the variation falls between two of them."""
    source = Jitter(load=scripted(deltas))
    with pytest.raises(
        SourceAbsent, match=r"the counter is too coarse: 64 reads .* 32 are needed"
    ):
        source.open()
    assert source.describe().facts == {}
    with pytest.raises(SourceError, match="not open"):
        source.read(1, 1.0)


def test_a_counter_that_stands_still_is_an_error() -> None:
    """Not `absent`: it is there, and broken."""
    with pytest.raises(SourceError, match="the counter stands still") as raised:
        opened(repeat(0))
    assert not isinstance(raised.value, SourceAbsent)


def test_a_machine_without_a_known_counter_is_absent() -> None:
    """Built on another architecture the extension names none."""
    with pytest.raises(SourceAbsent, match="no counter and no cache flush is known"):
        Jitter(load=scripted(noisy(), counter="")).open()


def test_it_is_absent_where_the_extension_was_not_built() -> None:
    """With what to do about it."""
    source = Jitter(load=lambda: load_extension("hwentropy_sources._not_built"))
    with pytest.raises(SourceAbsent, match="_not_built was not built; install a C compiler"):
        source.open()


# ---- counters that break later: the health tests -----------------------------


def test_a_sound_counter_becomes_healthy_and_stays_so() -> None:
    """50,000 samples and no alarm."""
    monitor = judged(opened(noisy()), 50_000)
    assert (monitor.state, monitor.alarms.total()) == (SourceState.HEALTHY, 0)


@pytest.mark.parametrize(
    ("deltas", "alarm"),
    [
        (repeat(26 * 60), "rct"),
        (cycle([26 * 59, 26 * 61]), "lag-run"),
        (cycle([26 * value for value in range(40, 56)]), "lag-run"),
        # Backwards by a jump: the 64-bit difference wraps, and every second is the same.
        (cycle([-26 * 1000, 26 * 60]), "lag-run"),
    ],
    ids=["constant", "alternating", "period of 16", "jumps back"],
)
def test_a_counter_that_becomes_predictable_fails(deltas: Iterator[int], alarm: str) -> None:
    """Within the startup test's 1,024 samples, as by a simulated machine."""
    source = opened(chain(islice(noisy(), LOOK), deltas))
    monitor = judged(source)
    assert monitor.state is SourceState.FAILED
    assert dict(monitor.alarms) == {alarm: 1}


def test_a_source_that_is_nearly_predictable_fails() -> None:
    """Of 100 samples one is new: H is about 1/20, and `lag` sees it within three windows."""
    noise = noisy()
    deltas = (next(noise) if index % 100 == 0 else 26 * 50 for index in count())
    source = opened(chain(islice(noisy(), LOOK), deltas))
    monitor = judged(source, 3 * 8192)
    assert monitor.state is SourceState.FAILED
    assert monitor.alarms[Alarm.LAG] >= 1


def test_a_jump_of_the_counter_is_no_alarm_and_no_error() -> None:
    """One difference of a suspended machine, or of a counter set back, is one sample."""
    noise = noisy()
    deltas = (-(2**40) if index == 5000 else next(noise) for index in count())
    assert judged(opened(deltas), 20_000).state is SourceState.HEALTHY


# ---- its cost ----------------------------------------------------------------


class Clocks:
    """A wall clock and a CPU clock that move as work and sleep say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    def limit(self, share: float = CPU_SHARE, burst: float = CPU_BURST) -> CpuLimit:
        return CpuLimit(
            share,
            burst,
            cpu=lambda: self.cpu,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )


def test_however_often_it_is_asked_it_takes_its_share() -> None:
    """5 % of a CPU and the burst, and one read, over any time."""
    clocks = Clocks()
    limit = clocks.limit()
    for _ in range(2000):
        limit.do(lambda: clocks.work(0.004), timeout=5.0)
        assert clocks.cpu <= CPU_SHARE * clocks.now + CPU_BURST + 0.004
    assert limit.used == pytest.approx(8.0)
    # 8 s at 5 % take 160 s but for the burst: it is not slower than its share either.
    assert clocks.now <= (8.0 - CPU_BURST) / CPU_SHARE + 1


def test_a_seed_is_drawn_without_a_wait() -> None:
    """The startup test and 5,120 samples at 6 us each are below what it may take at once."""
    clocks = Clocks()
    limit = clocks.limit()
    for _ in range(6):
        limit.do(lambda: clocks.work(1024 * 6e-6), timeout=5.0)
    assert clocks.now == pytest.approx(clocks.cpu)


def test_what_it_did_not_use_is_not_saved_up() -> None:
    """A day's rest gives it the burst and no more."""
    clocks = Clocks()
    limit = clocks.limit()
    clocks.now = 86_400.0
    start = clocks.now
    for _ in range(100):
        limit.do(lambda: clocks.work(0.01), timeout=5.0)
    assert clocks.cpu <= CPU_SHARE * (clocks.now - start) + CPU_BURST + 0.01


def test_a_wait_beyond_the_timeout_is_an_error() -> None:
    """It is said at once, with what to do, and nothing is measured."""
    clocks = Clocks()
    limit = clocks.limit()
    limit.do(lambda: clocks.work(1.0), timeout=5.0)
    with pytest.raises(
        SourceError, match=r"no CPU time is left for it within 5 s.* 5% of one CPU"
    ):
        limit.do(lambda: clocks.work(1.0), timeout=5.0)
    assert clocks.cpu == 1.0


def test_work_that_fails_is_counted_too() -> None:
    """An extension that raises has used the CPU all the same."""
    clocks = Clocks()
    limit = clocks.limit()

    def fail() -> None:
        clocks.work(0.5)
        raise RuntimeError("the extension")

    with pytest.raises(RuntimeError, match="the extension"):
        limit.do(fail, timeout=5.0)
    assert limit.used == 0.5


def test_opening_again_and_again_is_limited_too() -> None:
    """The looks of a source that fails all the time count as its reads do."""
    clocks = Clocks()
    noise = noisy()

    def fill(buffer: bytearray, reads: int) -> None:
        assert reads
        clocks.work(0.02)
        with memoryview(buffer).cast("Q") as numbers:
            for index in range(len(numbers)):
                numbers[index] = next(noise)

    extension = cast("ModuleType", SimpleNamespace(COUNTER="tsc", deltas=fill))
    source = Jitter(load=lambda: extension, limit=clocks.limit())
    for _ in range(20):
        source.open()
        source.close()
    assert clocks.cpu <= CPU_SHARE * clocks.now + CPU_BURST + 0.02


# ---- the extension -----------------------------------------------------------


@pytest.fixture
def extension() -> ModuleType:
    """The extension as installed."""
    try:
        found = load_jitter()
    except SourceAbsent as absent:
        needed.check(str(absent))
        raise
    needed.check("" if found.COUNTER else "no counter that the extension knows")
    return found


def test_it_compiles_without_a_warning() -> None:
    """The real headers, -Wall -Wextra -Werror."""
    compiles_as_extension(C_SOURCE)


def test_the_differences_are_the_time_that_passed(extension: ModuleType) -> None:
    """Each is above 0, more reads take longer, and none is left unfilled."""
    medians = []
    for reads in (READS[0], READS[-1]):
        buffer = bytearray(8 * 2000)
        extension.deltas(buffer, reads)
        numbers = sorted(memoryview(buffer).cast("Q"))
        assert numbers[0] > 0
        medians.append(numbers[1000])
    assert medians[1] > 2 * medians[0]


@pytest.mark.parametrize(
    ("buffer", "reads", "error"),
    [
        (bytearray(7), 8, ValueError),
        (bytearray(8), 0, ValueError),
        (bytes(8), 8, (TypeError, BufferError)),
        (bytearray(8), -1, ValueError),
        (bytearray(8), 65, ValueError),
        (bytearray(8), 1 << 40, OverflowError),
    ],
)
def test_what_it_cannot_fill_it_refuses(
    extension: ModuleType,
    buffer: bytes | bytearray,
    reads: int,
    error: type[Exception] | tuple[type[Exception], ...],
) -> None:
    """No part of a number, no sample of no reads, nothing that is read-only."""
    with pytest.raises(error):
        extension.deltas(buffer, reads)


def test_this_machines_samples_pass_the_health_tests(extension: ModuleType) -> None:
    """Through the real source: healthy after 1,024 samples, and no alarm in 20,000 more."""
    assert extension.COUNTER
    source = Jitter()
    source.open()
    before = time.thread_time()
    monitor = judged(source, 20_000)
    assert (monitor.state, monitor.reason, monitor.alarms.total()) == (
        SourceState.HEALTHY,
        "",
        0,
    )
    assert (
        0 < float(source.describe().facts["cpu"].split()[0]) <= time.thread_time() - before + 1
    )
    source.close()


def test_the_first_samples_of_a_call_go_past_the_caches_too(extension: ModuleType) -> None:
    """What a call sets up is flushed before it measures: no sample is of cached memory.

    Samples of cached lines take a tenth of the time and hardly vary; in the restart matrix
    of SP 800-90B 3.1.4 they were the first 8 columns.
    """
    rows = []
    for _ in range(200):
        buffer = bytearray(8 * 64)
        extension.deltas(buffer, 8)
        rows.append(list(memoryview(buffer).cast("Q")))
    medians = [sorted(column)[100] for column in zip(*rows, strict=True)]
    assert sorted(medians[:8])[4] > sorted(medians)[32] / 2
