"""The load client in Python: client.c's command line and output, where C is absent.

    python client.py [--size N] [--connections N] [--depth N] [--requests N]
                     [--seconds X] [--library] SOCKET|DEVICE|getrandom

Its own cost is several times the C client's and its threads share one lock, so
absolute figures are for the pair of client and server; ratios to the floor come
out nearer to 1 than they are.  Every table made with it says so.

`--library` calls `hwentropy.Client().read(size)` instead of writing the protocol
itself: what a Python program on the host sees (it finds the daemon by
HWENTROPY_RUNTIME_DIR; the target is then only a name).
"""

import argparse
import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import percentile

HEADER: Final = struct.Struct(">BBHI")
#: Payload bytes whose repetition is counted: 2^-128 by chance.
FINGERPRINT: Final = 16
#: A server that says nothing for so many seconds has hung.
REPLY_SECONDS: Final = 10.0
#: As in client.c: as many discarded requests as fit in 4 MiB, 2 to 200.
WARMUP_BYTES: Final = 4 << 20


class NativeReader:
    """One connection that speaks the native protocol."""

    def __init__(self, path: str, size: int) -> None:
        self._size = size
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(REPLY_SECONDS)
        self._sock.connect(path)
        # The kernel's own timeout: Python's would cost a poll for each receive.
        self._sock.settimeout(None)
        self._sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(REPLY_SECONDS), 0)
        )
        self.frame = memoryview(bytearray(HEADER.size + size))
        self.payload = self.frame[HEADER.size :]
        self._sent = 0
        self._received = 0

    def ask(self) -> None:
        """Send one request."""
        self._sock.sendall(HEADER.pack(1, 0, self._sent & 0xFFFF, self._size))
        self._sent += 1

    def ask_and_take(self) -> None:
        """One round trip."""
        self.ask()
        self.take()

    def take(self) -> None:
        """Receive one whole reply and check its header; ConnectionError when it is wrong."""
        have = 0
        if not self._received:
            # The header alone, so that a refusal is known at once.
            have = self._sock.recv_into(self.frame[: HEADER.size], 0, socket.MSG_WAITALL)
            self._refuse_status()
        while have < len(self.frame):
            got = self._sock.recv_into(self.frame[have:], 0, socket.MSG_WAITALL)
            if not got:
                raise ConnectionError("the server closed the connection")
            have += got
        self._refuse_status()
        _, _, tag, length = HEADER.unpack_from(self.frame)
        if tag != self._received & 0xFFFF or length != self._size:
            raise ConnectionError("reply of the wrong tag or length")
        self._received += 1

    def _refuse_status(self) -> None:
        if self.frame[0]:
            raise ConnectionError(f"refused with status {self.frame[0]}")


def kernel_read(target: str, payload: memoryview) -> Callable[[], None]:
    """A function that fills `payload` from getrandom(2) or a device."""
    size = len(payload)
    if target == "getrandom":

        def from_call() -> None:
            have = 0
            while have < size:
                part = os.getrandom(size - have)
                payload[have : have + len(part)] = part
                have += len(part)

        return from_call
    descriptor = os.open(target, os.O_RDONLY)

    def from_device() -> None:
        have = 0
        while have < size:
            have += os.readv(descriptor, [payload[have:]])

    return from_device


def library_read(size: int) -> tuple[Callable[[], None], memoryview]:
    """A function that reads through hwentropy.Client, and a view of the first bytes it got."""
    # Only with --library, so that the rest runs without the package.
    from hwentropy import Client  # noqa: PLC0415

    client = Client()
    seen = memoryview(bytearray(size))

    def read() -> None:
        seen[:] = client.read(size)

    return read, seen


class Worker:
    """One connection with its thread: requests, their times, and repeated payloads."""

    def __init__(self, options: argparse.Namespace, start: threading.Barrier) -> None:
        self.times: list[int] = []
        self.repeats = 0
        self.begin = 0
        self.end = 0
        self.error: Exception | None = None
        self._options = options
        self._start = start
        self._last = b""
        target: str = options.target
        self._native: NativeReader | None = None
        self._read: Callable[[], None]
        if options.library:
            self._read, self._payload = library_read(options.size)
        elif target != "getrandom" and Path(target).is_socket():
            self._native = NativeReader(target, options.size)
            self._payload = self._native.payload
            self._read = self._native.ask_and_take
        else:
            self._payload = memoryview(bytearray(options.size))
            self._read = kernel_read(target, self._payload)

    def run(self) -> None:
        """The thread: warm up, wait for the others, measure."""
        try:
            for _ in range(min(max(WARMUP_BYTES // self._options.size, 2), 200)):
                self._read()
                self._note()
            self.repeats = 0
            self._start.wait()
            if self._native:
                self._measure_native(self._native)
            else:
                self._measure_calls()
        except (OSError, threading.BrokenBarrierError) as error:
            self.error = error
            self._start.abort()

    def _note(self) -> None:
        first = bytes(self._payload[:FINGERPRINT])
        self.repeats += len(first) == FINGERPRINT and first == self._last
        self._last = first

    def _measure_native(self, connection: NativeReader) -> None:
        limit, depth = self._options.requests, self._options.depth
        clock = time.monotonic_ns
        self.begin = begin = clock()
        deadline = begin + int(self._options.seconds * 1e9)
        asked = min(depth, limit)
        sent = [begin] * asked
        for _ in range(asked):
            connection.ask()
        while len(self.times) < asked:
            connection.take()
            now = self.end = clock()
            self._note()
            slot = len(self.times) % depth
            self.times.append(now - sent[slot])
            if asked < limit and now < deadline:
                sent[slot] = clock()
                connection.ask()
                asked += 1

    def _measure_calls(self) -> None:
        limit = self._options.requests
        clock = time.monotonic_ns
        self.begin = before = clock()
        deadline = before + int(self._options.seconds * 1e9)
        while not self.times or (len(self.times) < limit and before < deadline):
            self._read()
            self.times.append(clock() - before)
            self._note()
            before = clock()
        self.end = before


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line, the same as client.c's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1 << 22)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--library", action="store_true")
    parser.add_argument("target")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the load and print one JSON line; 1 when a connection failed."""
    options = parse(arguments)
    start = threading.Barrier(options.connections + 1)
    workers = [Worker(options, start) for _ in range(options.connections)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    # The worker that broke the barrier has the reason, printed below.
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    for thread in threads:
        thread.join()
    # A worker that only found the barrier broken is not the cause.
    causes = [w.error for w in workers if isinstance(w.error, OSError)]
    if causes:
        print(f"bench client: {options.target}: {causes[0]}", file=sys.stderr)
        return 1
    times = sorted(t for worker in workers for t in worker.times)
    print(
        json.dumps(
            {
                "client": "python library" if options.library else "python",
                "size": options.size,
                "connections": options.connections,
                "depth": options.depth,
                "requests": len(times),
                "repeats": sum(worker.repeats for worker in workers),
                # Of the threads: this one may be woken when they are done.
                "seconds": (max(w.end for w in workers) - min(w.begin for w in workers)) / 1e9,
                "p50_ns": percentile(times, 500),
                "p99_ns": percentile(times, 990),
                "p999_ns": percentile(times, 999),
                "max_ns": times[-1],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
