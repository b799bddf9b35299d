"""Settings that hold for the whole suite, whatever environment it is started from."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import needed

# No time limit on an example: on a loaded machine it fails tests that are right.
# What a claim says about cost is measured where it is claimed.
settings.register_profile("hwentropy", deadline=None)
# In CI the same examples in every run: a change is judged by what it changed.
settings.register_profile("hwentropy-ci", deadline=None, derandomize=True)
settings.load_profile("hwentropy-ci" if needed.IN_CI else "hwentropy")

# A shell that starts pytest in the background has it ignore SIGINT, and so would
# every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the daemon, the clients and the commands read: of the test's choice, not the caller's.
for variable in (
    *("HWENTROPY_RUNTIME_DIR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "JOURNAL_STREAM", "TSS2_LOG"),
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("NODE_OPTIONS", "PYTHONPATH", "PYTHONWARNINGS", "PYTHONOPTIMIZE"),
):
    os.environ.pop(variable, None)


# Where Python's and Node's own libraries put their Unix sockets; see `tmp_path`.
os.environ["TMPDIR"] = "/tmp"  # noqa: S108 - what is made in it has names of its own
tempfile.tempdir = None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """An empty directory with a short name, removed at the end.

    In place of pytest's own, which is too long for a Unix socket's path (108 bytes)
    where TMPDIR or the test's name is long.
    """
    directory = Path(tempfile.mkdtemp(prefix="hwe-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here; in CI, fail it."""
    for mark in item.iter_markers("needs"):
        needed.check(*mark.args)
