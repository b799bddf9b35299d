"""A real software TPM 2.0 for tests: swtpm as a child process.

    with SoftwareTpm(directory) as tpm:
        Tpm2(Tpm2Config(tcti=tpm.tcti)).open()
        tpm.stop(); tpm.cont(); tpm.kill(); tpm.restart()

Standard library only.  The TPM's state lives in `directory`; the sockets live
in a short directory of their own, because the path of a Unix socket has 108
bytes and pytest's temporary directories are long.  swtpm is no daemon here, so
that it is our child and ends with the `with` block.  What this does not cover:
when the test process is killed, swtpm lives on.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from support.started import Started

#: Seconds for swtpm to come up or go away; it takes 0.02 s on an idle machine.
PATIENCE = 10.0


def missing_swtpm() -> str:
    """Why a software TPM cannot be started here; empty when it can."""
    if shutil.which("swtpm") is None:
        return "swtpm is not installed (apt-get install swtpm)"
    return ""


class SoftwareTpm(Started):
    """One swtpm; started by `with` or `start`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._sockets = Path(tempfile.mkdtemp(prefix="swtpm-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Its data socket; the control socket is the same with `.ctrl` at the end."""
        return self._sockets / "sock"

    @property
    def tcti(self) -> str:
        """libtss2's name of the way to it."""
        return f"swtpm:path={self.socket}"

    @property
    def pid(self) -> int:
        """Its process.  Raises RuntimeError when it is not running."""
        return self._running().pid

    def start(self) -> None:
        """Start it and wait until it listens; its state is what it was."""
        if self._process is not None:
            raise RuntimeError("swtpm is running already")
        self.directory.mkdir(parents=True, exist_ok=True)
        control = Path(f"{self.socket}.ctrl")
        for left_by_a_kill in (self.socket, control):
            left_by_a_kill.unlink(missing_ok=True)
        log = self.directory / "swtpm.log"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.directory}"]
        command += ["--server", f"type=unixio,path={self.socket}"]
        command += ["--ctrl", f"type=unixio,path={control}"]
        command += ["--flags", "not-need-init,startup-clear"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE
        while not (_listens(self.socket) and _listens(control)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"swtpm did not start: {log.read_text(errors='replace')}")
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill it at once, as a crash would; its sockets stay, and refuse."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)

    def restart(self) -> None:
        """Start it again, killing it first if it runs: to the host a TPM reset."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Freeze it (SIGSTOP): connections and commands queue up, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self.pid}/stat")
        deadline = time.monotonic() + PATIENCE
        # The state follows the name, which is in parentheses.
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            if time.monotonic() > deadline:
                raise RuntimeError("swtpm did not stop")
            time.sleep(0.001)

    def cont(self) -> None:
        """Let it go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its sockets."""
        self.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def enter(self) -> None:
        """`start`."""
        self.start()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("swtpm is not running")
        return self._process


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
