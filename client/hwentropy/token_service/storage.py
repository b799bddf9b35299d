"""What a token store must do.

A store keeps records under the digests of their tokens.  It never sees a token.
What `insert`, `revoke`, `revoke_owner`, `shorten` and `purge` did must be on the
disk, and seen by every other process, when they return.  Every method may be called
from any thread, and raises TokenStoreError when it cannot do its work.
"""

from collections.abc import Sequence
from typing import Protocol

from .records import Kind, TokenRecord

__all__ = ["Storage"]


class Storage(Protocol):
    """A place where records are kept; `SQLiteStorage` is the one that comes with it."""

    def insert(self, digest: bytes, record: TokenRecord) -> None:
        """Keep a new record; its digest and its id are both new."""
        ...

    def find(self, digest: bytes) -> tuple[bytes, TokenRecord] | None:
        """The record under a digest, with the digest as it is stored."""
        ...

    def get(self, token_id: str) -> TokenRecord | None:
        """The record with an id."""
        ...

    def revoke(self, token_id: str, at: float) -> bool:
        """Mark as revoked, for good; the first time stays.  False: no such id."""
        ...

    def revoke_owner(self, owner: str, kind: Kind | None, at: float) -> int:
        """Mark an owner's tokens as revoked; returns how many were not yet."""
        ...

    def shorten(self, token_id: str, expires: float) -> bool:
        """Let a token expire at `expires` if not sooner.  False: no such id."""
        ...

    def page(
        self, after: int, limit: int, owner: str | None, kind: Kind | None
    ) -> Sequence[tuple[int, TokenRecord]]:
        """Up to `limit` records in the order of their making, with their numbers,
        beginning behind the number `after`; 0 is before the first."""
        ...

    def purge(self, before: float) -> int:
        """Forget what expired or was revoked before; returns how many."""
        ...

    def close(self) -> None:
        """Let go of everything; idempotent."""
        ...
