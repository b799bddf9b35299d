"""`hwentropy.secrets` beside Python's own `secrets`, call for call, on the same interpreter.

    python bench/secrets_bench.py [--rounds N] [--seconds S] [--json FILE|-]

Also a section of bench/run.py.  Starts a daemon of its own and measures in a
process of its own, which draws on a lease.  Interleaved: every round visits every
case, and in a case both modules, each first equally often; the ratio is taken
within a round, then the median over the rounds (docs/bench.md).

What this does not measure: a process's first draw, which fetches the lease.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

# Started as a script: its own folder is on the path, the tree is not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import machine, measure, service
from bench.table import Section, number, plain

ROUNDS: Final = 7
SECONDS: Final = 0.05
#: Above every timeout of a client: then something hangs.
GIVE_UP: Final = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: two statements that give the same, and how ours must compare."""

    name: str
    ours: str
    theirs: str
    limit: float | None = None
    """Of time by time ("at most"), or of speed by speed ("at least"); None: no target."""
    sense: str = "at most"


#: The targets; the last rows have none and are there to be seen.
CASES: Final[tuple[Case, ...]] = (
    Case("token_bytes(32)", "ours.token_bytes(32)", "std.token_bytes(32)", 0.9),
    Case("token_bytes(4096)", "ours.token_bytes(4096)", "std.token_bytes(4096)", 0.15),
    Case("token_hex(16)", "ours.token_hex(16)", "std.token_hex(16)", 1.0),
    Case("token_urlsafe(16)", "ours.token_urlsafe(16)", "std.token_urlsafe(16)", 1.0),
    Case("randbelow(10**6)", "ours.randbelow(1000000)", "std.randbelow(1000000)", 1.0),
    Case("choice, 64 elements", "ours.choice(items)", "std.choice(items)", 1.0),
    Case(
        "password, 16 characters",
        "passwords.generate_password(16)",
        "''.join(std.choice(letters) for _ in range(16))",
        1.0,
    ),
    Case("fill, 64 MiB", "ours.fill(room)", "os.urandom(67108864)", 8.0, "at least"),
    Case(
        "NumPy doubles, 10**6",
        "arrays.random(1000000)",
        "pcg64.random(1000000)",
        0.3,
        "at least",
    ),
    Case("randbits(64)", "ours.randbits(64)", "std.randbits(64)"),
    Case("SystemRandom().random()", "our_random.random()", "std_random.random()"),
    Case("shuffle, 52 elements", "our_random.shuffle(cards)", "std_random.shuffle(cards)"),
    Case("UUID of version 4", "ours.token_uuid4()", "uuid.uuid4()"),
    Case(
        "NumPy BitGenerator: doubles, 10**6",
        "rng.random(1000000)",
        "pcg64.random(1000000)",
        sense="at least",
    ),
    Case(
        "NumPy BitGenerator: normals, 10**6",
        "rng.normal(size=1000000)",
        "pcg64.normal(size=1000000)",
        sense="at least",
    ),
    Case("NumPy BitGenerator: normal()", "rng.normal()", "pcg64.normal()"),
    Case("NumPy permutation(10**4)", "arrays.permutation(10000)", "pcg64.permutation(10000)"),
    Case(
        "NumPy permutation(10**6)", "arrays.permutation(1000000)", "pcg64.permutation(1000000)"
    ),
    Case(
        "NumPy BitGenerator: permutation(10**6)",
        "rng.permutation(1000000)",
        "pcg64.permutation(1000000)",
    ),
    Case(
        "NumPy integers(6), 10**6",
        "arrays.integers(6, size=1000000)",
        "pcg64.integers(6, size=1000000)",
    ),
    Case("NumPy random()", "arrays.random()", "pcg64.random()"),
    Case("NumPy integers(6)", "arrays.integers(6)", "pcg64.integers(6)"),
    Case("NumPy BitGenerator: random()", "rng.random()", "pcg64.random()"),
)

SETUP: Final = """
import os, secrets as std, string, uuid
from hwentropy import secrets as ours
from hwentropy import passwords
letters = string.ascii_letters + string.digits + string.punctuation
items = [str(one) for one in range(64)]
cards = list(range(52))
our_random, std_random = ours.SystemRandom(), std.SystemRandom()
room = bytearray(67108864)
"""
NUMPY_SETUP: Final = """
import numpy
import hwentropy.numpy as arrays
pcg64 = numpy.random.Generator(numpy.random.PCG64())
"""
#: Where its C extension was built.
BIT_GENERATOR_SETUP: Final = "rng = arrays.default_rng()"


