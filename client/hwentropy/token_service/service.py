"""Issues tokens, checks them, and takes them back.

A session token is 32 random bytes, an API key 178 bits (see hwentropy.apikeys).
The store sees only its keyed hash (see keys).  Checking is one hash and one search
by that hash, so how long it takes says nothing of how close a guess came: the hashes
of two tokens that differ in one character have nothing in common, and nobody without
the key can choose them.

What it refuses, it refuses with an exception: no result can be taken for a yes.

What this does not protect against: a token stolen from its owner, a clock that is
set back (an expired token is good again; a revoked one is not), and a caller who
tells strangers why a token was refused.
"""

import math
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from hmac import compare_digest
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hwentropy.untrusted import sent_text

from .errors import InvalidToken
from .keys import KEY_BYTES, check_of, digest_of, key_beside
from .records import Issued, Kind, Reason, TokenRecord
from .sqlite import MEMORY, SQLiteStorage
from .storage import Storage

__all__ = ["SESSION_LIFETIME", "TokenService"]

#: Seconds.  A session ends after 12 hours whatever happens: the longest that
#: NIST SP 800-63B-3 section 4.2.3 lets an AAL2 session last.
SESSION_LIFETIME: Final = 12 * 3600.0
#: The strength of a token.
TOKEN_BYTES: Final = 32
#: 96 bits: among a million tokens two ids are equal with a chance of 10^12/2^97 < 10^-17.
ID_BYTES: Final = 12
#: Longer strings are none of ours; hashing megabytes for a stranger is work for nothing.
MAX_TOKEN_CHARACTERS: Final = 1024
#: Records read from the store at a time.
PAGE: Final = 500


def _generator(n: int) -> bytes:
    from hwentropy.generator import random_bytes  # noqa: PLC0415 - only if none was given

    return random_bytes(n)


def _api_key(prefix: str) -> str:
    from hwentropy.apikeys import generate_api_key  # noqa: PLC0415 - only if none was given

    return generate_api_key(prefix)


