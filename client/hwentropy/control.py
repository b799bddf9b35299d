"""The control interface, org.hwentropy.Control, for a blocking caller.

Varlink over `control.sock`: one JSON object and a NUL each way.  The daemon
describes the interface in full (`varlink info`); the replies come as the types of
`hwentropy_core.status`, and as they are for who wants to pass them on.

What this does not do: `more`, `oneway` and `upgrade` calls, which the interface
does not have.  The peer's text may hold anything: print it with care.
"""

import os
import socket
import struct
import time
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from hwentropy_core.errors import ProtocolError
from hwentropy_core.status import (
    Checked,
    Reseeded,
    SeedLogStatus,
    SelfTest,
    ServiceStatus,
    SourceStatus,
    UserStatus,
    WorkerStatus,
)
from hwentropy_core.varlink import INTERFACE, Message, MessageReader, encode

from .endpoint import control_path, expired, lost, unreachable
from .errors import ControlError

__all__ = [
    "Checked",
    "Control",
    "Reseeded",
    "SeedLogStatus",
    "SelfTest",
    "ServiceStatus",
    "SourceStatus",
    "UserStatus",
    "WorkerStatus",
]

_RECEIVE: Final = 64 * 1024


T = TypeVar("T")


def convert(value: object, kind: type[T]) -> T:
    """A reply as one of the types above; raises ProtocolError when it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        # Its message names the key and the type, never the value.
        raise ProtocolError(
            f"the daemon sent a control reply that does not fit: {error}"
        ) from None


class Control:
    """A connection to the control socket; connects at once.

    `timeout` is in seconds for each call; None waits for ever.  Raises
    DaemonUnavailable, NotPermitted, Timeout, ProtocolError, and ControlError
    for the interface's own errors.  After any but the last, make a new one.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout: float | None = None
    ) -> None:
        self._path = control_path(path)
        self._timeout = timeout
        self._reader = MessageReader()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if timeout is not None:
                # See blocking/connection.py: a full queue must be waited for.
                interval = struct.pack("ll", *divmod(max(1, round(timeout * 1e6)), 1_000_000))
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
            self._sock.connect(self._path)
        except BlockingIOError:
            self._sock.close()
            raise expired(self._path, timeout or 0) from None
        except OSError as error:
            self._sock.close()
            raise unreachable(self._path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def status(self) -> ServiceStatus:
        """The state of the service."""
        return convert(self.raw_status(), ServiceStatus)

    def sources(self) -> list[SourceStatus]:
        """Every source that the configuration enables."""
        return convert(self.raw_sources(), list[SourceStatus])

    def reseed(self) -> Reseeded:
        """Reseed now; returns the new generation, and whether live sources made it.

        Raises ControlError `NotEnoughEntropy` when the sources do not give a
        seed of full strength.
        """
        return convert(self.call("Reseed"), Reseeded)

    def test_source(self, name: str) -> SelfTest:
        """Run a source's on-demand health test.

        Raises ControlError `UnknownSource` or `SourceNotReady`.
        """
        return convert(self.call("TestSource", name=name), SelfTest)

    def check(self) -> Checked:
        """Have the daemon's processes run their known-answer tests.

        Raises ControlError `KnownAnswerFailed`; the daemon ends then.
        """
        return convert(self.call("Check"), Checked)

    def raw_status(self) -> Message:
        """`status` as the daemon sent it, with keys this version does not know."""
        return convert(self.call("Status").get("status"), dict[str, Any])

    def raw_sources(self) -> list[Message]:
        """`sources` as the daemon sent it, with keys this version does not know."""
        return convert(self.call("Sources").get("sources"), list[dict[str, Any]])

    def call(self, method: str, /, **parameters: object) -> Message:
        """Call a method of org.hwentropy.Control; returns its reply's parameters."""
        request = {"method": f"{INTERFACE}.{method}", "parameters": parameters}
        reply = self._exchange(encode(request))
        result = reply.get("parameters", {})
        if not isinstance(result, dict):
            raise ProtocolError(f"the daemon at {self._path} sent parameters of a wrong type")
        error = reply.get("error")
        if error is None:
            return result
        if not isinstance(error, str):
            raise ProtocolError(f"the daemon at {self._path} sent an error without a name")
        raise ControlError(error, result)

    def _exchange(self, request: bytes) -> Message:
        """Send a message, receive one."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        try:
            self._arm(deadline)
            self._send(request)
            while True:
                self._arm(deadline)
                if messages := self._reader.feed(self._receive()):
                    break
        except TimeoutError:
            self.close()
            raise expired(self._path, self._timeout or 0) from None
        except OSError:
            self.close()
            raise lost(self._path) from None
        except BaseException:
            self.close()
            raise
        if len(messages) > 1:
            self.close()
            raise ProtocolError(f"the daemon at {self._path} sent two replies to one call")
        return messages[0]

    def _send(self, data: bytes) -> None:
        while data:
            data = data[self._sock.send(data, socket.MSG_NOSIGNAL) :]

    def _receive(self) -> bytes:
        data = self._sock.recv(_RECEIVE)
        if not data:
            raise lost(self._path)
        return data

    def _arm(self, deadline: float | None) -> None:
        if deadline is not None:
            self._sock.settimeout(max(deadline - time.monotonic(), 1e-6))
