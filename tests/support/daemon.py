"""A real hwentropyd as a child process, in a runtime directory of its own.

    with Daemon(ONLY_OS) as daemon:
        with daemon.connect() as sock: ...
        daemon.status(); daemon.worker_pids(); daemon.log

`with` starts it and waits until it is seeded and knows its sources; `start`
alone does not wait.  What it prints goes to a file in its directory.  Standard
library only.  What this does not cover: when the test process is killed, the
daemon lives on.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support import raw_client
from support.started import Started

ROOT = Path(__file__).parents[2]

#: Seconds for anything that takes the daemon a fraction of one on an idle machine.
PATIENCE = raw_client.PATIENCE

#: Every built-in source by its name; what is not wanted has to be switched off.
BUILT_IN = ("os", "cpu", "rdseed", "hwrng", "tpm2", "jitter")

INTERFACE = "org.hwentropy.Control"


def only(*names: str) -> str:
    """Configuration that switches off every built-in source but these."""
    off = (name for name in BUILT_IN if name not in names)
    return "".join(f"[sources.{name}]\nenabled = false\n" for name in off)


#: One source that every machine has and that seeds at once.
ONLY_OS = only("os")


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


class Daemon(Started):
    """One hwentropyd; started by `with` or `start`."""

    def __init__(
        self,
        config: str = ONLY_OS,
        *,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        wait: bool = True,
        stream: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """`wait=False`: `with` does not wait for the first seed.

        `stream` gets what it prints, in the place of the file; `arguments` are more.
        """
        # Not tmp_path: its name may be too long for a socket's path.
        self.directory = Path(tempfile.mkdtemp(prefix="hwe-", dir="/tmp"))
        self.config = self.directory / "hwentropyd.toml"
        self.config.write_text(config)
        self.output = self.directory / "output"
        self.output.touch()
        self._environment = {**os.environ, **(environment or {})}
        self._environment.pop("HWENTROPY_RUNTIME_DIR", None)
        self._user = user
        self._wait = wait
        self._stream = stream
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        if user is not None:
            for path in (self.directory, self.config, self.output):
                os.chown(path, user, -1)

    def set_environment(self, **variables: str) -> None:
        """Add to what it is started with."""
        self._environment.update(variables)

    @property
    def entropy(self) -> Path:
        """The native protocol's socket."""
        return self.directory / "entropy.sock"

    @property
    def stream(self) -> Path:
        """The plain stream's socket."""
        return self.directory / "stream.sock"

    @property
    def control(self) -> Path:
        """The Varlink socket."""
        return self.directory / "control.sock"

    @property
    def log(self) -> str:
        """All it and its workers have printed so far."""
        return self.output.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.process.pid

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The supervisor.  Raises RuntimeError when it was not started."""
        if self._process is None:
            raise RuntimeError("hwentropyd is not running")
        return self._process

    def command(self) -> list[str]:
        """The command line it is started with."""
        return [
            *(sys.executable, "-m", "hwentropyd"),
            *("--config", str(self.config), "--runtime-dir", str(self.directory)),
            *self._arguments,
        ]

    def enter(self) -> None:
        """`start`, and `wait_until_settled` as a rule."""
        self.start()
        if self._wait:
            self.wait_until_settled()

    def start(self) -> None:
        """Start it; returns at once."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output if self._stream is None else self._stream,
                stderr=output if self._stream is None else self._stream,
                cwd=ROOT,
                env=self._environment,
                user=self._user,
            )

    def wait_until_settled(self) -> None:
        """Wait until it is seeded and every source has found out how it is."""

        def settled() -> bool:
            status = self.status()
            known = all(one["state"] != "starting" for one in status["sources"])
            return known and status["state"] == "ok"

        self.wait_until_reachable()
        self.wait_for(settled, "seeded and settled")
        # Answered as soon as the first worker serves.
        assert self.read(1).status == raw_client.OK

    def wait_until_reachable(self) -> None:
        """Wait until its control socket answers."""

        def reachable() -> bool:
            try:
                self.status()
            except (FileNotFoundError, ConnectionError):
                return False
            return True

        self.wait_for(reachable, "reachable")

    def wait_for(
        self, condition: Callable[[], bool], what: str, patience: float = PATIENCE
    ) -> None:
        """Poll until a condition holds; fails with what was awaited, and the log."""
        deadline = time.monotonic() + patience
        while not condition():
            assert self.process.poll() is None, f"hwentropyd ended: {self.log}"
            assert time.monotonic() < deadline, f"not {what} in {patience} s: {self.log}"
            time.sleep(0.01)

    def wait_for_state(self, state: str) -> dict[str, Any]:
        """Poll until the service is in this state; returns the status that showed it."""
        seen: list[dict[str, Any]] = []

        def reached() -> bool:
            seen.append(self.status())
            return bool(seen[-1]["state"] == state)

        self.wait_for(reached, f"in state {state}")
        return seen[-1]

    def wait_for_source(self, name: str, state: str) -> dict[str, Any]:
        """Poll until a source is in this state; returns its snapshot."""
        seen: list[dict[str, Any]] = []

        def reached() -> bool:
            seen.append(self.source(name))
            return bool(seen[-1]["state"] == state)

        self.wait_for(reached, f"with {name} in state {state}")
        return seen[-1]

    def signal(self, number: int) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    def stop(self) -> float:
        """SIGTERM, and wait for the end; returns how many seconds it took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        code = self.wait()
        took = time.monotonic() - began
        assert code == 0, f"exit code {code}: {self.log}"
        return took

    def wait(self) -> int:
        """Wait for the supervisor's end; returns its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> list[int]:
        """SIGKILL to the supervisor; waits for all processes of it, and returns them."""
        pids = descendants(self.pid)
        with ExitStack() as stack:
            workers = [os.pidfd_open(pid) for pid in pids]
            for worker in workers:
                stack.callback(os.close, worker)
            self.process.kill()
            self.process.wait(PATIENCE)
            for worker in workers:
                # Readable once the process has ended: pidfd_open(2).
                assert select.select([worker], [], [], PATIENCE)[0], "a process goes on alone"
        return pids

    def connect(self, path: Path | None = None) -> socket.socket:
        """A connection to the native socket, or to another of its sockets."""
        return raw_client.connect(path or self.entropy)

    def read(self, length: int, flags: int = 0) -> raw_client.Reply:
        """READ on a connection of its own."""
        with self.connect() as sock:
            return raw_client.ask(sock, length, flags)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A call of the control interface; raises raw_client.CallError."""
        return raw_client.call(self.control, f"{INTERFACE}.{method}", **parameters)

    def status(self) -> dict[str, Any]:
        """What Status says."""
        status: dict[str, Any] = self.call("Status")["status"]
        return status

    def source(self, name: str) -> dict[str, Any]:
        """What Sources says of one."""
        found: dict[str, Any] = next(
            one for one in self.call("Sources")["sources"] if one["name"] == name
        )
        return found

    def generation(self) -> int:
        """The current generation."""
        return int(self.status()["generation"])

    def worker_pids(self) -> list[int]:
        """The process ids of its workers."""
        return [worker["pid"] for worker in self.status()["workers"]]

    def check(self) -> None:
        """Assert that a fresh client is served and that nothing went wrong within."""
        reply = self.read(32)
        assert (reply.status, len(reply.payload)) == (raw_client.OK, 32)
        self.check_log()

    def check_log(self) -> None:
        """Assert that the log holds no traceback and no exception of asyncio's."""
        log = self.log
        for trouble in ("Traceback", "exception was never retrieved", "Exception in"):
            assert trouble not in log, log

    def close(self) -> None:
        """End it, whatever state it is in, and remove its directory."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            # Asked first: it takes its workers with it either way.
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)
        shutil.rmtree(self.directory, ignore_errors=True)
