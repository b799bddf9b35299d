"""Real daemons that are told to stop at every moment of their start."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.daemon import ONLY_OS, Daemon
from support.raw_client import PATIENCE

pytestmark = pytest.mark.process

#: Milliseconds after which it is told: a start takes some 300.
DELAYS = range(0, 500, 25)


@contextmanager
def starting(config: str = ONLY_OS) -> "Iterator[tuple[Daemon, subprocess.Popen[bytes]]]":
    """A daemon that was just executed, as the head of a process group of its own."""
    daemon = Daemon(config)
    with daemon.output.open("ab") as output:
        process = subprocess.Popen(
            daemon.command(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield daemon, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        daemon.close()


def handles_stop_signals(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it has come to its own first line: proc(5), SigCgt."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def wait_until_handled(process: "subprocess.Popen[bytes]") -> None:
    """Wait for that; it comes within a few tens of milliseconds."""
    while not handles_stop_signals(process):
        assert process.poll() is None


def group_lives(number: int) -> bool:
    """Whether a process of this group is left."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def end(daemon: Daemon, process: "subprocess.Popen[bytes]") -> int:
    """Wait for its end; nothing may be left of it.  Returns its exit code."""
    code = process.wait(PATIENCE)
    assert not list(daemon.directory.glob("*.sock"))
    daemon.check_log()
    assert "KeyboardInterrupt" not in daemon.log
    deadline = time.monotonic() + PATIENCE
    while group_lives(process.pid):
        assert time.monotonic() < deadline, "a child lives on"
    return code


def stopped_by_term(delay: int) -> bool:
    """Whether SIGTERM so many ms after it was executed ended it as it has to."""
    with starting() as (daemon, process):
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay / 1000)
        handled = handles_stop_signals(process)
        process.terminate()
        code = end(daemon, process)
    return code == 0 or (code == -signal.SIGTERM and not handled)


def stopped_by_ctrl_c(delay: int) -> bool:
    """The same for a SIGINT that its whole process group gets, since it handles it."""
    with starting() as (daemon, process):
        wait_until_handled(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay / 1000)
        os.killpg(process.pid, signal.SIGINT)
        return end(daemon, process) == 0


@pytest.mark.parametrize("stopped", [stopped_by_term, stopped_by_ctrl_c])
def test_a_signal_at_any_moment_of_the_start_ends_it_cleanly(
    stopped: Callable[[int], bool],
) -> None:
    """Exit code 0, no socket file, no process, no traceback.

    Before the daemon's first line SIGTERM's default ends the interpreter.
    """
    with ThreadPoolExecutor(2) as pool:
        assert dict(zip(DELAYS, pool.map(stopped, DELAYS), strict=True)) == dict.fromkeys(
            DELAYS, True
        )


def test_many_signals_while_it_stops_change_nothing() -> None:
    """An impatient service manager: the exit code stays 0 to the last moment."""
    with starting() as (daemon, process):
        wait_until_handled(process)
        while process.poll() is None:
            process.terminate()
            process.send_signal(signal.SIGINT)
        assert end(daemon, process) == 0


def test_what_is_wrong_is_said_although_it_is_to_stop() -> None:
    """A configuration that cannot be used, and SIGTERM before it is read."""
    with starting("[pool]\nmin_bits = 1\n") as (daemon, process):
        wait_until_handled(process)
        process.terminate()
        assert end(daemon, process) == 2
        assert "pool.min_bits" in daemon.log
