"""Hashing passwords and checking them; salts.

Hashes are strings in the PHC form, which says how it was made:

    $argon2id$v=19$m=65536,t=3,p=4$<salt>$<hash>      RFC 9106
    $pbkdf2-sha256$i=600000,l=32$<salt>$<hash>        RFC 8018, for those who must

(base64 without padding; `cryptography` computes both.)  Text is normalised to NFKC
and encoded in UTF-8 first (NIST SP 800-63B-4 section 3.1.1.2), so that a password
typed on another keyboard is the same; bytes are taken as they are.

What this does not do: count guesses, or tell a good password from a bad one.
PBKDF2 pads a password with zero bytes (HMAC does), so that one with a NUL at its
end is the same as without.
"""

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from .errors import CheckFailed
from .generator import random_bytes

__all__ = [
    "DEFAULT",
    "OWASP_ARGON2ID",
    "OWASP_PBKDF2",
    "Argon2idCost",
    "Pbkdf2Cost",
    "check_password",
    "generate_salt",
    "hash_password",
    "needs_rehash",
]

#: Bytes: RFC 9106 section 4 (128-bit salt), SP 800-132 section 5.1 (at least 128 bits).
MIN_SALT: Final = 16

#: Bytes: RFC 9106 section 4 (256-bit tag); what SHA-256 gives PBKDF2 in one block.
_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Argon2idCost:
    """What one Argon2id hash costs, whoever computes it."""

    memory_kib: int
    passes: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Pbkdf2Cost:
    """What one PBKDF2-HMAC-SHA-256 hash costs, whoever computes it."""

    iterations: int


#: RFC 9106 section 4, the second recommended option: 64 MiB, 3 passes, 4 lanes.
#: (The first takes 2 GiB for every login.)
DEFAULT: Final = Argon2idCost(memory_kib=64 * 1024, passes=3, lanes=4)

#: OWASP Password Storage Cheat Sheet, the least it recommends: 19 MiB, 2 passes, 1 lane.
OWASP_ARGON2ID: Final = Argon2idCost(memory_kib=19 * 1024, passes=2, lanes=1)

#: The same, for PBKDF2-HMAC-SHA-256.
OWASP_PBKDF2: Final = Pbkdf2Cost(iterations=600_000)

# Stored hashes that cost more than this are refused: a damaged or planted one must not
# take the machine down.  Twice the memory of RFC 9106's first option, and time beyond
# what a login may take (2^26 iterations are a minute).
_MAX_MEMORY_KIB: Final = 4 * 1024 * 1024
_MAX_PASSES: Final = 64
_MAX_LANES: Final = 255
_MAX_ITERATIONS: Final = 2**26

_MALFORMED: Final = (
    "the stored string is not a password hash in the PHC form for argon2id or "
    "pbkdf2-sha256; see where it comes from"
)

_WRONG: Final = "the password is not the right one"

_BASE64: Final = "([A-Za-z0-9+/]{11,128})"
_ARGON2ID: Final = re.compile(
    rf"\$argon2id\$v=19\$m=([0-9]{{1,10}}),t=([0-9]{{1,10}}),p=([0-9]{{1,3}})\${_BASE64}\${_BASE64}"
)
_PBKDF2: Final = re.compile(
    rf"\$pbkdf2-sha256\$i=([0-9]{{1,10}}),l=([0-9]{{1,2}})\${_BASE64}\${_BASE64}"
)


def generate_salt(n: int = MIN_SALT) -> bytes:
    """`n` fresh bytes to hash a password with.

    `hash_password` makes its own.  Raises ValueError below 16 bytes, and what
    `hwentropy.generator.random_bytes` raises.
    """
    if n < MIN_SALT:
        raise ValueError(f"a salt of {n} bytes is too short; ask for {MIN_SALT} or more")
    return random_bytes(n)


def hash_password(password: str | bytes, cost: Argon2idCost | Pbkdf2Cost = DEFAULT) -> str:
    """What to store for a password, with a fresh salt; takes 0.1 s and more by design.

    Raises ValueError for a cost that is out of range, TypeError for a password that
    is neither text nor `bytes` (None would be somebody without one), and what
    `hwentropy.generator.random_bytes` raises.
    """
    _check_cost(cost)
    given = _given(password)
    if given is None:
        raise TypeError(
            f"password is of type {type(password).__name__}; give a string or bytes"
        )
    salt = generate_salt()
    if isinstance(cost, Argon2idCost):
        return _argon2id(cost, salt).derive_phc_encoded(given)
    hashed = _pbkdf2(cost, salt, _LENGTH).derive(given)
    return f"$pbkdf2-sha256$i={cost.iterations},l={_LENGTH}${_encode(salt)}${_encode(hashed)}"


