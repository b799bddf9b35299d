"""A real daemon whose standard output and error are a pipe that nobody reads."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from support.daemon import Daemon
from support.pipes import Pipe, small_pipe
from support.raw_client import OK, PATIENCE

pytestmark = pytest.mark.process


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A full pipe."""
    one = small_pipe()
    one.fill()
    yield one
    one.close()


def test_it_starts_serves_and_stops(pipe: Pipe) -> None:
    """With a greeting and log lines that are not read: newcomers, a new worker, SIGTERM."""
    with Daemon(stream=pipe.write) as daemon:
        lost = daemon.worker_pids()[0]
        os.kill(lost, signal.SIGKILL)  # a log line of the supervisor's

        def replaced() -> bool:
            pids = daemon.worker_pids()
            return lost not in pids and len(pids) == 2

        daemon.wait_for(replaced, "with a new worker")
        assert daemon.read(32).status == OK
        daemon.stop()
        assert not daemon.entropy.exists()


def test_what_is_lost_is_said_once_the_pipe_is_read(pipe: Pipe) -> None:
    """More lines than are kept, of control clients that talk nonsense."""
    with Daemon(stream=pipe.write, arguments=["--log-level", "debug"]) as daemon:
        for _ in range(2500):
            with daemon.connect(daemon.control) as sock:
                sock.sendall(b"nonsense\0")
                assert sock.recv(1) == b""
        text = pipe.read_until(r"lines are missing here.*\n")
        assert re.search(r"\n\d+ lines are missing here: they could not be written", text)
        assert text.count("control connection ended") > 100
        daemon.stop()


def test_exit_codes_are_what_they_are_without_a_reader(pipe: Pipe) -> None:
    """2 for a configuration that is a FIFO, 3 for a directory that is served."""
    with Daemon() as daemon:
        fifo = daemon.directory / "fifo"
        os.mkfifo(fifo)
        for arguments, code in ((["--config", str(fifo)], 2), ([], 3)):
            ended = subprocess.run(
                [*daemon.command(), *arguments],
                stdout=pipe.write,
                stderr=pipe.write,
                timeout=PATIENCE,
                check=False,
            )
            assert ended.returncode == code
        daemon.check()
