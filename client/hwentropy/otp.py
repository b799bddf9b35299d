"""One-time codes: HOTP (RFC 4226) and TOTP (RFC 6238), as authenticator apps make them.

`cryptography` computes the codes; the secret comes from the daemon.  A check
returns the counter to store, and takes the stored one the next time: a code is
good once (RFC 6238 section 5.2), and so is every older one.

What this does not do: count wrong codes.  A guess at six digits is right once in
10^6 / (codes accepted at a time); refuse after a few (RFC 4226 section 7.3).
"""

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from .errors import CheckFailed
from .generator import random_bytes
from .untrusted import sent_text

__all__ = ["OneTimeCodes", "generate_otp_secret"]

#: RFC 4226 section 4 R6: at least 128 bits, 160 recommended.
_SECRET: Final = 20
_MIN_SECRET: Final = 16

_ALGORITHMS: Final[dict[str, type[SHA1 | SHA256 | SHA512]]] = {
    # What RFC 4226 prescribes and every app knows; HMAC does not need what SHA-1 lost.
    "SHA1": SHA1,
    "SHA256": SHA256,
    "SHA512": SHA512,
}


def generate_otp_secret() -> str:
    """A new shared secret of 160 bits, in base32 as apps want it.

    Raises what `hwentropy.generator.random_bytes` raises.
    """
    return base64.b32encode(random_bytes(_SECRET)).decode("ascii")


class OneTimeCodes:
    """The codes of one secret.

    `step` is in seconds, for time-based codes.  Raises ValueError for a secret that
    is not base32 of at least 128 bits, for digits other than 6 to 8, for a step
    below 1, and for an algorithm other than SHA1, SHA256 and SHA512.
    """

    def __init__(
        self,
        secret: str,
        *,
        digits: int = 6,
        step: int = 30,
        algorithm: str = "SHA1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if algorithm not in _ALGORITHMS:
            raise ValueError(f"algorithm is one of {', '.join(_ALGORITHMS)}")
        if step < 1:
            raise ValueError("a code is good for at least one second; see step")
        try:
            key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
        except (binascii.Error, ValueError):
            raise ValueError("the secret is not base32; see generate_otp_secret") from None
        if len(key) < _MIN_SECRET:
            raise ValueError("the secret is shorter than 128 bits; see generate_otp_secret")
        chosen = _ALGORITHMS[algorithm]()
        self._hotp = HOTP(key, digits, chosen)
        self._totp = TOTP(key, digits, chosen, step)
        self._digits = digits
        self._step = step
        self._clock = clock

    def __repr__(self) -> str:
        return f"OneTimeCodes(digits={self._digits}, step={self._step})"

    def code(self, counter: int | None = None) -> str:
        """The code for a counter (HOTP), or for now (TOTP)."""
        wanted = self._now() if counter is None else counter
        return self._hotp.generate(wanted).decode("ascii")

    def check(self, code: str | None, *, last: int = -1, window: int = 1) -> int:
        """Check a time-based code; returns the step it belongs to, to pass as `last` next time.

        Takes codes of up to `window` steps before and after now (RFC 6238 section
        5.2 recommends one), and none of step `last` or before.  Raises CheckFailed.
        None, a form without a code, and whatever else is no string, is a wrong code
        (a number has lost its leading zeros); `bytes` are a TypeError.
        """
        now = self._now()
        return self._find(code, range(max(last + 1, now - window), now + window + 1))

    def check_counter(self, code: str | None, counter: int, *, look_ahead: int = 3) -> int:
        """Check a counter-based code; returns the counter to expect next time.

        Takes the codes of `counter` and of `look_ahead` more, which a button pressed
        in vain uses up (RFC 4226 section 7.4).  Raises CheckFailed, and TypeError, as
        `check` does.
        """
        return self._find(code, range(counter, counter + look_ahead + 1)) + 1

    def uri(self, account: str, issuer: str, *, counter: int | None = None) -> str:
        """The `otpauth:` URI that an app reads as a QR code; holds the secret.

        Time-based, or counter-based from `counter` on.
        """
        if counter is None:
            return self._totp.get_provisioning_uri(account, issuer)
        return self._hotp.get_provisioning_uri(account, counter, issuer)

    def _now(self) -> int:
        return int(self._clock() // self._step)

    def _find(self, code: object, counters: range) -> int:
        given = (sent_text(code, "code") or "").encode("utf-8", "surrogatepass")
        found = -1
        for counter in counters:
            # To the end, whichever matches: the time tells nothing of which did.
            if counter >= 0 and hmac.compare_digest(self._hotp.generate(counter), given):
                found = counter
        if found < 0:
            raise CheckFailed("the code is wrong, used or too old; ask for a new one")
        return found