def time_all(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Seconds for one call, case by case and round by round, of both; in this process."""
    names: dict[str, Any] = {}
    exec(SETUP, names)  # noqa: S102 - our own text, above
    cases = CASES
    if importlib.util.find_spec("numpy"):
        exec(NUMPY_SETUP, names)  # noqa: S102 - the same
    else:
        cases = tuple(case for case in CASES if "NumPy" not in case.name)
    if "arrays" in names and importlib.util.find_spec("hwentropy._bitgen"):
        exec(BIT_GENERATOR_SETUP, names)  # noqa: S102 - the same
    else:
        cases = tuple(case for case in cases if "BitGenerator" not in case.name)
    timers = {
        case.name: {
            "ours": _timer(case.ours, names, seconds),
            "theirs": _timer(case.theirs, names, seconds),
        }
        for case in cases
    }
    took: dict[str, dict[str, list[float]]] = {
        name: {who: [] for who in pair} for name, pair in timers.items()
    }
    for number_of_round in range(rounds):
        for name, pair in timers.items():
            for who in measure.turn(tuple(pair), number_of_round):
                took[name][who].append(pair[who]())
    return took


def _timer(statement: str, names: dict[str, Any], seconds: float) -> Callable[[], float]:
    """Something that runs a statement for about `seconds` and gives what one run takes."""
    timer = timeit.Timer(statement, globals=names)
    timer.timeit(1)
    count = 1
    while (once := timer.timeit(count)) < seconds / 4:
        count *= 2
    count = max(1, round(count * seconds / once))
    return lambda: timer.timeit(count) / count


def report_of(took: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Cells and targets, as bench/plan.py's report has them, of what was timed."""
    cells: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    for case in CASES:
        value = met = None
        pair = took.get(case.name)
        if pair:
            ours, theirs = pair["ours"], pair["theirs"]
            over, under = (theirs, ours) if case.sense == "at least" else (ours, theirs)
            value = measure.paired_ratio(over, under)
            if case.limit is not None:
                met = measure.Verdict(case.name, value, case.limit, case.sense, "x").met
            cells.append(
                {
                    **asdict(case),
                    "ours_us": statistics.median(ours) * 1e6,
                    "theirs_us": statistics.median(theirs) * 1e6,
                    "ratio": value,
                    "met": met,
                    "spread": measure.spread([a / b for a, b in zip(over, under, strict=True)]),
                    "rounds": pair,
                }
            )
        if case.limit is not None:
            of = "speed" if case.sense == "at least" else "time"
            targets.append(
                {
                    "name": f"{case.name}: {of}, ratio to the standard one",
                    "value": value,
                    "limit": case.limit,
                    "sense": case.sense,
                    "unit": "x",
                    "met": met,
                }
            )
    return {"cells": cells, "targets": targets}


def measure_secrets(rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, Any]:
    """Start a daemon, measure in a process beside it; BenchError when that fails."""
    # Not where TMPDIR says: a Unix socket's path has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="hwe-", dir="/tmp") as name:
        runtime = Path(name) / "daemon"
        with service.start_daemon(runtime) as daemon:
            daemon.first_byte()
            done = subprocess.run(
                [sys.executable, __file__, "--here", str(rounds), str(seconds)],
                env=os.environ | service.environment(runtime),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=GIVE_UP,
                check=False,
            )
    if done.returncode:
        raise service.BenchError(f"the measuring process failed:\n{done.stderr[-2000:]}")
    return report_of(json.loads(done.stdout))


def section(cells: Sequence[dict[str, Any]]) -> Section:
    """The table of the cells that `measure_secrets` gave; no rows without any."""
    rows = tuple(
        (
            cell["name"],
            number(cell["ours_us"]),
            number(cell["theirs_us"]),
            number(cell["ratio"]),
            "" if cell["limit"] is None else f"{cell['sense']} {cell['limit']:g}",
            f"{100 * cell['spread']:.0f} %",
            "" if cell["met"] is None else "met" if cell["met"] else "MISSED",
        )
        for cell in cells
    )
    columns = ("hwentropy.secrets", "ours us", "stdlib us", "ratio", "target", "spread", "")
    return Section(
        "In a process, on a lease (at most: time by time; at least: speed by speed)",
        columns,
        rows,
    )


def main(arguments: list[str]) -> int:
    """Measure, print, judge; exit codes as bench/run.py's."""
    if arguments[:1] == ["--here"]:
        print(json.dumps(time_all(int(arguments[1]), float(arguments[2]))))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each run")
    parser.add_argument(
        "--json", metavar="FILE", help="write everything; - for standard output"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds must be at least 1, --seconds above 0")
    stolen, ticks = machine.stolen()
    load = os.getloadavg()[0]
    try:
        report = measure_secrets(options.rounds, options.seconds)
    except service.BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    stolen_after, ticks_after = machine.stolen()
    report |= {
        "version": 1,
        "machine": machine.describe(),
        "settings": {"rounds": options.rounds, "seconds": options.seconds},
        "noise": {
            "load_before": load,
            "load_after": os.getloadavg()[0],
            "stolen_percent": 100 * (stolen_after - stolen) / max(ticks_after - ticks, 1),
        },
    }
    drawn = section(report["cells"])
    out = sys.stderr if options.json == "-" else sys.stdout
    print(report["machine"]["cpu"], report["machine"]["python"], sep=", ", file=out)
    print(f"medians of {options.rounds} interleaved rounds; load before {load:.2f}\n", file=out)
    print(drawn.title, *plain(drawn), sep="\n", file=out)
    if options.json == "-":
        print(json.dumps(report, indent=1))
    elif options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if options.strict and any(one["met"] is False for one in report["targets"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
