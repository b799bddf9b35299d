"""What a TPM signs when it is asked to quote a statement (TPM 2.0 Library, Part 2, 10.12).

    TPMS_ATTEST   magic, type, name of the signer, qualifying data, clock, firmware, quote

Pure: bytes in, values out.  The qualifying data is the SHA-256 of the statement.  The
clock is what makes a quote tell more than a plain signature: it is not set back while the
key is the same, so a log that is gone on with from signatures of before shows when.

What this does not protect against: a TPM that lies; a public key that is not a TPM's; a
clock that its owner sets forward.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from .errors import ProtocolError

#: Part 2, 6.2 (TPM_GENERATED_VALUE) and 6.9 (TPM_ST_ATTEST_QUOTE).
_MAGIC: Final = 0xFF544347
_QUOTE: Final = 0x8018
_HEAD: Final = struct.Struct(">IH")
_SIZE: Final = struct.Struct(">H")
#: TPMS_CLOCK_INFO (Part 2, 10.11.1): clock, resetCount, restartCount, safe.
_CLOCK: Final = struct.Struct(">QIIB")


@dataclass(frozen=True, slots=True)
class Clock:
    """The TPM's own time, which goes back only where the TPM is cleared."""

    milliseconds: int
    """Since the TPM was cleared; stands still while it has no power."""
    resets: int
    """Starts of the machine since then, and a number of the key's own: only
    their difference tells something."""
    restarts: int
    """Suspends since the last reset, the same."""

    def since(self, earlier: "Clock") -> float | None:
        """Seconds from `earlier` on; None where the machine did not run through."""
        if (self.resets, self.restarts) != (earlier.resets, earlier.restarts):
            return None
        return (self.milliseconds - earlier.milliseconds) / 1000

    def goes_on_from(self, earlier: "Clock") -> bool:
        """Whether it can be a later reading."""
        return (self.resets, self.milliseconds) >= (earlier.resets, earlier.milliseconds)


@dataclass(frozen=True, slots=True)
class Attestation:
    """One quote by a TPM; the bytes that were signed are `attested`."""

    key: bytes
    """The signer's public key, an uncompressed point on P-256 (65 bytes)."""
    attested: bytes
    signature: bytes
    """ECDSA with SHA-256: r and s, 32 bytes each."""


def qualifying_data(statement: bytes) -> bytes:
    """What stands for a statement in a quote."""
    return hashlib.sha256(statement).digest()


def read_quote(attested: bytes, statement: bytes) -> Clock:
    """The clock in a quote of this statement.  Raises ProtocolError for anything else."""
    try:
        magic, kind = _HEAD.unpack_from(attested)
        _, at = _sized(attested, _HEAD.size)
        data, at = _sized(attested, at)
        milliseconds, resets, restarts, _ = _CLOCK.unpack_from(attested, at)
    except struct.error:
        raise ProtocolError("a TPM's quote is cut off") from None
    if (magic, kind) != (_MAGIC, _QUOTE):
        raise ProtocolError("what was signed is no quote of a TPM")
    if data != qualifying_data(statement):
        raise ProtocolError("a TPM's quote is of another statement")
    return Clock(milliseconds, resets, restarts)


def _sized(data: bytes, at: int) -> tuple[bytes, int]:
    """A TPM2B: its size in two bytes, and so many bytes; and where it ends."""
    (size,) = _SIZE.unpack_from(data, at)
    start = at + _SIZE.size
    if start + size > len(data):
        raise struct.error
    return data[start : start + size], start + size
