"""What the token service raises.

    HwentropyError
    ├── CheckFailed            (hwentropy.errors)
    │   └── InvalidToken       this token (or this token id) is not good, and the reason why
    └── TokenStoreError        the database or its key cannot be used

No message holds a token, a part of one, its hash or the key.
"""

from hwentropy.errors import CheckFailed
from hwentropy_core.errors import HwentropyError

from .records import Reason

__all__ = ["InvalidToken", "TokenStoreError"]

_SENTENCES = {
    Reason.UNKNOWN: "the token was never issued here, or was purged; sign in again",
    Reason.EXPIRED: "the token has expired; sign in again",
    Reason.REVOKED: "the token was revoked; sign in again",
    Reason.KIND: "the token is of another kind than is asked for here; send the right one",
    Reason.SCOPE: "the token lacks a scope that is needed here; use one that has it",
}


class InvalidToken(CheckFailed):
    """The token must not be accepted; `reason` says why.

    The reason is for the log and for a caller who holds the token.  Answer a
    stranger the same whatever it is.
    """

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(_SENTENCES[reason])

    def __reduce__(self) -> tuple[type["InvalidToken"], tuple[Reason]]:
        return InvalidToken, (self.reason,)


class TokenStoreError(HwentropyError):
    """The store cannot be opened, read or written, or its key is missing or another."""
