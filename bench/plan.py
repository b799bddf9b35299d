"""What is measured in which order, and the report that comes of it.

Interleaved: every round visits every cell, and in a cell every target, one run
each, so that a slow minute of the machine is shared by all (docs/bench.md).
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import load, machine, measure, service
from bench.measure import Figure, Sample
from bench.table import size_name

OURS: Final = "hwentropy"
LIBRARY: Final = "hwentropy.Client"
FLOOR: Final = "floor"
URANDOM: Final = "/dev/urandom"
#: What can be asked for with --only.
PARTS: Final = ("roundtrip", "bulk", "python", "start", "idle", "memory", "secrets", "fairness")

SMALL: Final = 32
BULK_SIZES: Final = (4 << 10, 64 << 10, 1 << 20)
CONNECTIONS: Final = (1, 4)
#: Seconds between the load and the idle figure: the connections' ends are dealt
#: with by then, and threads that wait for a next request have gone.
SETTLE: Final = 2.0
MEGABYTE: Final = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure."""

    rounds: int = 7
    seconds: float = 0.25
    """of each run of a client"""
    small_runs: int = 3
    """Runs of a round trip per round: where the scheduler puts the two ends is
    drawn anew for each, and decides more than anything else."""
    depth: int = 2
    idle_seconds: float = 30.0
    starts: int = 7
    parts: frozenset[str] = frozenset(PARTS)
    against: Path | None = None
    floor_only: bool = False
    force_python: bool = False
    pin: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of comparison: the same load on each target."""

    kind: str
    size: int
    connections: int
    depth: int
    one_cpu: bool = False
    """Client and server bound to the same CPU."""


@dataclass(slots=True)
class Bench:
    """One run of the benchmark; `report` does it all."""

    settings: Settings
    progress: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    _targets: dict[str, str] = field(default_factory=dict)
    _runtime: Path = Path()
    _pids: list[int] = field(default_factory=list)
    """The servers, when all of them are ours to place."""

    def report(self) -> dict[str, Any]:
        """Measure and return the report, all of it JSON values; BenchError when it fails."""
        settings = self.settings
        stolen, ticks = machine.stolen()
        load_before = os.getloadavg()[0]
        with (
            # Not where TMPDIR says: a Unix socket's path has 108 bytes.
            tempfile.TemporaryDirectory(prefix="hwe-", dir="/tmp") as name,
            ExitStack() as stack,
        ):
            directory = Path(name)
            start = self._measure_start(directory) if self._has("start") else None
            client, daemon = self._set_up(directory, stack)
            samples = self._measure_rounds(client)
            processes: list[service.ProcessUse] = []
            if daemon and self._has("idle"):
                self.progress(f"idle for {settings.idle_seconds:.0f} s")
                service.settle(SETTLE)
                processes = service.observe(daemon.pid, settings.idle_seconds)
        stolen_after, ticks_after = machine.stolen()
        cells = [_cell_report(cell, runs) for cell, runs in samples.items()]
        shown_processes = [_process_report(one) for one in processes]
        return {
            "version": 1,
            "machine": machine.describe(),
            "settings": {
                "rounds": settings.rounds,
                "seconds": settings.seconds,
                "depth": settings.depth,
                "idle_seconds": settings.idle_seconds,
                "client": client.name,
                "pinning": "not pinned"
                if settings.pin is None
                else f"all on CPU {settings.pin}",
                "server": str(settings.against or OURS),
            },
            "noise": {
                "load_before": load_before,
                "load_after": os.getloadavg()[0],
                "stolen_percent": 100 * (stolen_after - stolen) / max(ticks_after - ticks, 1),
            },
            "notes": self.notes,
            "cells": cells,
            "processes": shown_processes,
            "start": start,
            "targets": verdicts(cells, shown_processes, start),
        }

    def _has(self, part: str) -> bool:
        own_daemon = not self.settings.floor_only and not self.settings.against
        return part in self.settings.parts and (own_daemon or part in {"roundtrip", "bulk"})

    def _measure_start(self, directory: Path) -> dict[str, Any]:
        """Start the daemon again and again; the first, which fills caches, is not counted."""
        took: list[float] = []
        for number in range(self.settings.starts + 1):
            self.progress(f"start {number} of {self.settings.starts}")
            with service.start_daemon(directory / f"start{number}") as daemon:
                took.append(daemon.first_byte())
        counted = took[1:]
        return {
            "median_s": statistics.median(counted),
            "fastest_s": min(counted),
            "slowest_s": max(counted),
            "uncounted_first_s": took[0],
            "rounds": counted,
        }

    def _set_up(
        self, directory: Path, stack: ExitStack
    ) -> tuple[load.Client, service.Server | None]:
        """Choose the client and start the servers; they end with the stack."""
        settings = self.settings
        daemon = None
        if settings.against:
            self._targets[OURS] = str(settings.against)
        elif not settings.floor_only:
            self._runtime = directory / "daemon"
            daemon = stack.enter_context(service.start_daemon(self._runtime))
            daemon.first_byte()
            self._targets[OURS] = str(daemon.path)
        cc = load.compiler()
        if cc:
            binary = load.build("floor", cc)
            floor = stack.enter_context(service.start_floor(binary, directory / "floor"))
            floor.first_byte()
            self._targets[FLOOR] = str(floor.path)
            if not settings.against:
                self._pids = [server.pid for server in (daemon, floor) if server]
        else:
            self.notes.append("no C compiler: no floor; the load is made by a Python client")
        self._targets |= {"getrandom": "getrandom", URANDOM: URANDOM}
        client = load.choose(force_python=settings.force_python)
        if client.name == "python":
            self.notes.append("ratios to the floor come out too small with the Python client")
        return client, daemon

    def _cells(self) -> Iterator[Cell]:
        if self._has("roundtrip") or self._has("python"):
            for connections in CONNECTIONS if self._has("roundtrip") else (1,):
                yield Cell("round trip", SMALL, connections, 1)
        if self._has("roundtrip") and self.settings.pin is None and self._pids:
            yield Cell("round trip", SMALL, 1, 1, one_cpu=True)
        if self._has("bulk"):
            for size in BULK_SIZES:
                for connections in CONNECTIONS:
                    yield Cell("bulk", size, connections, self.settings.depth)

    def _measure_rounds(self, client: load.Client) -> dict[Cell, dict[str, list[Sample]]]:
        settings = self.settings
        cells = {cell: self._targets_of(cell) for cell in self._cells()}
        samples: dict[Cell, dict[str, list[Sample]]] = {
            cell: {target: [] for target in targets} for cell, targets in cells.items()
        }
        for number in range(settings.rounds):
            for cell, targets in cells.items():
                what = f"{cell.kind} {size_name(cell.size)} x{cell.connections}"
                self.progress(f"round {number + 1} of {settings.rounds}: {what}")
                runs = settings.small_runs if cell.kind == "round trip" else 1
                with self._placed(cell):
                    for again in range(runs):
                        for target in measure.turn(targets, number * runs + again):
                            samples[cell][target].append(self._run(client, cell, target))
        return samples

    @contextmanager
    def _placed(self, cell: Cell) -> Generator[None]:
        """While it lasts, servers and clients run where the cell wants them."""
        if not cell.one_cpu:
            yield
            return
        everywhere = os.sched_getaffinity(0)
        pids = [os.getpid(), *self._pids]
        pids += [child for pid in self._pids for child in machine.descendants(pid)]
        machine.place(pids, {min(everywhere)})
        try:
            yield
        finally:
            machine.place(pids, everywhere)

    def _targets_of(self, cell: Cell) -> tuple[str, ...]:
        targets = tuple(self._targets)
        if (
            cell.kind == "round trip"
            and cell.connections == 1
            and not cell.one_cpu
            and self._has("python")
        ):
            return (*targets, LIBRARY)
        return targets

    def _run(self, client: load.Client, cell: Cell, target: str) -> Sample:
        environment = None
        where = self._targets.get(target, target)
        if target == LIBRARY:
            client = load.python_client(library=True)
            environment = service.environment(self._runtime)
        sample = client.run(
            where,
            size=cell.size,
            connections=cell.connections,
            depth=cell.depth,
            seconds=self.settings.seconds,
            environment=environment,
        )
        if sample.repeats and target != FLOOR:
            raise service.BenchError(f"{target} gave the same bytes twice: not a random source")
        return sample


def _cell_report(cell: Cell, runs: dict[str, list[Sample]]) -> dict[str, Any]:
    bulk = cell.kind == "bulk"
    figures = {name: measure.figure(samples, bulk=bulk) for name, samples in runs.items()}
    return {
        **asdict(cell),
        "figures": {name: asdict(one) for name, one in figures.items()},
        "ratio_to_floor": _ratios(figures, FLOOR),
        "ratio_to_urandom": _ratios(figures, URANDOM),
    }


def _ratios(figures: dict[str, Figure], base: str) -> dict[str, float]:
    if base not in figures:
        return {}
    rounds = figures[base].rounds
    return {
        name: measure.paired_ratio(one.rounds, rounds)
        for name, one in figures.items()
        if name != base
    }


def _process_report(one: service.ProcessUse) -> dict[str, Any]:
    used = one.memory
    return {
        "role": one.role,
        "command": one.command,
        "idle_percent": one.idle_percent,
        "resident_mb": used.resident / MEGABYTE,
        "proportional_mb": None if used.proportional is None else used.proportional / MEGABYTE,
        "peak_mb": None if used.peak is None else used.peak / MEGABYTE,
    }


def verdicts(
    cells: Sequence[dict[str, Any]],
    processes: Sequence[dict[str, Any]],
    start: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """Every target with its figure; value and met are None for what was not measured."""
    values: dict[str, float] = {}
    for cell in cells:
        if cell["connections"] != 1:
            continue
        if cell["kind"] == "round trip" and OURS in cell["ratio_to_floor"]:
            where = " on one CPU" if cell["one_cpu"] else ""
            values[f"round trip{where}, ratio to the floor"] = cell["ratio_to_floor"][OURS]
        if cell["size"] == 1 << 20 and OURS in cell["ratio_to_urandom"]:
            values["bulk 1 MiB, ratio to /dev/urandom"] = cell["ratio_to_urandom"][OURS]
    if processes:
        values["idle CPU, supervisor and workers"] = sum(
            one["idle_percent"] for one in processes
        )
        values["memory, supervisor"] = processes[0]["resident_mb"]
        values["memory, largest worker"] = max(
            (one["resident_mb"] for one in processes[1:]), default=0.0
        )
    if start:
        values["start to first byte"] = start["median_s"]
    shown = []
    for name, (limit, sense, unit) in measure.LIMITS.items():
        value = values.get(name)
        met = None if value is None else measure.judge(name, value).met
        shown.append(
            {
                "name": name,
                "value": value,
                "limit": limit,
                "sense": sense,
                "unit": unit,
                "met": met,
            }
        )
    return shown
