"""Of 100,000 forked children no two share a byte string.

About three minutes on two processors, most of it fork(2) itself.
"""

import subprocess
import sys

import pytest

from support import forked_children
from support.daemon import ONLY_OS, Daemon
from support.script import environment

pytestmark = pytest.mark.system

CHILDREN = 100_000

#: Ten times what it takes on an idle machine of two processors.
PATIENCE = 1800.0


def test_no_two_of_a_hundred_thousand_children_share_a_byte_string() -> None:
    """Each draws 16 bytes from a lease of its own; the parent goes on drawing meanwhile."""
    with Daemon(ONLY_OS) as daemon:
        done = subprocess.run(
            [sys.executable, forked_children.__file__, str(daemon.entropy), str(CHILDREN)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        count, different = map(int, done.stdout.split())
        assert count == different
        assert count > CHILDREN
        daemon.check()
