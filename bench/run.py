"""`make bench`: how fast the daemon is, beside the kernel and a bare C server.

Prints a table with the targets beside the figures; --json FILE (or -) writes
everything, round by round.  docs/bench.md explains every number.  Exit code 0
when it measured, 1 with --strict when a target is missed, 2 for a wrong command
line, 3 when it could not measure.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

# Started as a script: its own folder is on the path, the tree is not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import fairness, footprint, load, reseeds, secrets_bench
from bench.plan import PARTS, Bench, Settings
from bench.service import BenchError
from bench.table import print_report

#: --quick: a look while working on the code, not figures to quote.
QUICK = Settings(rounds=3, seconds=0.08, idle_seconds=5.0, starts=3)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="few short rounds; not figures to quote")
    add("--only", action="append", choices=PARTS, help="measure this part only (repeatable)")
    add("--json", metavar="FILE", help="write everything as JSON; - for standard output")
    add("--strict", action="store_true", help="exit 1 when a target is missed")
    add("--rounds", type=int, help="interleaved rounds (default 7)")
    add("--seconds", type=float, help="length of each run of a client, up to 4 (default 0.25)")
    add("--depth", type=int, default=2, help="requests on the way in bulk (default 2)")
    add("--pin", type=int, metavar="CPU", help="bind servers and clients to this one CPU")
    add("--python-client", action="store_true", help="make the load in Python, not C")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--floor-only", action="store_true", help="floor and kernel, no daemon")
    which.add_argument(
        "--against", type=Path, metavar="SOCKET", help="measure a running server"
    )
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.seconds is not None and not 0 < options.seconds <= 4:
        parser.error("--seconds must be above 0 and at most 4")
    if not 1 <= options.depth <= 64:
        parser.error("--depth must be 1 to 64")
    if options.pin is not None and options.pin not in os.sched_getaffinity(0):
        allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        parser.error(f"--pin must be one of the CPUs {allowed}")
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    """What the command line asks for."""
    base = QUICK if options.quick else Settings()
    return replace(
        base,
        rounds=options.rounds or base.rounds,
        seconds=options.seconds or base.seconds,
        depth=options.depth,
        parts=frozenset(options.only or PARTS),
        against=options.against,
        floor_only=options.floor_only,
        force_python=options.python_client,
        pin=options.pin,
    )


def show_progress(what: str) -> None:
    """One line on a terminal that is overwritten; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Measure, print, judge."""
    options = parse(arguments)
    if options.pin is not None:
        os.sched_setaffinity(0, {options.pin})
    try:
        settings = settings_of(options)
        report = Bench(settings, show_progress).report()
        if "secrets" in settings.parts and not (settings.floor_only or settings.against):
            show_progress("hwentropy.secrets")
            measured = secrets_bench.measure_secrets(settings.rounds)
            report |= {"secrets": measured["cells"]}
            report["targets"] += measured["targets"]
        if "memory" in settings.parts and not (settings.floor_only or settings.against):
            if why := footprint.missing_tpm():
                report["notes"].append(f"no memory with a TPM: {why}")
            client = load.choose(force_python=settings.force_python)
            measured = footprint.measure_memory(client, settings.seconds, show_progress)
            report |= {"memory": measured["cells"]}
            report["targets"] += measured["targets"]
        if "fairness" in settings.parts and not (settings.floor_only or settings.against):
            if why := fairness.missing():
                report["notes"].append(f"no figures of fairness: {why}")
            else:
                rounds, seconds = min(settings.rounds, 5), 4 * settings.seconds
                measured = fairness.measure_fairness(rounds, seconds, show_progress)
                report |= {"fairness": measured["cells"]}
                report["targets"] += measured["targets"]
                uids = (fairness.BYSTANDER_UID, fairness.CROWD_UID)
                measured = reseeds.measure_reseeds(rounds, uids, show_progress)
                report |= {"reseeds": measured["cells"]}
                report["targets"] += measured["targets"]
    except BenchError as error:
        show_progress("")
        print(f"bench: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nbench: stopped; nothing is kept of it", file=sys.stderr)
        return 130
    show_progress("")
    # Two things cannot share standard output: the table gives way to the JSON.
    more = [
        secrets_bench.section(report.get("secrets", [])),
        footprint.section(report.get("memory", [])),
        fairness.section(report.get("fairness", [])),
        reseeds.section(report.get("reseeds", [])),
    ]
    print_report(report, sys.stderr if options.json == "-" else sys.stdout, more)
    if options.json == "-":
        print(json.dumps(report, indent=1))
    elif options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    missed = [one["name"] for one in report["targets"] if one["met"] is False]
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
