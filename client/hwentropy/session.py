"""What a web session needs to be secret: its id and its CSRF token.

The id goes into a cookie (`Secure; HttpOnly; SameSite=Lax`), the CSRF token into
the forms.  Both hold 256 bits (OWASP asks 64 at least of an id).  Keep the session
wherever sessions are kept; `hwentropy.TokenService` keeps ids as keyed hashes.

What this does not do: store, or end a session by itself; ask `check_age`.
"""

import base64
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from .errors import CheckFailed, Expired
from .generator import random_bytes
from .untrusted import sent_text

__all__ = ["Session"]

_BYTES: Final = 32

# OWASP Session Management Cheat Sheet, "Session Expiration": idle 15 to 30 minutes
# for low-risk applications (2 to 5 for high-value ones), absolute 4 to 8 hours.
_IDLE: Final = 30 * 60
_ABSOLUTE: Final = 8 * 60 * 60


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One session.  Its repr shows neither secret; compare with the checks, not with ==."""

    session_id: str = field(repr=False)
    csrf_token: str = field(repr=False)
    created: float
    """When it began, in seconds since 1970; stays through every refresh."""
    refreshed: float
    """When its secrets were last made anew."""

    @classmethod
    def create(cls, *, clock: Callable[[], float] = time.time) -> Self:
        """A new session.  Raises what `hwentropy.generator.random_bytes` raises."""
        now = clock()
        return cls(_token(), _token(), now, now)

    def refresh(self, *, clock: Callable[[], float] = time.time) -> Self:
        """The same session under a new id and CSRF token; delete the old id.

        At least whenever somebody logs in or gains rights, so that an id that was
        planted or seen before is worth nothing.
        """
        return type(self)(_token(), _token(), self.created, clock())

    def check_id(self, given: str | None) -> None:
        """Return if this is the id, in constant time; raises CheckFailed if not.

        None, a request without the cookie, and whatever else is no string, is not it;
        `bytes` are a TypeError.
        """
        _check(self.session_id, given, "session id")

    def check_csrf(self, given: str | None) -> None:
        """Return if this is the CSRF token, in constant time; raises CheckFailed if not.

        None, a form without one, and whatever else is no string, is not it; `bytes`
        are a TypeError.
        """
        _check(self.csrf_token, given, "CSRF token")

    def check_age(
        self,
        *,
        idle: float = _IDLE,
        absolute: float = _ABSOLUTE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raise Expired when it was not refreshed for `idle` seconds, or is `absolute` old."""
        now = clock()
        if now - self.refreshed >= idle or now - self.created >= absolute:
            raise Expired("the session's time is over; log in again")


def _token() -> str:
    return base64.urlsafe_b64encode(random_bytes(_BYTES)).decode("ascii").rstrip("=")


def _check(right: str, given: str | None, what: str) -> None:
    text = sent_text(given, f"the {what}")
    # As bytes: compare_digest refuses text that is not ASCII, which hostile text may be.
    if text is None or not hmac.compare_digest(
        right.encode(), text.encode("utf-8", "surrogatepass")
    ):
        raise CheckFailed(f"the {what} is not this session's; log in again")
