"""Each process of a real daemon killed and frozen in turn, while clients of every kind draw.

Whatever dies or hangs, nobody gets a wrong, repeated or zero byte, and everybody is
served again.  How fast a service manager brings a dead supervisor back is in
tests/system/test_systemd.py.
"""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support import compiled, needed
from support.daemon import Daemon, only
from support.drawers import PATIENCE, Drawers
from support.node import needs_node
from support.swtpm import SoftwareTpm, missing_swtpm

needed.module("tpm2_pytss", "tpm2-pytss is not installed")
pytestmark = [
    pytest.mark.process,
    needs_node,
    needed.needs(compiled.MISSING),
    needed.needs(missing_swtpm()),
]

#: Leases are renewed every second, so that what is killed is in the middle of it.
CONFIG = (
    only("os", "tpm2")
    + """
[pool]
reseed_seconds = 1
poll_seconds = 0.2
[server]
workers = 2
[sources.tpm2]
deadline = 2
tcti = "{}"
"""
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One with two workers and a collector that reseeds every second."""
    with SoftwareTpm(tmp_path / "tpm") as tpm, Daemon(CONFIG.format(tpm.tcti)) as one:
        yield one


@pytest.fixture
def drawers(daemon: Daemon, tmp_path: Path) -> Iterator[Drawers]:
    """Clients of every kind under way; what they drew is checked at the end."""
    with Drawers(daemon.directory, tmp_path) as drawing:
        yield drawing
    drawing.check()


def children(pid: int) -> list[int]:
    """The processes below this one, its children's too."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [below for one in map(int, listed) for below in (one, *children(one))]


def is_gone(pidfd: int) -> bool:
    """Whether the process has ended: pidfd_open(2)."""
    return bool(select.select([pidfd], [], [], 0)[0])


def test_any_child_may_be_killed(daemon: Daemon, drawers: Drawers) -> None:
    """kill -9 of each in turn: replaced, and every client goes on."""
    before = children(daemon.pid)
    # With the template and the TPM's collector.
    assert len(before) >= len(daemon.worker_pids()) + 2 == 4
    for pid in before:
        with contextlib.suppress(ProcessLookupError):  # it ended with one before it
            os.kill(pid, signal.SIGKILL)
        drawers.wait_for_more()
        daemon.wait_for(lambda: len(daemon.worker_pids()) == 2, "with two workers")
    daemon.wait_for(lambda: len(children(daemon.pid)) >= len(before), "with all its children")
    assert not set(before) & set(children(daemon.pid))
    drawers.wait_for_more()
    daemon.check()


def test_any_child_may_freeze(daemon: Daemon, drawers: Drawers) -> None:
    """SIGSTOP of each in turn: every client goes on; a worker is replaced."""
    for pid in children(daemon.pid):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            worker = pid in daemon.worker_pids()
            os.kill(pid, signal.SIGSTOP)
            drawers.wait_for_more()
            if worker:
                daemon.wait_for(partial(is_gone, pidfd), "rid of a frozen worker", PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        finally:
            os.close(pidfd)
    daemon.wait_for(lambda: len(daemon.worker_pids()) == 2, "with two workers")
    drawers.wait_for_more()
    daemon.check()


def test_the_supervisor_may_freeze(daemon: Daemon, drawers: Drawers) -> None:
    """SIGSTOP: whoever has a connection or a lease goes on, and all do once it runs again."""
    daemon.signal(signal.SIGSTOP)
    try:
        drawers.wait_for_more()
    finally:
        daemon.signal(signal.SIGCONT)
    drawers.wait_for_more(1000)
    daemon.check()


def test_the_supervisor_may_be_killed(daemon: Daemon, drawers: Drawers) -> None:
    """kill -9, three times: its children end with it, and the next one serves everybody."""
    for _ in range(3):
        below = [os.pidfd_open(pid) for pid in children(daemon.pid)]
        daemon.process.kill()
        daemon.wait()
        for pidfd in below:
            assert select.select([pidfd], [], [], 20)[0], "a child goes on alone"
            os.close(pidfd)
        daemon.start()
        daemon.wait_until_settled()
        drawers.wait_for_more()
    daemon.check()
