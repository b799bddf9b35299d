"""Python, Node.js and C++ draw from one daemon at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import compiled
from support.compiled import PROGRAMS, Compiler
from support.daemon import Daemon, only
from support.needed import needs
from support.node import NODE, PACKAGE, PATIENCE, needs_node

pytestmark = pytest.mark.process

#: Bytes by process: 16,384 words of 16 bytes, of which two alike among 12 processes
#: have a chance of (12 * 16384)^2 / 2^129, below 2^-90.
SIZE = 256 * 1024
WORD = 16
PROCESSES_EACH = 4


@needs_node
@needs(compiled.MISSING)
def test_three_languages_draw_from_one_daemon(tmp_path: Path) -> None:
    """Four processes of each at once get what they asked for, and no 16 bytes twice."""
    python = f"from hwentropy import secrets; print(secrets.token_hex({SIZE}))"
    node = f"console.log(require({str(PACKAGE)!r}).randomBytes({SIZE}).toString('hex'))"
    program = str(Compiler(tmp_path / "compiled")(PROGRAMS / "hexdraw.cpp"))
    commands = [
        [sys.executable, "-c", python],
        [NODE, "-e", node],
        [program, str(SIZE)],
    ] * PROCESSES_EACH
    with Daemon(only("os", "cpu", "rdseed")) as daemon:
        environment = os.environ | {"HWENTROPY_RUNTIME_DIR": str(daemon.directory)}
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
            for command in commands
        ]
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in running]
        assert [process.returncode for process in running] == [0] * len(running)
        assert daemon.status()["state"] == "ok"
    words: list[bytes] = []
    for output in outputs:
        data = bytes.fromhex(output.decode())
        assert len(data) == SIZE
        words += (data[at : at + WORD] for at in range(0, SIZE, WORD))
    assert len(set(words)) == len(words)
