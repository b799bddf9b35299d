"""The servers that are measured: the daemon in a directory of its own, and the floor.

The daemon runs from this tree with the sources `os`, `cpu` and `rdseed` only
(docs/bench.md says why), but where its memory is measured.  Its output goes to a
file; when it does not come up, the end of that file is in the error.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench import machine

ROOT: Final = Path(__file__).resolve().parent.parent
HEADER: Final = struct.Struct(">BBHI")
FIRST_BYTES: Final = 32

#: Without the two sources whose speed is that of a device and not of this code.
CONFIG: Final = """\
[sources.hwrng]
enabled = false
[sources.tpm2]
enabled = false
"""

#: Seconds until a server must have answered, and until it must have ended.
START_LIMIT: Final = 30.0
STOP_LIMIT: Final = 10.0
#: Between two tries to connect: what the time of the first byte is rounded to.
LOOK_AGAIN: Final = 0.001


class BenchError(Exception):
    """Nothing was measured; the message says what failed and what to do."""


def environment(runtime: Path) -> dict[str, str]:
    """What a process needs to run this tree's code with the sockets in `runtime`."""
    roots = [str(ROOT / name) for name in ("core", "sources", "daemon", "client")]
    return {"PYTHONPATH": os.pathsep.join(roots), "HWENTROPY_RUNTIME_DIR": str(runtime)}


def settle(seconds: float) -> None:
    """Let what the load left behind come to its end."""
    time.sleep(seconds)


class Server:
    """A server process and its socket; stopped when the `with` block ends."""

    def __init__(self, command: list[str], path: Path, log: Path) -> None:
        self.path = path
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment(path.parent)},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def first_byte(self) -> float:
        """Seconds from the process's start to 32 bytes read; BenchError when none come."""
        with self._connect() as connection:
            connection.settimeout(START_LIMIT)
            try:
                connection.sendall(HEADER.pack(1, 0, 1, FIRST_BYTES))
                reply = b""
                while len(reply) < HEADER.size + FIRST_BYTES:
                    part = connection.recv(4096)
                    if not part or (reply + part)[:1] != b"\0":
                        raise self._failure("did not answer the first request")
                    reply += part
            except OSError as error:
                raise self._failure(f"gave no first byte ({error})") from error
            return time.monotonic() - self.started

    def _connect(self) -> socket.socket:
        deadline = self.started + START_LIMIT
        while time.monotonic() < deadline:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if self._process.poll() is not None:
                    raise self._failure(f"ended with code {self._process.returncode}") from None
                time.sleep(LOOK_AGAIN)
            else:
                return connection
        raise self._failure(f"has no socket {self.path} after {START_LIMIT:.0f} s")

    def _failure(self, what: str) -> BenchError:
        said = self._log.read_text(errors="replace").strip()[-2000:]
        return BenchError(f"the server {what}; it said:\n{said or '(nothing)'}")

    def stop(self) -> None:
        """Ask it to end and wait; one that does not end is killed and reported."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise self._failure(f"did not end within {STOP_LIMIT:.0f} s of SIGTERM") from None


def start_daemon(directory: Path, config: Path | None = None) -> Server:
    """Start this tree's daemon with its sockets in `directory`; with CONFIG unless told."""
    directory.mkdir(parents=True)
    if config is None:
        config = directory / "bench.toml"
        config.write_text(CONFIG)
    command = [sys.executable, "-m", "hwentropyd"]
    command += ["--runtime-dir", str(directory), "--config", str(config)]
    return Server(command, directory / "entropy.sock", directory / "log")


def start_floor(binary: Path, directory: Path) -> Server:
    """Start the bare C server."""
    directory.mkdir(parents=True)
    path = directory / "floor.sock"
    return Server([str(binary), str(path)], path, directory / "log")


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process of the daemon used."""

    role: str
    pid: int
    command: str
    idle_percent: float
    memory: machine.Memory


def observe(pid: int, seconds: float) -> list[ProcessUse]:
    """CPU use over `seconds` in which nobody asks, then memory, of a daemon's processes.

    A process that ended or began meanwhile makes the figure worthless: BenchError.
    """
    before_pids = [pid, *machine.descendants(pid)]
    before = {one: machine.cpu_ns(one) for one in before_pids}
    begin = time.monotonic_ns()
    time.sleep(seconds)
    after = {one: machine.cpu_ns(one) for one in before_pids}
    elapsed = time.monotonic_ns() - begin
    if [pid, *machine.descendants(pid)] != before_pids:
        raise BenchError("the daemon's processes changed while it was idle; see its log")
    return [
        ProcessUse(
            role="supervisor" if one == pid else "worker",
            pid=one,
            command=machine.command_line(one),
            idle_percent=100 * (after[one] - before[one]) / elapsed,
            memory=machine.memory(one),
        )
        for one in before_pids
    ]
