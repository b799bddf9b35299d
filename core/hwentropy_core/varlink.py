"""Varlink framing: JSON objects, each ended by a NUL byte (varlink.org/Method-Call).

Pure: bytes in, messages out.  The peer's bytes raise `ProtocolError` and
nothing else; a message over the limit does so before it is complete.
"""

import json
from typing import Any, TypeAlias

from .errors import ProtocolError
from .limits import MAX_CONTROL_MESSAGE

#: The name of the control interface, see hwentropyd's interface file.
INTERFACE = "org.hwentropy.Control"

Message: TypeAlias = dict[str, Any]


def encode(message: Message) -> bytes:
    """One message as it goes on the wire."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\0"


class MessageReader:
    """Cuts a byte stream into messages."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_CONTROL_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes from the peer and return the messages they complete."""
        self._buffer += data
        *complete, rest = self._buffer.split(b"\0")
        self._buffer = rest
        if len(rest) > self._limit or any(len(raw) > self._limit for raw in complete):
            msg = f"control message of more than {self._limit} bytes"
            raise ProtocolError(msg)
        return [_decode(bytes(raw)) for raw in complete]


def _decode(raw: bytes) -> Message:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        # `from None`: the cause would quote the peer's bytes.
        msg = "control message is not JSON"
        raise ProtocolError(msg) from None
    if not isinstance(message, dict):
        msg = "control message is not a JSON object"
        raise ProtocolError(msg)
    return message
