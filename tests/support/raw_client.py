"""A client of the native protocol that may do everything wrong: plain sockets and bytes.

    with connect(path) as sock:
        send_request(sock, READ, 0, 7, 32)
        reply = read_reply(sock)
    call(control, "org.hwentropy.Control.Status")

Written from docs/protocol.md with `struct` and `json` alone, so that a daemon
and a client that share a mistake do not agree in a test.
"""

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READ, INFO, LEASE = 1, 2, 3
DONT_BLOCK, PREDICTION_RESISTANCE = 1, 2
OK, NOT_SEEDED, TOO_LONG = 0, 1, 2
NOT_PERMITTED, OVER_QUOTA = 3, 4
FAILED_CLOSED, BAD_REQUEST = 5, 6
DEGRADED, NOT_LIVE = 1, 4
MAX_READ = 1 << 20

HEADER = struct.Struct(">BBHI")

#: Seconds for any one answer, on a machine that runs seven other test suites.
PATIENCE = 20.0


@dataclass(frozen=True)
class Reply:
    """One reply with its payload."""

    status: int
    flags: int
    tag: int
    payload: bytes = field(repr=False)


class EndOfStreamError(EOFError):
    """The daemon closed the connection."""


class CallError(Exception):
    """A Varlink error reply."""

    def __init__(self, error: str, parameters: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error
        self.parameters = parameters


def connect(path: Path, timeout: float = PATIENCE) -> socket.socket:
    """A connection to a Unix socket; a full backlog is waited for."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # By the socket's own time limit: with Python's, `connect` is non-blocking and
        # fails at once on a full backlog.
        interval = struct.pack("ll", *divmod(round(timeout * 1_000_000), 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        sock.connect(str(path))
        sock.settimeout(timeout)
    except BaseException:
        sock.close()
        raise
    return sock


def request_bytes(op: int, flags: int, tag: int, length: int) -> bytes:
    """The eight bytes of a request, whether they make sense or not."""
    return HEADER.pack(op, flags, tag, length)


def send_request(sock: socket.socket, op: int, flags: int, tag: int, length: int) -> None:
    """Send one request."""
    sock.sendall(request_bytes(op, flags, tag, length))


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly so many bytes; raises EndOfStreamError when there are not as many."""
    out = bytearray(count)
    view = memoryview(out)
    got = 0
    while got < count:
        size = sock.recv_into(view[got:])
        if not size:
            raise EndOfStreamError(f"end of stream after {got} of {count} bytes")
        got += size
    return bytes(out)


def read_reply(sock: socket.socket) -> Reply:
    """The next reply."""
    status, flags, tag, length = HEADER.unpack(receive(sock, HEADER.size))
    return Reply(status, flags, tag, receive(sock, length))


def ask(sock: socket.socket, length: int, flags: int = 0, tag: int = 1) -> Reply:
    """READ and its reply."""
    send_request(sock, READ, flags, tag, length)
    return read_reply(sock)


def info(sock: socket.socket) -> dict[str, Any]:
    """What INFO says."""
    send_request(sock, INFO, 0, 2, 0)
    reply = read_reply(sock)
    assert reply.status == OK
    result = json.loads(reply.payload)
    assert isinstance(result, dict)
    return result


def is_closed(sock: socket.socket) -> bool:
    """Whether the stream ends here; waits for it, and fails on a byte in its place."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def converse(
    sock: socket.socket,
    message: bytes,
    until: Callable[[bytes], bool] = lambda got: b"\0" in got,
) -> bytes:
    """Send bytes to a control socket; what came back until `until` or the end."""
    got = b""
    try:
        sock.sendall(message)
        while not until(got) and (data := sock.recv(1 << 16)):
            got += data
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed before it took all of it
    return got


def call(path: Path, method: str, /, **parameters: Any) -> dict[str, Any]:
    """One Varlink call on a connection of its own; raises CallError."""
    message = {"method": method, "parameters": parameters}
    with connect(path) as sock:
        raw = converse(sock, json.dumps(message).encode() + b"\0")
    reply = json.loads(raw.rstrip(b"\0"))
    if "error" in reply:
        raise CallError(reply["error"], reply.get("parameters", {}))
    result = reply["parameters"]
    assert isinstance(result, dict)
    return result
