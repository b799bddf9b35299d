"""The names of Python's `secrets`, on this machine's own entropy.

    from hwentropy import secrets

Same signatures, defaults and errors as the standard library's module (PEP 506):
token_bytes token_hex token_urlsafe randbelow randbits choice compare_digest
SystemRandom DEFAULT_ENTROPY.  Beside them what people look for in `secrets` and
do not find: token_bits token_uuid4 token_uuid7 nonce Nonces fill.

Every byte comes from `hwentropy.generator`, which tells how the daemon's entropy
gets here and raises (hwentropy.errors) where it does not; nothing in this module
falls back on anything.  Each function asks `take` first, which answers from
memory, and `random_bytes` when that gives None: written out every time, because
one Python call more is what a token may cost at all.

What this does not protect against: `bytes` and `str` cannot be overwritten, so
a token stays in memory until CPython reuses it.
"""

from binascii import b2a_base64
from typing import TYPE_CHECKING

from hwentropy.generator import fill, random_bytes, take
from hwentropy.integers import choice, randbelow, randbits

if TYPE_CHECKING:
    from hmac import compare_digest

    from hwentropy.identifiers import token_uuid4, token_uuid7
    from hwentropy.nonces import Nonces, NoncesExhausted, nonce
    from hwentropy.system_random import SystemRandom

__all__ = [
    "DEFAULT_ENTROPY",
    "Nonces",
    "NoncesExhausted",
    "SystemRandom",
    "choice",
    "compare_digest",
    "fill",
    "nonce",
    "randbelow",
    "randbits",
    "token_bits",
    "token_bytes",
    "token_hex",
    "token_urlsafe",
    "token_uuid4",
    "token_uuid7",
]

#: Bytes of a token when nobody says how many: 256 bits, as in the standard library.
DEFAULT_ENTROPY = 32

#: RFC 4648 section 5: the two characters that are not safe in a URL or file name.
_URLSAFE = bytes.maketrans(b"+/", b"-_")

_ELSEWHERE = {
    "Nonces": "hwentropy.nonces",
    "NoncesExhausted": "hwentropy.nonces",
    "SystemRandom": "hwentropy.system_random",
    # The very function of the standard library; hmac loads OpenSSL, 3 ms.
    "compare_digest": "hmac",
    "nonce": "hwentropy.nonces",
    "token_uuid4": "hwentropy.identifiers",
    "token_uuid7": "hwentropy.identifiers",
}


def token_bytes(nbytes: int | None = None) -> bytes:
    """`nbytes` random bytes (default: DEFAULT_ENTROPY); ValueError for a negative number."""
    if nbytes is None:
        nbytes = DEFAULT_ENTROPY
    out = take(nbytes)
    return random_bytes(nbytes) if out is None else out


def token_hex(nbytes: int | None = None) -> str:
    """`nbytes` random bytes as text, two hexadecimal digits each."""
    if nbytes is None:
        nbytes = DEFAULT_ENTROPY
    out = take(nbytes)
    if out is None:
        out = random_bytes(nbytes)
    return out.hex()


def token_urlsafe(nbytes: int | None = None) -> str:
    """`nbytes` random bytes as text for URLs: Base64 (RFC 4648 section 5) without padding."""
    if nbytes is None:
        nbytes = DEFAULT_ENTROPY
    out = take(nbytes)
    if out is None:
        out = random_bytes(nbytes)
    encoded = b2a_base64(out, newline=False).translate(_URLSAFE)
    return encoded.rstrip(b"=").decode("ascii")


def token_bits(k: int) -> int:
    """An integer of `k` random bits: `randbits` by the name that goes with the others."""
    return randbits(k)


def __getattr__(name: str) -> object:
    """Load what needs a module of its own when it is first used (PEP 562)."""
    from importlib import import_module  # noqa: PLC0415 - with the rest of what is lazy

    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ELSEWHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *__all__})
