"""Varlink framing: JSON objects, each ended by a NUL byte (varlink.org/Method-Call).

Pure: bytes in, messages out.  The peer's bytes raise `ProtocolError` and
nothing else; a message over the limit does so before it is complete.  What JSON
(RFC 8259) leaves open is refused: a name twice in one object, since two readers
may take different ones, numbers that are not finite, and half of a surrogate pair,
which is no character and cannot be written as UTF-8.

What this does not protect against: messages that are well-formed and senseless.
"""

import json
import math
from typing import Any, TypeAlias

from .errors import ProtocolError
from .limits import MAX_CONTROL_MESSAGE

#: The name of the control interface, see hwentropyd's interface file.
INTERFACE = "org.hwentropy.Control"

Message: TypeAlias = dict[str, Any]


def encode(message: Message) -> bytes:
    """One message as it goes on the wire; raises ValueError on a number JSON lacks.

    What UTF-8 cannot hold (a byte of a file's name that is no character, which Python
    keeps as half a surrogate pair) becomes a question mark.
    """
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode(errors="replace") + b"\0"


class MessageReader:
    """Cuts a byte stream into messages, at a cost linear in its length."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_CONTROL_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes from the peer and return the messages they complete.

        Raises ProtocolError; messages that the same bytes completed before the
        fault are lost with the connection.
        """
        messages: list[Message] = []
        *ends, rest = data.split(b"\0")
        for end in ends:
            self._hold(end)
            messages.append(_decode(self._buffer))
            self._buffer.clear()
        self._hold(rest)
        return messages

    def _hold(self, piece: bytes) -> None:
        if len(self._buffer) + len(piece) > self._limit:
            msg = f"control message of more than {self._limit} bytes"
            raise ProtocolError(msg)
        self._buffer += piece


def _object(pairs: list[tuple[str, Any]]) -> Message:
    members = dict(pairs)
    if len(members) < len(pairs):
        msg = "a name twice in one object"
        raise ValueError(msg)
    return members


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        msg = "a number that is not finite"
        raise ValueError(msg)
    return value


def _decode(raw: bytearray) -> Message:
    try:
        # Decoded here: given bytes, `json` would guess at UTF-16 and UTF-32 too.
        message = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite
        )
        if b"\\u" in raw:
            # Half a pair comes as an escape only; written out it is a UnicodeEncodeError.
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # `from None`: the cause would quote the peer's bytes.
        msg = "control message is not JSON"
        raise ProtocolError(msg) from None
    if not isinstance(message, dict):
        msg = "control message is not a JSON object"
        raise ProtocolError(msg)
    return message
