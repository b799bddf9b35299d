"""A process of the daemon in strange hands: it tries for real what it must not be able to do.

The attempts are support/attempts; docs/security.md has their table, to which the
daemon is held here.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropyd import confinement
from support.attempts import sitecustomize
from support.attempts.sitecustomize import ATTEMPTS, signal_number
from support.daemon import ONLY_OS, ROOT, Daemon

pytestmark = pytest.mark.process

HOOKS = str(Path(sitecustomize.__file__).parent)
TABLE = ROOT / "docs" / "security.md"

#: What the table calls an end by SIGSYS.
KILLED = "killed"


def table() -> dict[str, dict[str, str]]:
    """By kind of process and attempt: what docs/security.md says comes of it."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    start = next(at for at, line in enumerate(lines) if line.startswith("| It tries to |"))
    kinds = cells(lines[start])[1:]
    results: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for line in lines[start + 1 :]:
        attempt, *outcomes = cells(line)
        if attempt in ATTEMPTS:
            for kind, outcome in zip(kinds, outcomes, strict=True):
                results[kind][attempt] = outcome
    return results


def cells(line: str) -> list[str]:
    """The texts of a table's row."""
    return [cell.strip() for cell in line.strip("| \n").split(" | ")]


EXPECTED = table()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Somebody takes TCP connections there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def daemon(port: int) -> Iterator[Daemon]:
    """A daemon every process of which makes an attempt when told to."""
    if confinement.missing():
        pytest.skip(f"this kernel cannot: {confinement.missing()}")
    daemon = Daemon(f"[server]\nworkers = 1\n{ONLY_OS}")
    daemon.set_environment(
        PYTHONPATH=HOOKS, ATTEMPT_DIRECTORY=str(daemon.directory), ATTEMPT_PORT=str(port)
    )
    with daemon:
        yield daemon


def attempt(daemon: Daemon, pid: int, name: str) -> str:
    """Have a process make an attempt; what came of it, in the table's words."""
    said = len(daemon.log)
    ended = f"worker {pid} died of SIGSYS"
    line = re.compile(rf"^attempt {re.escape(name)} by {pid}: (\w+)$", re.MULTILINE)
    os.kill(pid, signal_number(name))
    daemon.wait_for(
        lambda: ended in daemon.log[said:] or bool(line.search(daemon.log[said:])),
        f"done with its attempt to {name}",
    )
    found = line.search(daemon.log[said:])
    return found[1] if found else KILLED


#: What a container, an ordinary user or the kernel's settings may forbid as well.
MAY_BE_FORBIDDEN = {
    "io_uring",
    "bpf",
    "signal its parent by a pidfd",
    "trace its parent",
    "open its parent's memory",
    "write /etc/hosts",
    "open a device (/dev/ptmx)",
    "open /dev/mem",
    "make a user namespace",
}


OUTCOME = "import sys, sitecustomize; print(sitecustomize.outcome(sys.argv[1]))"


@pytest.mark.parametrize("name", sorted(ATTEMPTS.keys() - MAY_BE_FORBIDDEN))
def test_an_attempt_succeeds_where_nothing_is_confined(port: int, name: str) -> None:
    """So that what fails in a process of the daemon fails because of its confinement."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX) as control,
    ):
        control.bind(f"{directory}/control.sock")
        control.listen()
        done = subprocess.run(
            [sys.executable, "-c", OUTCOME, name],
            env={
                **os.environ,
                "PYTHONPATH": HOOKS,
                "ATTEMPT_DIRECTORY": directory,
                "ATTEMPT_PORT": str(port),
            },
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "done\n"


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_worker_cannot(daemon: Daemon, name: str) -> None:
    """A worker's attempt ends as the table says, and a client is served all the same."""
    before = daemon.status()["reseeds"]
    assert daemon.read(1).status == 0  # the worker is ready, or the one in its place
    assert attempt(daemon, daemon.worker_pids()[0], name) == EXPECTED["worker"][name]
    assert daemon.read(32).status == 0
    assert daemon.status()["reseeds"] == before
