"""Draw bytes of a running daemon for statistical tests, an equal part from each worker.

    python tools/draw.py RUNTIME_DIR stream.bin           1,024 MiB
    python tools/draw.py RUNTIME_DIR stream.bin --mib 64

The file's mebibytes come from one worker after another, over a connection that stays open:
each worker's first mebibyte as one large request (one key for all of it), its second as
1,024 requests of 1 KiB (the generator's own blocks, see docs/drbg.md), and so on in turn.
What the daemon counted of each worker is printed at the end, and a worker that gave another
part than its own is an error.  Delete the file afterwards, and use it for nothing else.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "core"), str(ROOT / "client")]

from hwentropy.blocking.client import Client  # noqa: E402  (the checkout's, by the line above)
from hwentropy.control import Control  # noqa: E402
from hwentropy.errors import DaemonUnavailable  # noqa: E402
from hwentropy_core.limits import SMALL_BYTES  # noqa: E402

MIB = 1 << 20

#: Seconds for one call: the first one may wait for the first seed.
TIMEOUT = 60.0

#: Seconds between two looks at the counts, which workers send twice a second.
LOOK_AGAIN = 0.2


def handed_out(control: Control) -> dict[int, int]:
    """Bytes that each worker has handed out, by its process id."""
    return {worker.pid: worker.bytes for worker in control.status().workers}


def mebibyte(client: Client, *, small: bool) -> bytes:
    """One mebibyte, in one request or in as many as the generator's own blocks serve."""
    if not small:
        return client.read(MIB)
    return b"".join(client.read(SMALL_BYTES) for _ in range(MIB // SMALL_BYTES))


def draw(runtime_dir: Path, file: Path, mib: int) -> dict[int, int]:
    """Write so many mebibytes; what each worker gave of them, by its process id.

    A worker is given a new connection when it has the fewest, so as many connections as
    there are workers are one to each where the daemon serves nobody else.
    """
    with ExitStack() as stack:
        control = stack.enter_context(Control(runtime_dir / "control.sock", timeout=TIMEOUT))
        before = handed_out(control)
        path = runtime_dir / "entropy.sock"
        clients = [stack.enter_context(Client(path, timeout=TIMEOUT)) for _ in before]
        for client in clients:
            client.info()
        with file.open("xb") as out:
            for number in range(mib):
                turn, worker = divmod(number, len(clients))
                out.write(mebibyte(clients[worker], small=bool(turn % 2)))
        # Workers tell the daemon what they handed out when it pings them.
        deadline = time.monotonic() + TIMEOUT
        given: dict[int, int] = {}
        while sum(given.values()) < mib * MIB and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN)
            after = handed_out(control)
            given = {pid: after[pid] - count for pid, count in before.items() if pid in after}
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and say what came from where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runtime_dir", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--mib", type=int, default=1024)
    options = parser.parse_args(arguments)
    try:
        given = draw(options.runtime_dir, options.file, options.mib)
    except (DaemonUnavailable, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 1
    for pid, count in given.items():
        print(f"worker {pid}: {count} bytes")
    parts = {options.mib * MIB // len(given)}
    if set(given.values()) != parts:
        print(f"not {options.mib} MiB in {len(given)} equal parts", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
