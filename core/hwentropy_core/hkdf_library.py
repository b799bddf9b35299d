"""HKDF-SHA-512 by `cryptography`: where the C extension was not built.

What this does not do: erase.  The salt has to be a `bytes` object, which is freed as it
is, and so are the hash's state and the pseudo-random key between HKDF's two steps.
"""

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .memory import Buffer


def hkdf_into(out: bytearray | memoryview, salt: Buffer, ikm: Buffer, info: bytes) -> None:
    """Fill `out`, at most 16,320 bytes; raises ValueError for more."""
    HKDF(SHA512(), len(out), bytes(salt), info).derive_into(ikm, out)
