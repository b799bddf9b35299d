"""`make run`, as tools/run.py does it: the daemon, a software TPM, and their end.

Needs no root: swtpm, tpm2-pytss and the project in this environment are enough.
The make that calls it is not run here: it would install into the environment that
the tests run in.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from hwentropy_core.paths import CONTROL_SOCKET, ENTROPY_SOCKET
from support.needed import needs
from support.swtpm import missing_swtpm

LAUNCHER: Final = Path(__file__).parents[2] / "tools" / "run.py"
COMMAND: Final = Path(sys.executable).with_name("hwentropy")

#: Seconds for anything that takes a second or two on an idle machine.
DEADLINE: Final = 30.0

pytestmark = [
    pytest.mark.system,
    needs("" if COMMAND.exists() else "hwentropy is not installed in this environment"),
]
needs_swtpm = needs(
    missing_swtpm()
    or ("" if importlib.util.find_spec("tpm2_pytss") else "tpm2-pytss is not installed")
)


def eventually(check: Callable[[], bool], what: str) -> None:
    """Poll until it holds; fail with `what` at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.05)


class Run:
    """A launcher in a process group of its own, below a shell that stands for make."""

    def __init__(self, home: Path, *options: str) -> None:
        self.runtime = home / "run"
        self.temporary = home / "tmp"
        self.temporary.mkdir()
        self.output = home / "output"
        # `:` after it keeps the shell from becoming the launcher.
        script = '"$@"; status=$?; :; exit $status'
        launcher = [sys.executable, str(LAUNCHER), "--runtime-dir", str(self.runtime), *options]
        with self.output.open("wb") as output:
            self.make = subprocess.Popen(
                ["sh", "-c", script, "make", *launcher],
                env=os.environ | {"TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def children(self, pid: int) -> list[int]:
        """The processes below one, nearest first."""
        with contextlib.suppress(FileNotFoundError):
            listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            direct = [int(child) for child in listed]
            return direct + [lower for child in direct for lower in self.children(child)]
        return []

    def ready(self) -> None:
        """Wait until the daemon is seeded."""
        eventually(self._greeted, f"a daemon that serves; it said: {self.output.read_text()}")

    def _greeted(self) -> bool:
        assert self.make.poll() is None, self.output.read_text()
        paths = [self.runtime / name for name in (ENTROPY_SOCKET, CONTROL_SOCKET)]
        return all(path.is_socket() for path in paths) and "get 32" in self.output.read_text()

    def ended(self, processes: list[int]) -> None:
        """Wait until none of these processes is left, as a zombie or otherwise."""
        eventually(lambda: not any(_lives(pid) for pid in processes), "no process left")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie that no one has waited for yet has ended all the same.
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start the launcher with these options; whatever is left of it is killed."""
    runs: list[tuple[Run, list[int]]] = []

    def starter(*options: str) -> Run:
        run = Run(tmp_path, *options)
        run.ready()
        runs.append((run, run.children(run.make.pid)))
        return run

    yield starter
    for run, processes in runs:
        for pid in [run.make.pid, *processes]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.make.wait()


def hwentropy(run: Run, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line against this daemon."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        env=os.environ | {"HWENTROPY_RUNTIME_DIR": str(run.runtime)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


def state_of(run: Run, source: str) -> str:
    """The state of a source, as `hwentropy sources --json` gives it."""
    listed = json.loads(hwentropy(run, "sources", "--json").stdout)
    return next(str(one["state"]) for one in listed if one["name"] == source)


def test_serves_and_ctrl_c_stops_it(start: Callable[..., Run]) -> None:
    """Without options: bytes come, and SIGINT to the whole group ends it with success."""
    run = start()
    assert len(bytes.fromhex(hwentropy(run, "get", "32", "--hex").stdout)) == 32
    processes = run.children(run.make.pid)
    os.killpg(run.make.pid, signal.SIGINT)
    run.make.wait(DEADLINE)
    run.ended(processes)
    assert not (run.runtime / ENTROPY_SOCKET).exists()
    assert "Traceback" not in run.output.read_text()


@needs_swtpm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_software_tpm_goes_with_the_daemon(
    start: Callable[..., Run], number: signal.Signals
) -> None:
    """With --swtpm the TPM is a healthy source, and a signal leaves nothing of it."""
    run = start("--swtpm")
    eventually(lambda: state_of(run, "tpm2") == "healthy", "tpm2 healthy")
    assert list(run.temporary.iterdir())
    processes = run.children(run.make.pid)
    launcher = processes[0]
    os.kill(launcher, number)
    run.make.wait(DEADLINE)
    run.ended(processes)
    assert list(run.temporary.iterdir()) == []
    assert "Traceback" not in run.output.read_text()


@needs_swtpm
def test_configuration_is_kept_beside_the_software_tpm(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    """--config and its drop-ins still count when the software TPM is added."""
    config = tmp_path / "site.toml"
    config.write_text("[sources.hwrng]\nenabled = false\n")
    dropins = tmp_path / "site.toml.d"
    dropins.mkdir()
    (dropins / "one.toml").write_text("[sources.rdseed]\nenabled = false\n")
    run = start("--swtpm", "--config", str(config))
    shown = hwentropy(run, "sources").stdout
    assert "tpm2" in shown
    assert "os" in shown
    assert "hwrng" not in shown
    assert "rdseed" not in shown


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("[pool]\nmin_bits = 3\n", "pool.min_bits: must be"),
    ],
)
def test_a_wrong_configuration_is_named_as_its_owner_knows_it(
    content: str | None, said: str, tmp_path: Path
) -> None:
    """The daemon's sentence and exit code, and not of the copy for the software TPM."""
    config = tmp_path / "site.toml"
    if content is not None:
        config.write_text(content)
    command = [sys.executable, str(LAUNCHER), "--swtpm", "--config", str(config)]
    done = subprocess.run(
        [*command, "--runtime-dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"hwentropyd: {config}: {said}")
    assert done.stderr.count("\n") == 1


@needs_swtpm
def test_all_ends_when_make_is_killed(start: Callable[..., Run]) -> None:
    """SIGKILL of the parent, which can pass nothing on, still stops daemon and swtpm."""
    run = start("--swtpm")
    processes = run.children(run.make.pid)
    assert len(processes) >= 3
    run.make.kill()
    run.make.wait()
    run.ended(processes)
    assert list(run.temporary.iterdir()) == []
