"""How fast the token service is, and whether its time tells how close a guess was.

    python bench/tokens.py [--tokens 1000000] [--rounds 7] [--json FILE]

Fills a database in a temporary directory (HWENTROPY_BENCH_DIR, else TMPDIR), then
takes turns: a valid token, guesses that share 0, 16 and 42 of its 43 characters, and
the creation of one (which waits for the disk).  Figures are medians over rounds.
"""

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Started as a script: its own folder is on the path, the tree is not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))

from hwentropy.token_service import InvalidToken, Kind, TokenRecord, TokenService
from hwentropy.token_service.sqlite import INSERT, row_of

#: Calls timed together: long beside the clock's own 50 ns.
CALLS = 2000
CREATIONS = 50


def fill(database: Path, count: int) -> None:
    """Put in `count` records at once; what each cost by itself is not the question."""
    record = TokenRecord("", Kind.SESSION, "filler", frozenset({"read"}), {}, 0.0, None)

    def rows() -> Any:
        for _ in range(count):
            row = list(row_of(os.urandom(32), record))
            row[1] = os.urandom(12).hex()
            yield row

    connection = sqlite3.connect(database)
    with connection:
        connection.executemany(INSERT, rows())
    connection.close()


def per_call(call: Callable[[], object], calls: int) -> float:
    """Microseconds a call, over `calls` calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls * 1e6


def guess(service: TokenService, text: str) -> Callable[[], object]:
    """A validation that is refused."""

    def call() -> object:
        try:
            return service.validate(text)
        except InvalidToken:
            return None

    return call


def measure(count: int, rounds: int, directory: Path) -> dict[str, Any]:
    """The medians in microseconds at `count` tokens, and every round."""
    database = directory / f"tokens-{count}.db"
    with TokenService(database, random_bytes=os.urandom) as service:
        fill(database, count - 1)
        token = service.create_session("alice").token
        other = "A" if token[-1] != "A" else "B"
        calls: dict[str, tuple[Callable[[], object], int]] = {
            "valid": (lambda: service.validate(token), CALLS),
            "42 of 43 right": (guess(service, token[:42] + other), CALLS),
            "16 of 43 right": (guess(service, token[:16] + other * 27), CALLS),
            "0 of 43 right": (guess(service, other * 43), CALLS),
            "create": (lambda: service.create_session("alice"), CREATIONS),
        }
        seen: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, (call, times) in calls.items():
                seen[name].append(per_call(call, times))
        size = database.stat().st_size
    medians = {name: statistics.median(values) for name, values in seen.items()}
    return {"tokens": count, "bytes": size, "median_us": medians, "rounds_us": seen}


def main(arguments: Sequence[str]) -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    where = os.environ.get("HWENTROPY_BENCH_DIR")
    with tempfile.TemporaryDirectory(prefix="hwentropy-bench-", dir=where) as name:
        results = [
            measure(count, options.rounds, Path(name)) for count in (1000, options.tokens)
        ]
    names = list(results[0]["median_us"])
    print(f"{'us a call':>12}", *(f"{name:>15}" for name in names))
    for one in results:
        figures = (f"{one['median_us'][name]:15.1f}" for name in names)
        print(f"{one['tokens']:>12,}", *figures)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
