"""The wire to a software TPM, on which an answer can be cut off in the middle.

    with Wire(tpm) as wire:
        Tpm2Config(tcti=wire.tcti); wire.cut()

Standard library only.  One connection at a time, as swtpm has it.
"""

import shutil
import socket
import tempfile
import threading
from pathlib import Path

from support.started import Started
from support.swtpm import SoftwareTpm


class Wire(Started):
    """Passes on what goes to and fro."""

    def __init__(self, tpm: SoftwareTpm) -> None:
        self._tpm = tpm
        self._directory = Path(tempfile.mkdtemp(prefix="wire-", dir="/tmp"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._cut = threading.Event()

    @property
    def tcti(self) -> str:
        """libtss2's name of the way to the TPM over this wire."""
        return f"swtpm:path={self._directory / 'sock'}"

    def cut(self) -> None:
        """Of the next answer half is passed on, and then nothing until the other end is new."""
        self._cut.set()

    def enter(self) -> None:
        """Listen."""
        path = self._directory / "sock"
        self._listening.bind(str(path))
        self._listening.listen()
        path.with_name("sock.ctrl").symlink_to(f"{self._tpm.socket}.ctrl")
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening; what is connected goes on until an end of it closes."""
        self._listening.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as tpm:
                tpm.connect(str(self._tpm.socket))
                back = threading.Thread(target=self._answers, args=(tpm, client), daemon=True)
                back.start()
                while command := client.recv(4096):
                    tpm.sendall(command)
                tpm.shutdown(socket.SHUT_RDWR)
                back.join()

    def _answers(self, tpm: socket.socket, client: socket.socket) -> None:
        silent = False
        while answer := tpm.recv(4096):
            if self._cut.is_set() and not silent:
                self._cut.clear()
                silent = True
                client.sendall(answer[: len(answer) // 2])
            elif not silent:
                client.sendall(answer)
