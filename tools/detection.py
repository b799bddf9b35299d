"""How soon the health tests find a fault: every fault model at every claim, by running them.

    python tools/detection.py [--check | --write]

Prints the tables that stand in docs/health.md between the two marks.  --write puts them
there; --check exits 1 if they are not those, for tests and for who doubts them.

A run: a source is opened, passes its startup test with sound noise, is healthy for some
reads more, and then its noise is spoilt for good.  Counted are the samples from there to
the first alarm, after which nothing is used until it is tested anew, and to the failure.
Reads are as the daemon makes them: 320 / H samples.  The noise is Python's Mersenne Twister,
seeded by fault, claim and run, so a table comes out the same on each machine.

What it does not show: faults that nobody thought of.
"""

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median_high
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "sources")]

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim  # noqa: E402  (the checkout's, found by the line above)
from hwentropy_sources.health.monitor import SourceMonitor, SourceState  # noqa: E402
from hwentropy_sources.health.repeats import KEY_BYTES  # noqa: E402

DOCUMENT = ROOT / "docs" / "health.md"
BEGIN, END = "<!-- tools/detection.py -->", "<!-- end -->"

#: Runs of one cell: an odd number, so that the median is one of them.
RUNS = 11
#: Samples after which a run ends with nothing found.
LIMIT = 1 << 18
#: Bits that one read is to be worth, as the daemon's `min_bits`.
READ_BITS = 320
#: Sound reads before the fault, at most: more than two windows of every test over them.
SOUND_READS = 120

Reads = Iterator[bytearray]
Noise = random.Random


def _stuck(noise: Noise, size: int) -> Reads:
    value = noise.randrange(256)
    while True:
        yield bytearray([value]) * size


def _biased(share: float) -> "Fault":
    def reads(noise: Noise, size: int) -> Reads:
        value = noise.randrange(256)
        while True:
            read = bytearray(noise.randbytes(size))
            for at in range(size):
                if noise.random() < share:
                    read[at] = value
            yield read

    return reads