class TokenService:
    """Session tokens and API keys.

    `store` is the path of a SQLite database, made if it is not there; `":memory:"`
    for one that ends with the process; or a `Storage` of your own.  `key` (at least
    32 bytes) keys the hashes; without it the key is in `<path>.key`, made with the
    database.  A `Storage` of your own needs it given.  `clock` gives Unix seconds,
    `random_bytes` the tokens and `make_api_key` the API keys for a prefix; `timeout`
    is how many seconds a call waits for other processes.

    Threads may share a service, processes a path, and a forked child the service it
    inherited (not one in memory).  Every method may raise TokenStoreError.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Storage,
        *,
        key: bytes | None = None,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = _generator,
        make_api_key: Callable[[str], str] = _api_key,
        timeout: float = 5.0,
    ) -> None:
        """Raises ValueError for a key that is missing or too short, TokenStoreError
        for a store that cannot be used."""
        if key is not None and len(key) < KEY_BYTES:
            raise ValueError(f"key has {len(key)} bytes; give at least {KEY_BYTES}")
        self._clock = clock
        self._random_bytes = random_bytes
        self._make_api_key = make_api_key
        self._storage: Storage
        if isinstance(store, (str, os.PathLike)):
            if key is None:
                memory = os.fspath(store) == MEMORY
                key = (
                    random_bytes(KEY_BYTES)
                    if memory
                    else key_beside(Path(store).absolute(), random_bytes)
                )
            self._storage = SQLiteStorage(store, check_of(key), timeout=timeout)
        elif key is None:
            raise ValueError("a store of your own needs key=, the key of its hashes")
        else:
            self._storage = store
        self._key = key

    def __repr__(self) -> str:
        return f"<TokenService {self._storage!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; idempotent."""
        self._storage.close()

    def create_session(
        self,
        owner: str,
        *,
        lifetime: float | None = SESSION_LIFETIME,
        scopes: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Issued:
        """A new session token: 43 characters of URL-safe base64.

        `lifetime` is in seconds, None for one that never expires by itself; `scopes`
        say what it may be used for; `labels` are notes of yours (not secret).
        Raises ValueError for a lifetime that is not above 0, and for an owner that is
        empty; TypeError for an owner that is no string.
        """
        token = urlsafe_b64encode(self._random_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
        return self._keep(token, Kind.SESSION, owner, lifetime, scopes, labels)

    def create_api_key(
        self,
        owner: str,
        *,
        prefix: str,
        lifetime: float | None = None,
        scopes: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Issued:
        """A new API key `prefix_…` with a checksum, in the format of hwentropy.apikeys.

        Otherwise as `create_session`; ValueError for a prefix that is not in that format.
        """
        token = self._make_api_key(prefix)
        return self._keep(token, Kind.API_KEY, owner, lifetime, scopes, labels)

    def validate(
        self, token: str | None, *, kind: Kind | None = None, scopes: Collection[str] = ()
    ) -> TokenRecord:
        """The record of a token that is good now and has all these scopes.

        Raises InvalidToken, with the reason, for every other string; and for None and
        whatever else is no string, so that a request without its cookie, or with a
        number in its JSON, is refused as any other is.  Raises TypeError for `bytes`,
        which no stranger can send in place of text: the caller forgot to decode them.
        """
        _no_single_string(scopes)
        given = sent_text(token, "token")
        if given is None or len(given) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken(Reason.UNKNOWN)
        digest = digest_of(self._key, given)
        found = self._storage.find(digest)
        # The store has compared already; a store of another's making may be lax.
        if found is None or not compare_digest(found[0], digest):
            raise InvalidToken(Reason.UNKNOWN)
        record = found[1]
        reason = record.ended(self._clock())
        if reason is None and kind is not None and record.kind != kind:
            reason = Reason.KIND
        if reason is None and not record.scopes.issuperset(scopes):
            reason = Reason.SCOPE
        if reason is not None:
            raise InvalidToken(reason)
        return record

    def get(self, token_id: str) -> TokenRecord:
        """The record with this id, good or not.  Raises InvalidToken if there is none.

        Whatever is no string is no id, here and below; `bytes` are a TypeError.
        """
        record = self._storage.get(_as_id(token_id))
        if record is None:
            raise InvalidToken(Reason.UNKNOWN)
        return record

    def revoke(self, token_id: str) -> None:
        """Never accept this token again, in any process, from now on.

        Revoking twice is no error.  Raises InvalidToken for an id that is not there.
        """
        if not self._storage.revoke(_as_id(token_id), self._clock()):
            raise InvalidToken(Reason.UNKNOWN)

    def revoke_all(self, owner: str, *, kind: Kind | None = None) -> int:
        """Revoke every token of an owner (of one kind); returns how many were not yet."""
        return self._storage.revoke_owner(owner, kind, self._clock())

    def expire(self, token_id: str, *, after: float = 0.0) -> None:
        """Let a token expire `after` seconds from now, or when it would anyway if sooner.

        Raises InvalidToken for an id that is not there, ValueError for an `after`
        below 0.
        """
        if not (math.isfinite(after) and after >= 0):
            raise ValueError(f"after is {after}; give 0 or more seconds")
        if not self._storage.shorten(_as_id(token_id), self._clock() + after):
            raise InvalidToken(Reason.UNKNOWN)

    def list(
        self, *, owner: str | None = None, kind: Kind | None = None, ended: bool = False
    ) -> Iterator[TokenRecord]:
        """The records in the order of their making; those that are no longer good too
        with `ended=True`.

        Reads a page at a time: what is made or ended meanwhile may or may not show.
        """
        number = 0
        while page := self._storage.page(number, PAGE, owner, kind):
            for number, record in page:  # noqa: B007 - the last one starts the next page
                if ended or record.ended(self._clock()) is None:
                    yield record

    def purge(self, *, older_than: float = 0.0) -> int:
        """Forget what expired or was revoked more than `older_than` seconds ago.

        Returns how many.  A purged token stays invalid: nobody knows it any more.
        """
        return self._storage.purge(self._clock() - older_than)

    def _keep(
        self,
        token: str,
        kind: Kind,
        owner: str,
        lifetime: float | None,
        scopes: Collection[str],
        labels: Mapping[str, str] | None,
    ) -> Issued:
        _no_single_string(scopes)
        _check_owner(owner)
        if lifetime is not None and not (math.isfinite(lifetime) and lifetime > 0):
            raise ValueError(f"lifetime is {lifetime}; give seconds above 0, or None")
        now = self._clock()
        record = TokenRecord(
            id=self._random_bytes(ID_BYTES).hex(),
            kind=kind,
            owner=owner,
            scopes=frozenset(scopes),
            labels=dict(labels or {}),
            created=now,
            expires=None if lifetime is None else now + lifetime,
        )
        self._storage.insert(digest_of(self._key, token), record)
        return Issued(token, record)


def _as_id(given: object) -> str:
    token_id = sent_text(given, "token_id")
    if token_id is None:
        raise InvalidToken(Reason.UNKNOWN)
    return token_id


def _check_owner(owner: object) -> None:
    if not isinstance(owner, str):
        raise TypeError(
            f"owner is of type {type(owner).__name__}; give a string, such as str(user.id)"
        )
    if not owner:
        raise ValueError("owner is empty; say whose token it is")


def _no_single_string(scopes: Collection[str]) -> None:
    if isinstance(scopes, str):
        raise TypeError("scopes is one string; give a set of them: {'read'}")
