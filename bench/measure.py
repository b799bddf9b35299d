"""The arithmetic of the benchmark: rounds in, medians, ratios and verdicts out.

    one run of a client    -> Sample
    the samples of a cell  -> Figure      medians over the rounds, and their spread
    two targets of a cell  -> paired_ratio   median of the ratios round by round
    a figure and its limit -> Verdict

Pure.  Ratios are taken within a round and then their median, not the other way
round: both runs of a pair saw the same moment of the machine, so what the rest
of the machine did in that moment divides out (docs/bench.md).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Targets of the figures.
LIMITS: Final = {
    "round trip, ratio to the floor": (2.0, "at most", "x"),
    # The same limit with the scheduler's choice of CPU taken out (docs/bench.md).
    "round trip on one CPU, ratio to the floor": (2.0, "at most", "x"),
    "bulk 1 MiB, ratio to /dev/urandom": (5.0, "at least", "x"),
    "idle CPU, supervisor and workers": (0.5, "at most", "% of a core"),
    "memory, supervisor": (45.0, "at most", "MB"),
    "memory, largest worker": (35.0, "at most", "MB"),
    "start to first byte": (1.0, "at most", "s"),
}


def percentile(ascending: Sequence[int], permille: int) -> int:
    """The nearest-rank percentile: the smallest value that `permille` per mille do not exceed.

    Raises ValueError when there are no values.
    """
    if not ascending:
        raise ValueError("no percentile of nothing: the run made no request")
    rank = -(-len(ascending) * permille // 1000)
    return ascending[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of a load client measured."""

    size: int
    connections: int
    depth: int
    requests: int
    repeats: int
    seconds: float
    p50_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int
    client: str

    @property
    def per_second(self) -> float:
        """Requests answered in a second, over all connections."""
        return self.requests / self.seconds

    @property
    def gigabytes_per_second(self) -> float:
        """Payload in 10^9 bytes a second, over all connections."""
        return self.requests * self.size / self.seconds / 1e9


@dataclass(frozen=True, slots=True)
class Figure:
    """One target in one cell: medians over its rounds."""

    p50_us: float
    p99_us: float
    p999_us: float
    per_second: float
    gigabytes_per_second: float
    spread: float
    """Distance between the quartiles of the figure that counts, as a part of its median."""
    rounds: tuple[float, ...]
    """The figure that counts, round by round: p50 in us, or GB/s in bulk."""


def spread(values: Sequence[float]) -> float:
    """Distance between the quartiles as a part of the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


def figure(samples: Sequence[Sample], *, bulk: bool) -> Figure:
    """Medians over the rounds of one target; ValueError when there are none."""
    if not samples:
        raise ValueError("no figure of nothing: no round was measured")
    counts = tuple(s.gigabytes_per_second if bulk else s.p50_ns / 1e3 for s in samples)
    return Figure(
        p50_us=statistics.median(s.p50_ns for s in samples) / 1e3,
        p99_us=statistics.median(s.p99_ns for s in samples) / 1e3,
        p999_us=statistics.median(s.p999_ns for s in samples) / 1e3,
        per_second=statistics.median(s.per_second for s in samples),
        gigabytes_per_second=statistics.median(s.gigabytes_per_second for s in samples),
        spread=spread(counts),
        rounds=counts,
    )


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of ours / theirs; both must have the same rounds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def turn(targets: Sequence[str], round_number: int) -> tuple[str, ...]:
    """The order of the targets in a round: each goes first equally often."""
    at = round_number % len(targets) if targets else 0
    return (*targets[at:], *targets[:at])


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside its target."""

    name: str
    value: float
    limit: float
    sense: str
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its limit, or on it."""
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit


def judge(name: str, value: float) -> Verdict:
    """Set a figure beside its limit; KeyError for a name that has none."""
    limit, sense, unit = LIMITS[name]
    return Verdict(name, value, limit, sense, unit)
