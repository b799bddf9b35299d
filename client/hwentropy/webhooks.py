"""Webhook secrets, and signatures that receivers check: Standard Webhooks 1.0.0.

    webhook-id:        the message's id, the same when it is sent again
    webhook-timestamp: seconds since 1970, of this attempt
    webhook-signature: "v1," base64(HMAC-SHA-256(key, id "." timestamp "." body)),
                       one for each key, separated by spaces
    secret             "whsec_" base64(key), the key 24 to 64 bytes

(standardwebhooks.com.  Its Python package brings an HTTP client and four more
dependencies for what are a few lines of `hmac`.)

What this does not do: remember ids.  Within the tolerance a message can be sent
again by whoever has seen it; a receiver that must not act twice keeps the ids.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Final

from .errors import CheckFailed, Expired
from .generator import random_bytes
from .untrusted import sent_text

__all__ = ["Webhook", "generate_webhook_secret"]

_PREFIX: Final = "whsec_"
#: Bytes: within the specification's 24 to 64, as strong as the HMAC.
_KEY: Final = 32
_MIN_KEY, _MAX_KEY = 24, 64

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"

#: Seconds, as the specification's own libraries have it.
_TOLERANCE: Final = 300


def generate_webhook_secret() -> str:
    """A new secret of 256 bits for one receiver.

    Raises what `hwentropy.generator.random_bytes` raises.
    """
    return _PREFIX + base64.b64encode(random_bytes(_KEY)).decode("ascii")


class Webhook:
    """Signs and checks messages with one secret, or several while they are changed.

    `tolerance` is in seconds, to either side.  Raises ValueError when no secret is
    given, or one that is not as above.
    """

    def __init__(
        self,
        *secrets: str,
        tolerance: float = _TOLERANCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secrets:
            raise ValueError("a webhook needs a secret; see generate_webhook_secret")
        self._keys = [_key(secret) for secret in secrets]
        self._tolerance = tolerance
        self._clock = clock

    def __repr__(self) -> str:
        return f"Webhook(<{len(self._keys)} hidden>, tolerance={self._tolerance:g})"

    def sign(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers to send with a body.

        Raises ValueError for an id that is empty, has a "." (it would blur where the
        id ends) or anything but visible ASCII.
        """
        if not (message_id.isascii() and message_id.isprintable()) or set(". ") & set(
            message_id or "."
        ):
            raise ValueError("a message id is visible ASCII without a '.'")
        timestamp = str(int(self._clock()))
        signed = self._signed(message_id, timestamp, body)
        return {
            _ID: message_id,
            _TIMESTAMP: timestamp,
            _SIGNATURE: " ".join(f"v1,{_mac(key, signed)}" for key in self._keys),
        }

    def check(self, headers: Mapping[str, str | None], body: bytes | None) -> None:
        """Return if a message is authentic and of now; `body` as it came, not parsed.

        Header names may be in any case.  Raises CheckFailed when a header is missing
        or malformed or no signature fits, and Expired when one fits but the message is
        older than the tolerance, or as far in the future.  A header that is None, or
        no string, is missing, and so is a body that is None.  Raises TypeError for
        headers that are `bytes`, and for a body that is anything but bytes.
        """
        found = _texts(headers)
        raw = _raw(body)
        message_id, timestamp = found[_ID], found[_TIMESTAMP]
        if not message_id or not timestamp.isascii() or not timestamp.isdigit():
            raise CheckFailed("the message lacks a webhook-id or a webhook-timestamp")
        # An id with a "." could end elsewhere: the same signature would fit a time and a
        # body that were cut out of the body of a message that somebody has seen.
        if "." in message_id:
            raise CheckFailed("the message has a malformed webhook-id")
        # 12 digits last for 30,000 years.
        if len(timestamp) > 12:
            raise CheckFailed("the message has a malformed webhook-timestamp")
        signed = self._signed(message_id, timestamp, raw)
        given = [
            one.removeprefix("v1,").encode("utf-8", "surrogatepass")
            for one in found[_SIGNATURE].split(" ")
            if one.startswith("v1,")
        ]
        right = [_mac(key, signed).encode("ascii") for key in self._keys]
        # All are compared, whichever fits: the time tells nothing of which did.
        fits = [hmac.compare_digest(one, other) for one in given for other in right]
        if not any(fits):
            raise CheckFailed("no signature of the message fits; is the secret the sender's?")
        if abs(self._clock() - int(timestamp)) > self._tolerance:
            raise Expired("the message is too old, or the clocks differ; have it sent again")

    @staticmethod
    def _signed(message_id: str, timestamp: str, body: bytes) -> bytes:
        return f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body


def _texts(headers: Mapping[str, str | None]) -> dict[str, str]:
    """The three headers, "" for one that is missing."""
    found: dict[str, str] = dict.fromkeys((_ID, _TIMESTAMP, _SIGNATURE), "")
    for name, value in headers.items():
        known = (sent_text(name, "the name of a header") or "").lower()
        if known in found:
            found[known] = sent_text(value, known) or ""
    return found


def _raw(body: object) -> bytes:
    if body is None:
        raise CheckFailed("the message has no body")
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"body is of type {type(body).__name__}; give the bytes as they came")
    return bytes(body)


def _mac(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _MIN_KEY <= len(key) <= _MAX_KEY:
        raise ValueError(
            f"a webhook secret is {_PREFIX!r} and base64 of {_MIN_KEY} to {_MAX_KEY} bytes; "
            "see generate_webhook_secret"
        )
    return key
