"""What the pool makes of samples, computed without its code (RFC 5869, docs/drbg.md)."""

import hashlib
import hmac


def condensed(samples: bytes) -> bytes:
    """HKDF-SHA-512 of the samples: no salt but zeros, 64 bytes, which is one block."""
    extracted = hmac.digest(bytes(64), samples, hashlib.sha512)
    return hmac.digest(extracted, b"hwentropy/1 pool\x01", hashlib.sha512)
