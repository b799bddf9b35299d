"""ChaCha20 a second time: RFC 8439 section 2 in plain Python, for comparison only.

Written from the RFC's text and nothing else.  Slow, and not constant-time.
"""

import struct
from typing import Final

#: "expand 32-byte k", RFC 8439 2.3.
_CONSTANTS: Final = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
#: RFC 8439 2.3: four column rounds, then four diagonal rounds.
_ROUNDS: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def _rotated(word: int, bits: int) -> int:
    word &= 0xFFFFFFFF
    return (word << bits | word >> (32 - bits)) & 0xFFFFFFFF


def block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """64 bytes of keystream for a 32-byte key and a 12-byte nonce (RFC 8439 2.3)."""
    start = (*_CONSTANTS, *struct.unpack("<8L", key), counter, *struct.unpack("<3L", nonce))
    x = list(start)
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            x[a] += x[b]
            x[d] = _rotated(x[d] ^ x[a], 16)
            x[c] += x[d]
            x[b] = _rotated(x[b] ^ x[c], 12)
            x[a] += x[b]
            x[d] = _rotated(x[d] ^ x[a], 8)
            x[c] += x[d]
            x[b] = _rotated(x[b] ^ x[c], 7)
    words = ((word + first) & 0xFFFFFFFF for word, first in zip(x, start, strict=True))
    return struct.pack("<16L", *words)


def keystream(key: bytes, size: int, counter: int = 0, nonce: bytes = bytes(12)) -> bytes:
    """The first `size` bytes of keystream from this block counter on (RFC 8439 2.4)."""
    blocks = -(-size // 64)
    return b"".join(block(key, counter + i, nonce) for i in range(blocks))[:size]
