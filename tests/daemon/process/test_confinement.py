"""A process of the daemon in strange hands: it tries for real what it must not be able to do.

The attempts are support/attempts; docs/security.md has their table, to which the
processes are held here.
"""

import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hwentropyd import confinement
from hwentropyd.child import Children
from hwentropyd.collector.messages import MESSAGE_BYTES, CollectorSettings
from support.attempts import sitecustomize
from support.attempts.sitecustomize import ATTEMPTS, signal_number
from support.children import until_known
from support.daemon import ONLY_OS, PATIENCE, ROOT, Daemon
from support.raw_client import OK

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        bool(confinement.missing()), reason="; ".join(["not here", *confinement.missing()])
    ),
]

HOOKS = str(Path(sitecustomize.__file__).parent)

#: What the table calls an end by SIGSYS.
KILLED = "killed"


def table() -> dict[str, dict[str, str]]:
    """By kind of process and attempt: what docs/security.md says comes of it."""
    text = (ROOT / "docs" / "security.md").read_text()
    lines = text[text.index("| It tries to |") :].splitlines()
    kinds = cells(lines[0])[1:]
    results: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for line in lines[2:]:
        if not line.startswith("| "):
            break
        name, *outcomes = cells(line)
        for kind, outcome in zip(kinds, outcomes, strict=True):
            results[kind][name] = outcome
    return results


def cells(line: str) -> list[str]:
    """The texts of a table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


EXPECTED = table()


def expected(kind: str, name: str) -> str:
    """What the table says, which is of a daemon that root started on an ordinary machine."""
    if name == "open /dev/mem" and kind != "worker":
        if not Path("/dev/mem").exists():
            return "ENOENT"
        if os.geteuid():
            return "EACCES"
    return EXPECTED[kind][name]


def test_the_table_has_every_attempt() -> None:
    """In the order in which they are made, for every kind of process."""
    assert {tuple(results) for results in EXPECTED.values()} == {tuple(ATTEMPTS)}


class Scene:
    """What the attempts aim at, and where they are reported."""

    def __init__(self, stack: ExitStack) -> None:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file, self._report = directory / "file", directory / "report"
        file.touch()
        self._report.touch()
        self.environment = {
            "PYTHONPATH": HOOKS,
            "ATTEMPT_REPORT": str(self._report),
            "ATTEMPT_PORT": str(server.getsockname()[1]),
            "ATTEMPT_FILE": str(file),
        }

    def attempt(self, pid: int, name: str) -> str | None:
        """Have a process make an attempt; what it reports, None when it ended instead."""
        line = re.compile(rf"^attempt {re.escape(name)} by {pid}: (\w+)$", re.MULTILINE)
        process = os.pidfd_open(pid)
        try:
            before = self._report.stat().st_size
            os.kill(pid, signal_number(name))
            give_up = time.monotonic() + PATIENCE
            while time.monotonic() < give_up:
                ended = bool(select.select([process], [], [], 0.005)[0])
                if found := line.search(self._report.read_text(), before):
                    return found[1]
                if ended:
                    return None
        finally:
            os.close(process)
        raise AssertionError(f"not done with its attempt to {name}")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A port, a file, a report."""
    with ExitStack() as stack:
        yield Scene(stack)


@pytest.fixture(scope="module")
def daemon(scene: Scene) -> Iterator[Daemon]:
    """A daemon every process of which makes an attempt when told to."""
    daemon = Daemon(f"[server]\nworkers = 1\n{ONLY_OS}")
    scene.environment["ATTEMPT_DIRECTORY"] = str(daemon.directory)
    daemon.set_environment(**scene.environment)
    with daemon:
        yield daemon


@pytest.fixture(scope="module")
def children(scene: Scene, daemon: Daemon) -> Iterator[Children]:
    """A template as the daemon has it, to start collectors of any kind."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in scene.environment.items():
            patch.setenv(name, value)
        with closing(Children()) as children:
            children.prepare()
            yield children


#: What a container, an ordinary user or the kernel's settings may forbid as well.
MAY_BE_FORBIDDEN = {
    "io_uring",
    "bpf",
    "signal its parent by a pidfd",
    "trace its parent",
    "open its parent's memory",
    "open a device (/dev/ptmx)",
    "open /dev/mem",
    "make a user namespace",
}

OUTCOME = "import sys, sitecustomize; print(sitecustomize.outcome(sys.argv[1]))"


@pytest.mark.parametrize("name", sorted(ATTEMPTS.keys() - MAY_BE_FORBIDDEN))
def test_an_attempt_succeeds_where_nothing_is_confined(
    scene: Scene, daemon: Daemon, name: str
) -> None:
    """So that what fails in a process of the daemon fails because of its confinement."""
    done = subprocess.run(
        [sys.executable, "-c", OUTCOME, name],
        env={**os.environ, **scene.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "done\n"


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_worker_gets_what_the_table_says(scene: Scene, daemon: Daemon, name: str) -> None:
    """And a client is served all the same."""
    assert daemon.read(1).status == OK  # the worker is ready, or the one in its place
    reseeds = daemon.status()["reseeds"]
    pid = daemon.worker_pids()[0]
    outcome = scene.attempt(pid, name)
    if outcome is None:
        daemon.wait_for(lambda: f"worker {pid} died of SIGSYS" in daemon.log, "said to be dead")
    assert (outcome or KILLED) == expected("worker", name)
    assert daemon.read(32).status == OK
    assert daemon.status()["reseeds"] == reseeds


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_supervisor_gets_what_the_table_says(
    scene: Scene, daemon: Daemon, name: str
) -> None:
    """And goes on."""
    assert scene.attempt(daemon.pid, name) == expected("supervisor", name)
    assert daemon.read(32).status == OK


#: A kind and its table, by what docs/security.md calls a process of it.
COLLECTORS: dict[str, tuple[str, dict[str, object]]] = {
    "TPM device": ("tpm2", {"tcti": "device:/dev/tpmrm0"}),
    "TPM socket": ("tpm2", {"tcti": "swtpm:path=/run/swtpm.sock"}),
    "plug-in": ("another's", {}),
}


@pytest.mark.parametrize("name", ATTEMPTS)
@pytest.mark.parametrize("kind", COLLECTORS)
def test_a_collector_gets_what_the_table_says(
    scene: Scene, children: Children, kind: str, name: str
) -> None:
    """Before it has run a line of other people's code."""
    child = children.start("collector", CollectorSettings(*COLLECTORS[kind], silent=False))
    with closing(child):
        child.receive_into(bytearray(MESSAGE_BYTES), PATIENCE)  # it is ready
        outcome = scene.attempt(until_known(child).pid, name)
        if outcome is None:
            assert child.wait(PATIENCE)
            assert child.ended == "died of SIGSYS"
        child.kill()
    assert (outcome or KILLED) == expected(kind, name)
