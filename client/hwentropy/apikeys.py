"""API keys that a scanner recognises, and knows from a lookalike, without asking anybody.

    acme_live_0V3kRZq8mB2cXyT7wLnP5sHdJ9fGaE4atHP8
    └prefix─┘ └──────body, 30 random───────┘└────┘ check

All ASCII, `prefix "_" body check`:

    prefix   2 to 32 of a-z, 0-9 and "_"; begins with a letter, has no "_" at either
             end and no two together.  Says whose key it is and what for.
    body     30 characters of 0-9A-Za-z, each uniform: 30 * log2(62) = 178.6 bits
    check    6 characters: CRC-32 of the ASCII bytes `prefix "_" body` (IEEE 802.3:
             polynomial 0x04C11DB7 reflected, initial value and final XOR 0xFFFFFFFF;
             zlib.crc32), as a number in base 62, digits 0-9A-Za-z in this order,
             most significant first, padded with "0" (62^6 > 2^32 > 62^5)

The idea is GitHub's (github.blog, "Behind GitHub's new authentication token
formats", 2021).  Of random text that looks like a key, one in 2^32 passes.

What this does not protect against: anybody can compute the check.  It tells that
a string is one of these keys and was not mistyped, never that it is valid: look
it up in a store that keeps hashes only (`hwentropy.TokenService`).
"""

import re
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .alphabet import Alphabet
from .errors import CheckFailed
from .untrusted import sent_text

__all__ = [
    "ApiKey",
    "api_key_pattern",
    "find_api_keys",
    "generate_api_key",
    "parse_api_key",
]

_BODY: Final = 30
_CHECK: Final = 6
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BASE62: Final = Alphabet(_DIGITS.encode("ascii"))
_PREFIX: Final = re.compile(r"(?=.{2,32}\Z)[a-z][a-z0-9]*(?:_[a-z0-9]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A string that has the form of a key and passes the check."""

    prefix: str
    text: str = field(repr=False)
    """The whole key; the secret."""


def generate_api_key(prefix: str) -> str:
    """A new key.

    Raises ValueError for a prefix that is not as above, and what
    `hwentropy.generator.random_bytes` raises.
    """
    start = f"{_checked_prefix(prefix)}_{_BASE62.draw(_BODY).decode('ascii')}"
    return start + _check(start)


def parse_api_key(text: str | None) -> ApiKey:
    """Take a key apart.  Raises CheckFailed when it is none, or was mistyped or cut.

    None, a request without one, and whatever else is no string, is none; `bytes` are
    a TypeError.
    """
    given = sent_text(text, "text") or ""
    start, check = given[:-_CHECK], given[-_CHECK:]
    prefix, _, body = start.rpartition("_")
    if (
        not _PREFIX.fullmatch(prefix)
        or len(body) != _BODY
        or not set(body) <= set(_DIGITS)
        or check != _check(start)
    ):
        raise CheckFailed("this is not an API key, or it was mistyped; copy it again whole")
    return ApiKey(prefix, given)


def find_api_keys(text: str, prefix: str) -> Iterator[tuple[int, ApiKey]]:
    """Every key with this prefix in a text, with the index where it begins.

    What only looks like one is passed over.  Raises ValueError for a wrong prefix.
    """
    for match in re.finditer(api_key_pattern(prefix), text):
        if match[0][-_CHECK:] == _check(match[0][:-_CHECK]):
            yield match.start(), ApiKey(prefix, match[0])


def api_key_pattern(prefix: str) -> str:
    """A regular expression for scanners, as GitHub's and others' take it.

    It finds what has the form; the check tells the rest.  Raises ValueError for a
    wrong prefix.
    """
    length = _BODY + _CHECK
    return rf"(?<![0-9A-Za-z]){_checked_prefix(prefix)}_[0-9A-Za-z]{{{length}}}(?![0-9A-Za-z])"


def _checked_prefix(prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"the prefix {prefix!r} is not 2 to 32 of a-z, 0-9 and single inner '_', "
            "a letter first"
        )
    return prefix


def _check(start: str) -> str:
    # Non-ASCII text reaches this only from parse_api_key, and fails there.
    value = zlib.crc32(start.encode("utf-8", "surrogatepass"))
    digits = ""
    for _ in range(_CHECK):
        value, digit = divmod(value, 62)
        digits = _DIGITS[digit] + digits
    return digits
