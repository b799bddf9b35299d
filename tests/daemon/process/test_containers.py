"""The service as docs/platforms.md has it used from containers."""

import shutil
import subprocess
import sys

import pytest

from hwentropy_core.paths import ENVIRONMENT_VARIABLE
from support.daemon import Daemon

#: A user of its own, a process tree and a view of the file system of its own.
CONTAINER = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]

#: Binds $1, read-only, at $2, and runs the rest.
BOUND = 'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && shift 2 && exec "$@"'

DRAW = """
import hwentropy
from hwentropy import secrets

tokens = {secrets.token_bytes(16) for _ in range(1000)}
with hwentropy.Client() as client:
    print(len(tokens), len(client.read(32)), client.info().state)
"""


def missing() -> str:
    """Why no container can be made here."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    done = subprocess.run([*CONTAINER, "true"], capture_output=True, check=False, timeout=30)
    return "" if done.returncode == 0 else "this user may make no user namespace"


pytestmark = [pytest.mark.process, pytest.mark.skipif(bool(missing()), reason=missing())]


def test_a_bound_directory_serves_a_container() -> None:
    """Read-only, at another path: reads, and a thousand draws on one lease."""
    with Daemon() as daemon:
        here = daemon.directory / "container"
        here.mkdir()
        bound = ["sh", "-c", BOUND, "sh", str(daemon.entropy.parent), str(here)]
        before = sum(one["requests"] for one in daemon.status()["workers"])
        done = subprocess.run(
            [*CONTAINER, *bound, sys.executable, "-c", DRAW],
            env={ENVIRONMENT_VARIABLE: str(here)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("1000 32 ok\n", "")
        after = sum(one["requests"] for one in daemon.status()["workers"])
    assert after - before < 10
