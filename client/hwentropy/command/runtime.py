"""Which daemon the command talks to."""

from dataclasses import dataclass
from pathlib import Path

from hwentropy.blocking.client import Client
from hwentropy.control import Control
from hwentropy_core.paths import CONTROL_SOCKET, ENTROPY_SOCKET


@dataclass(frozen=True, slots=True)
class Runtime:
    """The directory with the sockets; None is where every client looks."""

    directory: Path | None = None

    def client(self, timeout: float | None) -> Client:
        """A client of the native socket."""
        path = None if self.directory is None else self.directory / ENTROPY_SOCKET
        return Client(path, timeout=timeout)

    def control(self) -> Control:
        """A connection to the control socket."""
        return Control(None if self.directory is None else self.directory / CONTROL_SOCKET)
