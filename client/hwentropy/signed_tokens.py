"""Temporary tokens that carry their content and their end, signed so that neither changes.

For a link in a mail, a download, a step of a form: nothing is stored.  `itsdangerous`
signs (HMAC-SHA-256 under a key derived for the purpose) what is

    base64url(JSON [end in whole seconds since 1970, content]) "." base64url(signature)

(the JSON compressed, and a "." before it, where that makes it shorter).

What this does not do: hide the content, which anybody can read; or take a token
back before its end, for which there is `hwentropy.TokenService`.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

from .errors import CheckFailed, Expired
from .generator import random_bytes
from .untrusted import sent_text

__all__ = ["SignedTokens", "generate_signing_key"]

#: Bytes: as strong as the HMAC (RFC 2104 section 3).
_KEY: Final = 32

_WRONG: Final = "the token is not valid here, or was changed; ask for a new one"


def generate_signing_key() -> bytes:
    """A new key of 256 bits.  Raises what `hwentropy.generator.random_bytes` raises."""
    return random_bytes(_KEY)


class SignedTokens:
    """Makes and checks tokens for one purpose.

    `keys` is one key or several, oldest first: the last signs, all are accepted.
    Tokens of one `purpose` are not accepted for another.  Raises ValueError for a key
    of fewer than 32 bytes, no key, or no purpose.
    """

    def __init__(
        self,
        keys: bytes | Sequence[bytes],
        *,
        purpose: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        chosen = [keys] if isinstance(keys, bytes) else list(keys)
        if not chosen or any(len(key) < _KEY for key in chosen):
            raise ValueError(f"a key has at least {_KEY} bytes; see generate_signing_key")
        if not purpose:
            raise ValueError("say what the tokens are for, such as 'confirm-mail'")
        self._purpose = purpose
        self._clock = clock
        self._serializer = URLSafeSerializer(
            chosen,
            salt=f"hwentropy signed token: {purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def __repr__(self) -> str:
        return f"SignedTokens(<hidden>, purpose={self._purpose!r})"

    def create(self, content: object, lifetime: float) -> str:
        """A token, safe in URLs, that carries `content` (JSON) for `lifetime` seconds.

        Raises ValueError for a lifetime that is not above zero, and TypeError for
        content that JSON does not know.
        """
        if not 0 < lifetime < math.inf:
            raise ValueError("a token's lifetime is a number of seconds above zero")
        return self._serializer.dumps([math.ceil(self._clock() + lifetime), content])

    def check(self, token: str | None) -> Any:
        """The content of a token.

        Raises CheckFailed when it is not one of ours, to the letter, or not for this
        purpose, and Expired when its time is over.  None, a link without one, and
        whatever else is no string, is not one of ours; `bytes` are a TypeError.
        """
        given = sent_text(token, "token")
        if given is None or not _as_we_write_it(given):
            raise CheckFailed(_WRONG)
        try:
            end, content = self._serializer.loads(given)
        except (BadData, UnicodeError):
            raise CheckFailed(_WRONG) from None
        if self._clock() >= end:
            raise Expired("the token's time is over; ask for a new one")
        return content


def _as_we_write_it(token: str) -> bool:
    """Whether the signature is in the one form of base64 that `create` gives.

    There are others that decode to the same bytes.  A token is one string, so that a
    list of those used up can rely on it.
    """
    signature = token.rpartition(".")[2]
    try:
        return base64_encode(base64_decode(signature)) == signature.encode("ascii")
    except (BadData, UnicodeError):
        return False