def check_password(
    password: str | bytes | None,
    stored: str | None,
    *,
    cost: Argon2idCost | Pbkdf2Cost = DEFAULT,
) -> None:
    """Return if this is the password of a stored hash; raise CheckFailed if not.

    Give None where there is no such user: it is the work of a wrong password for a hash
    of `cost`, and fails the same.  `cost` has to be what the site's hashes are made at,
    or users can be told from strangers by time; so can those whose hash is still of
    another cost (`needs_rehash`).  Where there is a stored hash, that one says its cost.

    Raises ValueError for a `cost` that is out of range, and when the stored string is
    not one of the two above or costs more than any login should.

    A password that is None, a form without one, and whatever else is neither text nor
    `bytes`, is not the right one: at once, whether there is such a user or not.  A
    `bytearray` or `memoryview` is a TypeError.
    """
    _check_cost(cost)
    given = _given(password)
    if given is None:
        raise CheckFailed(_WRONG)
    if stored is None:
        _derivation(cost, bytes(MIN_SALT)).derive(given)
        raise CheckFailed(_WRONG)
    found, salt, hashed = _parse(stored)
    try:
        if isinstance(found, Argon2idCost):
            Argon2id.verify_phc_encoded(given, stored)
        else:
            _pbkdf2(found, salt, len(hashed)).verify(given, hashed)
    except InvalidKey:
        raise CheckFailed(_WRONG) from None


def needs_rehash(stored: str, cost: Argon2idCost | Pbkdf2Cost = DEFAULT) -> bool:
    """Whether a stored hash was made otherwise than `hash_password` would make it now.

    Ask after `check_password` has passed, while the password is at hand.  Raises
    ValueError as `check_password` does.
    """
    found, salt, hashed = _parse(stored)
    return found != cost or len(salt) < MIN_SALT or len(hashed) != _LENGTH


def _argon2id(cost: Argon2idCost, salt: bytes) -> Argon2id:
    return Argon2id(
        salt=salt,
        length=_LENGTH,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )


def _derivation(cost: Argon2idCost | Pbkdf2Cost, salt: bytes) -> Argon2id | PBKDF2HMAC:
    if isinstance(cost, Argon2idCost):
        return _argon2id(cost, salt)
    return _pbkdf2(cost, salt, _LENGTH)


def _pbkdf2(cost: Pbkdf2Cost, salt: bytes, length: int) -> PBKDF2HMAC:
    return PBKDF2HMAC(algorithm=SHA256(), length=length, salt=salt, iterations=cost.iterations)


def _given(password: object) -> bytes | None:
    """What is hashed; None for what is no password."""
    if isinstance(password, bytes):
        return password
    if isinstance(password, (bytearray, memoryview)):
        kind = type(password).__name__
        raise TypeError(f"password is of type {kind}; give a string, or bytes(password)")
    if not isinstance(password, str):
        return None
    # A lone surrogate, which hostile JSON can hold, is just another wrong password.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _parse(stored: str) -> tuple[Argon2idCost | Pbkdf2Cost, bytes, bytes]:
    """Cost, salt and hash of a stored string, which no message shows."""
    cost: Argon2idCost | Pbkdf2Cost
    if match := _ARGON2ID.fullmatch(stored):
        memory, passes, lanes, *rest = match.groups()
        cost = Argon2idCost(int(memory), int(passes), int(lanes))
        stated = None
    elif match := _PBKDF2.fullmatch(stored):
        iterations, length, *rest = match.groups()
        cost = Pbkdf2Cost(int(iterations))
        stated = int(length)
    else:
        raise ValueError(_MALFORMED)
    try:
        salt, hashed = (base64.b64decode(_padded(text), validate=True) for text in rest)
    except binascii.Error:
        raise ValueError(_MALFORMED) from None
    if stated not in {None, len(hashed)}:
        raise ValueError(_MALFORMED)
    _check_cost(cost)
    return cost, salt, hashed


def _check_cost(cost: Argon2idCost | Pbkdf2Cost) -> None:
    if isinstance(cost, Argon2idCost):
        # RFC 9106 section 3.1: at least 8 KiB a lane.
        possible = (
            1 <= cost.lanes <= _MAX_LANES
            and 1 <= cost.passes <= _MAX_PASSES
            and 8 * cost.lanes <= cost.memory_kib <= _MAX_MEMORY_KIB
        )
    else:
        possible = 1 <= cost.iterations <= _MAX_ITERATIONS
    if not possible:
        raise ValueError(f"no password can be hashed at a cost of {cost}; see DEFAULT")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
