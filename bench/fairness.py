"""What a bystander feels of another user's crowd, beside a bare C server under the same load.

    attack                    -> the crowd (bench/crowd.py), of one uid
    bystander                 -> bench/client.c of another uid: 32 B, with pauses
    unloaded, then loaded     -> p50, p99, p99.9, and their ratio

Needs root, to be several users, and a C compiler.  Bounded: each attack has its number of
connections and its seconds, and ends by itself.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench import load, service
from bench.measure import Sample
from bench.table import Section, number

CROWD_UID: Final = 65_432
BYSTANDER_UID: Final = 65_433

#: Mean pause of the bystander between two requests, in microseconds: a program that asks
#: now and then, whose connection the server has to find ready among the crowd's.
PAUSE: Final = 2000

#: Seconds that a crowd takes to connect and to be counted, on a busy machine.
PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Attack:
    """One row of the table, and its bar."""

    kind: str
    connections: int
    limit: float
    """At most so many: times the unloaded p99, or ms."""
    relative: bool
    against_floor: str = ""
    """What a crowd asks of the C server, which speaks READ only; nothing: not compared."""


ATTACKS: Final = (
    Attack("idle", 4096, 3.0, relative=True),
    Attack("unread", 4000, 10.0, relative=False),
    Attack("pipeline", 1000, 5.0, relative=True, against_floor="small"),
    Attack("greedy", 1000, 10.0, relative=False, against_floor="greedy"),
    Attack("stream", 1000, 10.0, relative=False),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one server: medians over the rounds, in microseconds."""

    attack: str
    server: str
    connections: int
    admitted: int
    unloaded_p99_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    kernel_mb: float | None
    """Memory that the kernel holds for unread replies; None where `ss` is not installed."""


def missing() -> str:
    """Why it cannot be measured here; nothing when it can."""
    if os.geteuid() != 0:
        return "needs root, to be several users"
    return "" if load.compiler() else "no C compiler"


def measure_fairness(
    rounds: int, seconds: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """All attacks on both servers; BenchError when something of it fails."""
    cc = load.compiler()
    if cc is None:
        raise service.BenchError("no C compiler for the bystander: install one")
    client = load.c_client(cc)
    runs: dict[tuple[Attack, str], list[tuple[int, Sample, Sample, float | None]]] = {}
    with tempfile.TemporaryDirectory(prefix="hwf-", dir="/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        daemon = stack.enter_context(service.start_daemon(directory / "daemon"))
        floor = stack.enter_context(
            service.start_floor(load.build("floor", cc), directory / "floor")
        )
        for server in (daemon, floor):
            server.first_byte()
            server.path.chmod(0o666)
        for turn in range(rounds):
            for attack in ATTACKS:
                for title, server in (("hwentropy", daemon), ("floor", floor)):
                    kind = attack.kind if title == "hwentropy" else attack.against_floor
                    if not kind:
                        continue
                    progress(f"fairness {turn + 1} of {rounds}: {title}, {attack.kind}")
                    one = _attacked(client, server, kind, attack.connections, seconds)
                    runs.setdefault((attack, title), []).append(one)
    cells = [_cell(attack, title, taken) for (attack, title), taken in runs.items()]
    return {
        "cells": [asdict(cell) for cell in cells],
        "targets": [_target(attack, cells) for attack in ATTACKS],
    }


def _attacked(
    client: load.Client, server: service.Server, kind: str, connections: int, seconds: float
) -> tuple[int, Sample, Sample, float | None]:
    def once() -> Sample:
        return client.run(
            str(server.path),
            size=32,
            connections=1,
            depth=1,
            seconds=seconds,
            options=("--pause", str(PAUSE), "--uid", str(BYSTANDER_UID)),
        )

    unloaded = once()
    path = server.path.with_name("stream.sock") if kind == "stream" else server.path
    with _crowd(kind, path, connections, seconds + 2) as admitted:
        loaded = once()
        memory = unread_megabytes(server.path.parent)
    service.settle(0.5)
    return admitted, unloaded, loaded, memory


@contextmanager
def _crowd(kind: str, path: Path, count: int, seconds: float) -> Generator[int]:
    """While it lasts the crowd is at it; gives how many of it were let in."""
    script = Path(__file__).with_name("crowd.py")
    command = [sys.executable, str(script), kind, str(path)]
    command += [str(count), str(seconds), str(CROWD_UID)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            if not said.strip().isdecimal():
                raise service.BenchError(f"the crowd for {path} did not come up")
            time.sleep(0.2)  # until it is in full swing
            yield int(said)
        finally:
            process.kill()


def unread_megabytes(directory: Path) -> float | None:
    """10^6 bytes that the kernel holds for replies sent on this directory's sockets."""
    ss = shutil.which("ss")
    if ss is None:
        return None
    done = subprocess.run([ss, "-xmnH"], capture_output=True, text=True, check=False)
    return sum_of_unread(done.stdout, str(directory)) / 1e6


def sum_of_unread(printed: str, directory: str) -> int:
    """The send memory (skmem's `t`) of the sockets below a directory, of what `ss` printed."""
    total = 0
    for line in printed.splitlines():
        if directory in line and (found := re.search(r"skmem:\(.*?\bt(\d+)", line)):
            total += int(found[1])
    return total


def _cell(
    attack: Attack, title: str, runs: Sequence[tuple[int, Sample, Sample, float | None]]
) -> Cell:
    def median(values: Sequence[float]) -> float:
        return statistics.median(values) / 1e3

    memory = [one for *_, one in runs if one is not None]
    return Cell(
        attack=attack.kind,
        server=title,
        connections=attack.connections,
        admitted=round(statistics.median(admitted for admitted, *_ in runs)),
        unloaded_p99_us=median([before.p99_ns for _, before, _, _ in runs]),
        p50_us=median([after.p50_ns for _, _, after, _ in runs]),
        p99_us=median([after.p99_ns for _, _, after, _ in runs]),
        p999_us=median([after.p999_ns for _, _, after, _ in runs]),
        kernel_mb=max(memory) if memory else None,
    )


def _target(attack: Attack, cells: Sequence[Cell]) -> dict[str, Any]:
    """The bar of one attack, as bench/measure.py's are shown."""
    cell = next(one for one in cells if (one.attack, one.server) == (attack.kind, "hwentropy"))
    value = cell.p99_us / cell.unloaded_p99_us if attack.relative else cell.p99_us / 1e3
    what = "to the unloaded" if attack.relative else "of a bystander"
    return {
        "name": f"{attack.connections:,} {attack.kind}, p99 {what}",
        "value": value,
        "limit": attack.limit,
        "sense": "at most",
        "unit": "x" if attack.relative else "ms",
        "met": value <= attack.limit,
    }


def section(cells: Sequence[Mapping[str, Any]]) -> Section:
    """The table of it."""
    rows = tuple(
        (
            f"{one['connections']:,} {one['attack']}, {one['server']}",
            f"{one['admitted']:,}",
            number(one["unloaded_p99_us"]),
            number(one["p50_us"]),
            number(one["p99_us"]),
            number(one["p999_us"]),
            number(one["kernel_mb"]),
        )
        for one in cells
    )
    columns = (
        "crowd",
        "let in",
        "unloaded p99 us",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "unread MB",
    )
    return Section("A bystander of another user beside a crowd", columns, rows)
