"""Clients of every kind that draw without end, each in a process of its own.

    with Drawers(daemon.directory, tmp_path) as drawers:
        drawers.wait_for_more(daemon)         each has drawn again
    drawers.check()                           nothing wrong, zero or twice among all of it

A client that is told that the daemon is gone tries again, as a program would; any
other error ends it, and the check fails.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from support.compiled import PROGRAMS, Compiler
from support.node import NODE, PACKAGE
from support.script import environment
from support.started import Started

#: Bytes of one draw, and of the pieces that are compared.
DRAW: Final = 32
PIECE: Final = 16

#: Seconds for every client to draw again; a worker that is frozen holds its own for
#: up to twenty, and a loaded machine all of them.
PATIENCE: Final = 60.0

# A millisecond between draws: enough to be in the middle of one often, and little to keep.
_DIRECT: Final = """
import logging, os, time
logging.disable()
from hwentropy import Client, DaemonUnavailable
client = Client()
while True:
    try:
        os.write(1, client.read(32))
    except DaemonUnavailable:
        pass
    time.sleep(0.001)
"""
_LEASE: Final = """
import logging, os, time
logging.disable()
from hwentropy import DaemonUnavailable, secrets
while True:
    try:
        os.write(1, secrets.token_bytes(32))
    except DaemonUnavailable:
        pass
    time.sleep(0.001)
"""
_STREAM: Final = """
import os, socket, time
path = os.environ["HWENTROPY_RUNTIME_DIR"] + "/stream.sock"
while True:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            while len(data := sock.recv(32, socket.MSG_WAITALL)) == 32:
                os.write(1, data)
                time.sleep(0.001)
    except (FileNotFoundError, ConnectionError):
        time.sleep(0.001)
"""
_NODE: Final = f"""
const h = require({str(PACKAGE)!r});
const fs = require('node:fs');
const pause = new Int32Array(new SharedArrayBuffer(4));
for (;;) {{
  try {{
    fs.writeSync(1, h.randomBytes(32));
  }} catch (error) {{
    if (error.name !== 'DaemonUnavailable') throw error;
  }}
  Atomics.wait(pause, 0, 0, 1);
}}
"""


class Drawers(Started):
    """One client of each kind, of the daemon that serves in `runtime`."""

    def __init__(self, runtime: Path, directory: Path) -> None:
        """`directory` is where what they drew is kept."""
        program = str(Compiler(directory / "compiled")(PROGRAMS / "draw_on.c"))
        self._commands = {
            "direct": [sys.executable, "-c", _DIRECT],
            "lease": [sys.executable, "-c", _LEASE],
            "stream": [sys.executable, "-c", _STREAM],
            "node": [NODE, "-e", _NODE],
            "c": [program],
        }
        # That bytes are served while degraded is no fault, and nothing to be said here.
        self._environment = environment(runtime, NODE_NO_WARNINGS="1")
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def enter(self) -> None:
        """Start them, and wait for the first draw of each."""
        for name, command in self._commands.items():
            with self._drawn(name).open("wb") as out, self._said(name).open("wb") as errors:
                self._running[name] = subprocess.Popen(
                    command, stdout=out, stderr=errors, env=self._environment
                )
        self.wait_for_more()

    def wait_for_more(self, draws: int = 20) -> None:
        """Wait until each has drawn so often again."""
        wanted = {name: self._size(name) + draws * DRAW for name in self._running}
        deadline = time.monotonic() + PATIENCE
        while behind := [name for name in wanted if self._size(name) < wanted[name]]:
            for name, process in self._running.items():
                assert process.poll() is None, f"{name}: {self._said(name).read_text()}"
            assert time.monotonic() < deadline, f"no draw by {behind} in {PATIENCE:.0f} s"
            time.sleep(0.01)

    def close(self) -> None:
        """End them."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def check(self) -> None:
        """What they drew: whole, not zero, and no piece twice, whoever drew it."""
        pieces: set[bytes] = set()
        count = 0
        for name in self._running:
            data = self._drawn(name).read_bytes()
            said = self._said(name).read_text()
            assert not said, f"{name}: {said}"
            # The last write of a client that was killed is whole or not there.
            assert len(data) % DRAW == 0
            count += len(data) // PIECE
            pieces.update(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        assert len(pieces) == count
        assert bytes(PIECE) not in pieces

    def _size(self, name: str) -> int:
        return self._drawn(name).stat().st_size

    def _drawn(self, name: str) -> Path:
        return self._directory / f"{name}.drawn"

    def _said(self, name: str) -> Path:
        return self._directory / f"{name}.said"
