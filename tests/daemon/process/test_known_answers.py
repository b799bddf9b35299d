"""Known-answer tests in the daemon's processes: one that fails gives no byte."""

import os
from pathlib import Path

import pytest

from support.daemon import ONLY_OS, Daemon
from support.raw_client import CallError

pytestmark = pytest.mark.process

#: Python imports it at its start: HKDF is wrong by a bit while a file is there.  A worker
#: cannot look for one (os.path.exists answers no), so it computes rightly.
SABOTAGE = """
import os

import hwentropy_core.hkdf as hkdf

right = hkdf.hkdf_into

def wrong(out, salt, ikm, info):
    right(out, salt, ikm, info)
    if os.path.exists({switch!r}):
        out[0] ^= 1

hkdf.hkdf_into = wrong
"""


def sabotaged(tmp_path: Path) -> tuple[Daemon, Path]:
    """A daemon that computes wrongly while a file is there."""
    switch = tmp_path / "wrong"
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE.format(switch=str(switch)))
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    return Daemon(ONLY_OS, environment={"PYTHONPATH": path}, wait=False), switch


def test_a_daemon_that_computes_wrongly_does_not_start(tmp_path: Path) -> None:
    """One sentence, exit code 1, no socket."""
    daemon, switch = sabotaged(tmp_path)
    switch.touch()
    with daemon:
        assert daemon.wait() == 1
        assert "the known-answer test of HKDF-SHA-512 failed" in daemon.log
        assert not daemon.entropy.exists()


def test_every_process_tests_itself_when_asked() -> None:
    """The supervisor and each worker."""
    with Daemon(ONLY_OS) as daemon:
        daemon.wait_for(
            lambda: all(worker["serving"] for worker in daemon.status()["workers"]), "serving"
        )
        answer = daemon.call("Check")
        processes = {daemon.pid, *daemon.worker_pids()}
    assert set(answer["passed"]) == processes
    assert "the repetition count test" in answer["tests"]


def test_a_daemon_that_begins_to_compute_wrongly_ends_when_asked(tmp_path: Path) -> None:
    """The caller is told, and nothing is served any more."""
    daemon, switch = sabotaged(tmp_path)
    with daemon:
        daemon.wait_until_settled()
        switch.touch()
        with pytest.raises(CallError, match="KnownAnswerFailed"):
            daemon.call("Check")
        assert daemon.wait() != 0
        assert "HKDF-SHA-512" in daemon.log
