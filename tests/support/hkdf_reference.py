"""HKDF a second time: RFC 5869 on `hmac`, for any hash, for comparison only."""

import hmac


def hkdf(digest: str, salt: bytes, ikm: bytes, info: bytes, size: int) -> bytes:
    """`size` bytes of output keying material, RFC 5869 2.2 (extract) and 2.3 (expand)."""
    prk = hmac.digest(salt, ikm, digest)
    okm = last = b""
    counter = 1
    while len(okm) < size:
        last = hmac.digest(prk, last + info + bytes([counter]), digest)
        okm += last
        counter += 1
    return okm[:size]
