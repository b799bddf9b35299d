"""What one client that asks for prediction resistance without pause costs who holds a lease.

    alone    token_bytes(32) of hwentropy.secrets, as one user
    fresh    the same beside one connection of another user (bench/crowd.py)
    burn     the same beside a process that takes as much CPU time as `fresh` took

So fresh to burn is what reseeds cost the holder beyond the CPU.  Draws per second of the
holder's own CPU time are shown too; what it waits for is not in them.  Part of
bench/fairness.py, which says what it needs; as a script it is the holder or the burner:

    python reseeds.py draw SECONDS UID
    python reseeds.py burn SECONDS SHARE
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

# Started as a script: its own folder is on the path, the tree is not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import machine, measure, service
from bench.table import Section, number

BESIDE: Final = ("alone", "fresh", "burn")
#: Of one run: the daemon makes four reseeds a second at most for such requests, so that
#: one more at the edge of the run is half a reseed a second.
SECONDS: Final = 2.0
#: Draws between two looks at the clock: half a millisecond.
BATCH: Final = 1000
#: The burner sleeps so long when it is ahead of its share.
SLICE: Final = 0.002
#: Seconds by which what runs beside the holder may outlive it; it is killed before.
PATIENCE: Final = 30.0

DRAWS_LIMIT: Final = 0.9
#: Four a second, and one at the edge of the run.
RESEEDS_LIMIT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the holder."""

    draws: int
    seconds: float
    cpu_seconds: float
    """Of the holder alone."""
    others_cpu_seconds: float
    """Of the service and of what runs beside the holder."""
    reseeds: int

    @property
    def per_second(self) -> float:
        """Draws a second."""
        return self.draws / self.seconds

    @property
    def share(self) -> float:
        """CPUs that the others kept busy."""
        return self.others_cpu_seconds / self.seconds


def burner_share(alone: Run, fresh: Run) -> float:
    """CPUs that prediction resistance took: its client's and the daemon's work for it."""
    return min(max(fresh.share - alone.share, 0.0), 1.0)


def report_of(rounds: Sequence[Mapping[str, Run]]) -> dict[str, Any]:
    """Cells and targets of rounds, each with a run for every one of BESIDE."""
    taken = {beside: [one[beside] for one in rounds] for beside in BESIDE}
    cells: list[dict[str, Any]] = [
        {
            "beside": beside,
            "per_second": statistics.median(run.per_second for run in runs),
            "per_cpu_second": statistics.median(run.draws / run.cpu_seconds for run in runs),
            "others_cpus": statistics.median(run.share for run in runs),
            "reseeds_per_second": sum(r.reseeds for r in runs) / sum(r.seconds for r in runs),
            "rounds": [asdict(run) for run in runs],
        }
        for beside, runs in taken.items()
    ]
    speeds = {beside: [run.per_second for run in runs] for beside, runs in taken.items()}
    values = (
        (
            "prediction resistance without pause, lease draws to the same CPU burnt",
            measure.paired_ratio(speeds["fresh"], speeds["burn"]),
            DRAWS_LIMIT,
            "at least",
            "x",
        ),
        (
            "prediction resistance without pause, reseeds",
            cells[BESIDE.index("fresh")]["reseeds_per_second"],
            RESEEDS_LIMIT,
            "at most",
            "per s",
        ),
    )
    verdicts = [measure.Verdict(*value) for value in values]
    return {"cells": cells, "targets": [{**asdict(one), "met": one.met} for one in verdicts]}


