"""What is known of a token: everything but the token.

Times are Unix seconds (UTC) of the service's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Issued", "Kind", "Reason", "TokenRecord"]


class Kind(StrEnum):
    """What a token is for."""

    SESSION = "session"
    API_KEY = "api_key"


class Reason(StrEnum):
    """Why a token is not accepted."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    KIND = "kind"
    SCOPE = "scope"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token's entry."""

    id: str
    """24 hexadecimal digits; not secret, says nothing of the token."""
    kind: Kind
    owner: str
    scopes: frozenset[str]
    labels: Mapping[str, str]
    created: float
    expires: float | None
    """None: never by itself."""
    revoked: float | None = None

    def ended(self, now: float) -> Reason | None:
        """Why the token is no longer good at `now`; None while it is.

        From the second `expires` on it is expired: the last good moment is before.
        """
        if self.revoked is not None:
            return Reason.REVOKED
        if self.expires is not None and now >= self.expires:
            return Reason.EXPIRED
        return None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and its record.  The token is shown here and never again."""

    token: str = field(repr=False)
    record: TokenRecord