def _pieces(whole: bytes, size: int) -> Reads:
    """This, over and over, in reads of `size` that go on where the last one ended."""
    stream = whole * (-(-2 * size // len(whole)) + 1)
    at = 0
    while True:
        yield bytearray(stream[at : at + size])
        at = (at + size) % len(whole)


def _period(length: int) -> "Fault":
    return lambda noise, size: _pieces(noise.randbytes(length), size)


def _alternating(noise: Noise, size: int) -> Reads:
    first = noise.randrange(256)
    return _pieces(bytes([first, first ^ (1 + noise.randrange(255))]), size)


def _replies(length: int, stuck: Sequence[int], *, in_step: bool = True) -> "Fault":
    """Replies of `length` with stuck bytes.

    `in_step`: a read begins with a new reply, as of a TPM; otherwise where the last ended.
    """

    def reads(noise: Noise, size: int) -> Reads:
        values = {place: noise.randrange(256) for place in stuck}
        at = 0
        while True:
            read = bytearray(noise.randbytes(size))
            for index in range(size):
                value = values.get((at + index) % length)
                if value is not None:
                    read[index] = value
            if not in_step:
                at += size
            yield read

    return reads


def _twice(noise: Noise, size: int) -> Reads:
    """Each read once more."""
    while True:
        read = bytearray(noise.randbytes(size))
        yield read
        yield bytearray(read)


def _counter(noise: Noise, size: int) -> Reads:
    """64-bit numbers, one after another."""
    number, rest = noise.randrange(1 << 48), b""
    while True:
        while len(rest) < size:
            rest += number.to_bytes(8, "little")
            number += 1
        yield bytearray(rest[:size])
        rest = rest[size:]


def _cipher(noise: Noise, size: int) -> Reads:
    """What anybody can compute who knows the seed."""
    while True:
        yield bytearray(noise.randbytes(size))


Fault = Callable[[Noise, int], Reads]

FAULTS: dict[str, Fault] = {
    "stuck": _stuck,
    "one value in half of the samples": _biased(1 / 2),
    "one value in an eighth of the samples": _biased(1 / 8),
    "two values in turn": _alternating,
    "a period of 64 bytes": _period(64),
    "a period of 511 bytes": _period(511),
    "a period of 2,048 bytes": _period(2048),
    "a period of 4,088 bytes": _period(4088),
    "a period of 65,536 bytes": _period(65_536),
    "each read given twice": _twice,
    "one byte of a reply of 32 bytes stuck": _replies(32, [13]),
    "one word of four of a reply of 32 bytes stuck": _replies(32, range(8, 16)),
    "three words of four of a reply of 32 bytes stuck": _replies(32, range(8, 32)),
    "one byte of a reply of 64 bytes, not in step": _replies(64, [13], in_step=False),
    "one word of a reply of 64 bytes, not in step": _replies(64, range(8, 16), in_step=False),
    "a counter of 64 bits": _counter,
    "a cipher whose key is known": _cipher,
}

#: H of a sample, and whether it is whitened.
CLAIMS = ((8.0, True), (4.0, True), (2.0, True), (1.0, True), (4.0, False), (1.0, False))


class Detection(NamedTuple):
    """What one run saw."""

    alarm: str
    at: int
    """The sample of the first alarm, from the fault on; 0: none within LIMIT."""
    failed: int
    """Samples read until the source had failed; 0: it had not."""


class Cell(NamedTuple):
    """All runs of one fault at one claim."""

    alarm: str
    """The one that was first in most runs."""
    at: tuple[int, int]
    """Median and worst; LIMIT + 1 and more: not found."""
    failed: tuple[int, int]


def detect(fault: str, entropy: float, *, whitened: bool, run: int) -> Detection:
    """One run; see the module's docstring."""
    noise = random.Random(f"{fault} {entropy} {whitened} {run}")  # noqa: S311  (to come out the same each time)
    size = min(math.ceil(READ_BITS / entropy), STARTUP_SAMPLES)
    monitor = SourceMonitor(lambda: 0.0, lambda: 0.0)
    monitor.opened(Claim(8, entropy, "a fault model", whitened), bytes(KEY_BYTES))
    for _ in range(-(-STARTUP_SAMPLES // size) + noise.randrange(SOUND_READS)):
        monitor.sampled(noise.randbytes(size), size)
    if not monitor.usable:
        raise RuntimeError(f"{fault}: an alarm of sound noise")
    reads = FAULTS[fault](noise, size)
    alarm, at = "", 0
    for read in range(0, LIMIT, size):
        before = monitor.samples
        monitor.sampled(next(reads), size)
        if not at and monitor.alarms:
            alarm, at = next(iter(monitor.alarms)).value, read + size
        if monitor.state is SourceState.FAILED:
            return Detection(alarm, at, read + monitor.samples - before)
    return Detection(alarm, at, 0)


def cell(fault: str, entropy: float, *, whitened: bool) -> Cell:
    """Every run of one fault at one claim."""
    runs = [detect(fault, entropy, whitened=whitened, run=run) for run in range(RUNS)]
    never = LIMIT + 1
    at = [one.at or never for one in runs]
    failed = [one.failed or never for one in runs]
    alarms = Counter(one.alarm for one in runs if one.alarm)
    return Cell(
        max(alarms, key=alarms.__getitem__, default=""),
        (median_high(at), max(at)),
        (median_high(failed), max(failed)),
    )


def _figure(samples: int) -> str:
    return "-" if samples > LIMIT else f"{samples:,}"


def _pair(pair: tuple[int, int]) -> str:
    middle, worst = (_figure(samples) for samples in pair)
    return middle if middle == worst else f"{middle} / {worst}"


def shown(found: Cell) -> tuple[str, str]:
    """A cell of each table."""
    first = f"{_pair(found.at)} `{found.alarm}`" if found.alarm else "-"
    return first, _pair(found.failed)


def row(fault: str) -> tuple[str, str]:
    """Its lines in the two tables."""
    cells = [cell(fault, entropy, whitened=whitened) for entropy, whitened in CLAIMS]
    first, failed = zip(*map(shown, cells), strict=True)
    return (
        f"| {' | '.join((fault, *first))} |",
        f"| {' | '.join((fault, *failed))} |",
    )


_CAPTION = (
    "Samples from a fault's first one to the end of the read that raised the first alarm: "
    f"median / worst of {RUNS} runs (one figure where they are equal, - where nothing was "
    f"found within {LIMIT:,}), and the alarm:"
)


def tables() -> str:
    """Both, as they stand in the document."""
    names = [f"H = {h:g}{'' if whitened else ', raw'}" for h, whitened in CLAIMS]
    head = f"| fault | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}"
    lines = [row(fault) for fault in FAULTS]
    return "\n".join(
        (
            _CAPTION,
            "",
            head,
            *(first for first, _ in lines),
            "",
            "The same, to the end of the read with which the source has failed:",
            "",
            head,
            *(failed for _, failed in lines),
        )
    )


def in_document() -> str:
    """What stands there now."""
    return DOCUMENT.read_text().partition(f"{BEGIN}\n")[2].partition(f"\n{END}")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Print, check or write; 1 when the document has other tables."""
    parser = argparse.ArgumentParser(description="How soon the health tests find a fault.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="compare with docs/health.md")
    group.add_argument("--write", action="store_true", help="put them into docs/health.md")
    options = parser.parse_args(argv)
    found = tables()
    if options.check:
        if found != in_document():
            print(f"{DOCUMENT} has other tables; run this with --write", file=sys.stderr)
            return 1
    elif options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{found}\n{END}{rest.partition(END)[2]}")
    else:
        print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
