"""TPM2_GetRandom and TPM2_FlushContext without sessions, as bytes.

Pure.  Written out because libtss2 (3.2.1) does not compare an answer's own
length with the number of bytes it received: of an answer that was cut short it
returns what its buffer held before, which may be the former answer's random
bytes.  In an encrypted session the HMAC catches that; here `random_bytes` does.

What this does not protect against: an answer that was changed and has the right
length.
"""

from typing import Final

from hwentropy_sources.contract import SourceError

from .errors import TpmError

# TPM 2.0 Library, Part 2, 6.9 (tags) and 6.5.2 (command codes); Part 1, 18 (headers).
_NO_SESSIONS: Final = 0x8001
_FLUSH_CONTEXT: Final = 0x165
_GET_RANDOM: Final = 0x17B
#: tag (2), size (4), command or response code (4).
_HEADER_BYTES: Final = 10


def get_random_command(count: int) -> bytes:
    """TPM2_GetRandom (Part 3, 16.1) for `count` bytes."""
    return _command(_GET_RANDOM, count.to_bytes(2, "big"))


def flush_context_command(handle: int) -> bytes:
    """TPM2_FlushContext (Part 3, 28.4)."""
    return _command(_FLUSH_CONTEXT, handle.to_bytes(4, "big"))


def random_bytes(doing: str, response: bytes) -> memoryview:
    """What an answer to GetRandom holds; may be empty.

    Raises TpmError with the TPM's code, and SourceError for what is no answer.
    """
    if len(response) < _HEADER_BYTES:
        raise SourceError(f"{doing}: the answer is cut off after {len(response)} bytes")
    tag = int.from_bytes(response[0:2], "big")
    size = int.from_bytes(response[2:6], "big")
    code = int.from_bytes(response[6:10], "big")
    if size != len(response):
        raise SourceError(
            f"{doing}: the answer is not as long as it says ({len(response)} bytes)"
        )
    if code:
        raise TpmError(doing, code)
    said = response[_HEADER_BYTES : _HEADER_BYTES + 2]
    digest = memoryview(response)[_HEADER_BYTES + 2 :]
    if tag != _NO_SESSIONS or len(said) != 2 or int.from_bytes(said, "big") != len(digest):
        raise SourceError(f"{doing}: the answer is malformed")
    return digest


def _command(code: int, parameters: bytes) -> bytes:
    size = _HEADER_BYTES + len(parameters)
    return (
        _NO_SESSIONS.to_bytes(2, "big")
        + size.to_bytes(4, "big")
        + code.to_bytes(4, "big")
        + parameters
    )
