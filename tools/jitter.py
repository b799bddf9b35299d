"""Record raw noise of the `jitter` source, to assess it with NIST's SP 800-90B tool.

    python tools/jitter.py samples.bin              1,000,000 samples, a byte each
    python tools/jitter.py --deltas deltas.bin      the counter's differences, 64 bits each
    python tools/jitter.py --restarts restarts.bin  1,000 samples after each of 1,000 starts

The samples are those that the daemon's health tests see: nothing is conditioned.  A start
(SP 800-90B 3.1.4) is a process of its own, with memory and a look at the counter of its
own.  Needs no rights.  The file tells whoever reads it what was measured, and is of no use
as a secret.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "sources")]

from hwentropy_sources.contract import SourceError  # noqa: E402  (the checkout's, found by the line above)
from hwentropy_sources.jitter import CpuLimit, Jitter  # noqa: E402

#: Samples of a recording, and of each of as many starts: SP 800-90B 3.1.1.
SAMPLES = 1_000_000
ROWS = 1000

#: Samples at a time, as the sampler draws them.
BATCH = 1000

#: Seconds, which nothing here needs: a recording may take a whole CPU.
TIMEOUT = 60.0


def opened() -> Jitter:
    """The source as the daemon has it, but for its limit of CPU time."""
    source = Jitter(limit=CpuLimit(1.0, 3600.0))
    source.open()
    return source


def record(file: Path, total: int, *, deltas: bool, progress: Progress) -> None:
    """Write so many samples, or differences, one after another."""
    source = opened()
    facts = source.describe().facts
    progress.console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    task = progress.add_task(file.name, total=total)
    with file.open("wb") as out:
        for start in range(0, total, BATCH):
            count = min(BATCH, total - start)
            out.write(
                source.deltas(count, int(facts["reads"]), TIMEOUT)
                if deltas
                else source.read(count, TIMEOUT)
            )
            progress.advance(task, count)
    cpu = source.describe().facts["cpu"]
    progress.console.print(f"{total} written to {file}; {cpu} of CPU")


def record_starts(file: Path, rows: int, progress: Progress) -> None:
    """Write a row of samples after each of so many starts."""
    task = progress.add_task(file.name, total=rows)
    with file.open("wb") as out:
        for _ in range(rows):
            row = subprocess.run(
                [sys.executable, __file__, "--one-start"],
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            if len(row) != ROWS:
                raise SourceError(f"a start gave {len(row)} samples of {ROWS}")
            out.write(row)
            progress.advance(task)
    progress.console.print(f"{rows} starts of {ROWS} samples written to {file}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what is asked for; 1 where there is no such source here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", help="where to write")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="how many (%(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--deltas", action="store_true", help="differences in place of samples")
    what.add_argument(
        "--restarts", action="store_true", help="a row after each of --rows starts"
    )
    what.add_argument("--one-start", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=ROWS, help="starts (%(default)s)")
    chosen = parser.parse_args(arguments)
    if not chosen.one_start and chosen.file is None:
        parser.error("name a file to write to")
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        if chosen.one_start:
            sys.stdout.buffer.write(opened().read(ROWS, TIMEOUT))
            return 0
        with Progress(*columns, console=Console(stderr=True)) as progress:
            if chosen.restarts:
                record_starts(chosen.file, chosen.rows, progress)
            else:
                record(chosen.file, chosen.samples, deltas=chosen.deltas, progress=progress)
    except (OSError, SourceError, subprocess.CalledProcessError) as error:
        print(f"jitter: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