def measure_reseeds(
    rounds: int, uids: tuple[int, int], progress: Callable[[str], None]
) -> dict[str, Any]:
    """A daemon of its own, `rounds` times all three; BenchError when something of it fails.

    `uids` are the holder's and the other client's.
    """
    holder, other = uids
    taken: list[dict[str, Run]] = []
    with tempfile.TemporaryDirectory(prefix="hwf-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with service.start_daemon(directory / "daemon") as daemon:
            daemon.first_byte()
            daemon.path.chmod(0o666)
            length = str(SECONDS + PATIENCE)
            crowd = ("crowd.py", "fresh", str(daemon.path), "1", length, str(other))
            for turn in range(rounds):
                progress(f"prediction resistance {turn + 1} of {rounds}")
                alone = _run(daemon, holder, ())
                fresh = _run(daemon, holder, crowd)
                share = burner_share(alone, fresh)
                burn = _run(daemon, holder, ("reseeds.py", "burn", length, str(share)))
                taken.append({"alone": alone, "fresh": fresh, "burn": burn})
    return report_of(taken)


def _run(daemon: service.Server, uid: int, beside: Sequence[str]) -> Run:
    """Draw for SECONDS, with a script of this folder running beside it if one is named."""
    draw = ("reseeds.py", "draw", str(SECONDS), str(uid))
    with (
        _script(draw, daemon.path.parent) as holder,
        _script(beside, daemon.path.parent) if beside else nullcontext() as neighbour,
    ):
        # Until it is in full swing, and the start of a process is over.
        service.settle(0.3)
        others = [pid for pid in machine.descendants(os.getpid()) if pid != holder.pid]
        reseeds, before = _reseeds(daemon), {pid: machine.cpu_ns(pid) for pid in others}
        said, _ = holder.communicate("go\n", timeout=SECONDS + PATIENCE)
        if neighbour and neighbour.poll() is not None:
            raise service.BenchError(f"bench/{beside[0]} {beside[1]} ended before the holder")
        used = sum(machine.cpu_ns(pid) - before[pid] for pid in others)
        reseeds = _reseeds(daemon) - reseeds
    if holder.returncode:
        raise service.BenchError("the lease holder failed; what it said stands above")
    return Run(**json.loads(said), others_cpu_seconds=used / 1e9, reseeds=reseeds)


def _reseeds(daemon: service.Server) -> int:
    """Reseeds so far, of the status."""
    from hwentropy.control import Control  # noqa: PLC0415 - as in client.py

    with Control(daemon.path.with_name("control.sock"), timeout=PATIENCE) as control:
        return control.status().reseeds


@contextmanager
def _script(arguments: Sequence[str], runtime: Path) -> Generator["subprocess.Popen[str]"]:
    """One of this folder's scripts, from its first line on; killed when it still runs."""
    name, *rest = arguments
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(name)), *rest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **service.environment(runtime)},
    ) as process:
        try:
            said = process.stdout.readline().strip() if process.stdout else ""
            # crowd.py says how many connections were let in.
            if said in {"", "0"}:
                raise service.BenchError(f"bench/{name} {rest[0]} did not come up")
            yield process
        finally:
            process.kill()


def draw(seconds: float, uid: int) -> None:
    """Be the holder: as `uid` fetch a lease, wait for a line, draw, print what it came to."""
    from hwentropy.secrets import token_bytes  # noqa: PLC0415 - the burner does without

    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    token_bytes(32)
    print("ready", flush=True)
    sys.stdin.readline()
    draws = 0
    cpu, begin = time.process_time(), time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        for _ in range(BATCH):
            token_bytes(32)
        draws += BATCH
    cpu = time.process_time() - cpu
    print(json.dumps({"draws": draws, "seconds": now - begin, "cpu_seconds": cpu}))


def burn(seconds: float, share: float) -> None:
    """Keep `share` of a CPU busy for `seconds`."""
    print("ready", flush=True)
    cpu, begin = time.process_time(), time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds:
        if time.process_time() - cpu >= share * elapsed:
            time.sleep(SLICE)


def section(cells: Sequence[Mapping[str, Any]]) -> Section:
    """The table of it."""
    names = {
        "alone": "alone",
        "fresh": "one client with prediction resistance",
        "burn": "the same CPU time burnt",
    }
    rows = tuple(
        (
            names[one["beside"]],
            number(one["per_second"]),
            number(one["per_cpu_second"]),
            number(one["others_cpus"]),
            number(one["reseeds_per_second"]),
        )
        for one in cells
    )
    columns = ("beside", "draws per s", "per s of its CPU", "others' CPUs", "reseeds per s")
    return Section("32 B draws on a lease of another user", columns, rows)


if __name__ == "__main__":
    what, long, argument = sys.argv[1:]
    if what == "draw":
        draw(float(long), int(argument))
    else:
        burn(float(long), float(argument))
