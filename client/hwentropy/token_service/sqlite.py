"""Tokens in a SQLite database, for any number of threads and processes of one machine.

The file is made under another name, complete with its tables, in WAL mode and with
mode 0600, and then given its name: nobody ever sees half a database, and no two
processes race to switch it to WAL (which SQLite's busy timeout does not cover).

Every change is one transaction: BEGIN IMMEDIATE waits for its turn up to `timeout`
seconds, and synchronous=FULL has it on the disk before the call returns, so neither
kill -9 nor a power cut loses it.  A look-up is one search in the index of digests.

A connection must not cross a fork (sqlite.org/howtocorrupt.html, section 2.6).  So
it is closed before each fork, and parent and child open their own when they need one.

What this does not protect against: network file systems (WAL needs shared memory),
a fork that CPython is not told of, and whoever may write the file: only the tokens
are keyed, the scopes and times beside them are not.
"""

import json
import os
import secrets
import sqlite3
import threading
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final

from .errors import TokenStoreError
from .keys import link_if_absent
from .records import Kind, TokenRecord

__all__ = ["MEMORY", "SQLiteStorage"]

#: The path that stands for a database in this process's memory.
MEMORY: Final = ":memory:"

#: "hwtk", so that another program's database is not taken for one of ours.
APPLICATION_ID: Final = 0x6877746B
SCHEMA_VERSION: Final = 1
#: Rows deleted in one transaction: a few milliseconds, so that nobody waits long.
PURGE_BATCH: Final = 1000

_SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE store (key_check BLOB NOT NULL);
CREATE TABLE token (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    scopes TEXT NOT NULL,
    labels TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL
);
CREATE INDEX token_owner ON token (owner, number);
CREATE INDEX token_expires ON token (expires) WHERE expires IS NOT NULL;
CREATE INDEX token_revoked ON token (revoked) WHERE revoked IS NOT NULL;
"""

_COLUMNS: Final = "id, kind, owner, scopes, labels, created, expires, revoked"
# Built from the constants above only.
FIND: Final = f"SELECT digest, {_COLUMNS} FROM token WHERE digest = ?"  # noqa: S608
GET: Final = f"SELECT {_COLUMNS} FROM token WHERE id = ?"  # noqa: S608
INSERT: Final = f"INSERT INTO token (digest, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_REVOKE: Final = "UPDATE token SET revoked = coalesce(revoked, ?) WHERE id = ?"
_REVOKE_OWNER: Final = (
    "UPDATE token SET revoked = ? "
    "WHERE owner = ? AND revoked IS NULL AND (kind = ? OR ? IS NULL)"
)
_SHORTEN: Final = "UPDATE token SET expires = min(coalesce(expires, ?), ?) WHERE id = ?"
PURGE: Final = (
    "DELETE FROM token WHERE number IN "
    "(SELECT number FROM token WHERE expires < ? OR revoked < ? LIMIT ?)"
)


class SQLiteStorage:
    """Tokens in the database at `path`, or in memory with `MEMORY`.

    `key_check` is what a new database remembers and an old one must remember.
    `timeout` is how many seconds a call waits for other processes.

    Raises TokenStoreError, here and from every method, when the database cannot
    be used: locked for longer than `timeout`, damaged, full, of another program,
    or of another key.
    """

    def __init__(
        self, path: str | os.PathLike[str], key_check: bytes, *, timeout: float = 5.0
    ) -> None:
        self._key_check = key_check
        self._timeout = timeout
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._gone: str | None = None
        self._path = None if os.fspath(path) == MEMORY else Path(path).absolute()
        with self._told():
            if self._path is None:
                self._connection = self._connect(MEMORY)
                _make(self._connection, key_check)
            else:
                if not self._path.exists():
                    self._create(self._path)
                self._open()
        _live.add(self)

    def __repr__(self) -> str:
        return f"<SQLiteStorage {self._path or MEMORY}>"

    def insert(self, digest: bytes, record: TokenRecord) -> None:
        """See Storage."""
        with self._writing() as connection:
            connection.execute(INSERT, row_of(digest, record))

    def find(self, digest: bytes) -> tuple[bytes, TokenRecord] | None:
        """See Storage."""
        with self._told(), self._lock:
            row = self._open().execute(FIND, (digest,)).fetchone()
        return None if row is None else (row[0], self._record(row[1:]))

    def get(self, token_id: str) -> TokenRecord | None:
        """See Storage."""
        with self._told(), self._lock:
            row = self._open().execute(GET, (token_id,)).fetchone()
        return None if row is None else self._record(row)

    def revoke(self, token_id: str, at: float) -> bool:
        """See Storage."""
        with self._writing() as connection:
            return connection.execute(_REVOKE, (at, token_id)).rowcount > 0

    def revoke_owner(self, owner: str, kind: Kind | None, at: float) -> int:
        """See Storage."""
        with self._writing() as connection:
            return connection.execute(_REVOKE_OWNER, (at, owner, kind, kind)).rowcount

    def shorten(self, token_id: str, expires: float) -> bool:
        """See Storage."""
        with self._writing() as connection:
            return connection.execute(_SHORTEN, (expires, expires, token_id)).rowcount > 0

    def page(
        self, after: int, limit: int, owner: str | None, kind: Kind | None
    ) -> Sequence[tuple[int, TokenRecord]]:
        """See Storage."""
        conditions = "number > ?"
        values: list[object] = [after]
        for column, value in (("owner", owner), ("kind", kind)):
            if value is not None:
                conditions += f" AND {column} = ?"
                values.append(value)
        query = (
            f"SELECT number, {_COLUMNS} FROM token WHERE {conditions} ORDER BY number LIMIT ?"  # noqa: S608 - constants
        )
        with self._told(), self._lock:
            rows = self._open().execute(query, (*values, limit)).fetchall()
        return [(int(row[0]), self._record(row[1:])) for row in rows]

    def purge(self, before: float) -> int:
        """See Storage."""
        gone = 0
        while True:
            with self._writing() as connection:
                batch = connection.execute(PURGE, (before, before, PURGE_BATCH)).rowcount
            gone += batch
            if batch < PURGE_BATCH:
                return gone

    def close(self) -> None:
        """See Storage."""
        with self._told(), self._lock:
            self._gone = "closed; make a new service"
            self._drop()

    def lock_for_fork(self) -> None:
        """Before a fork: wait for the call under way, and start no other."""
        self._lock.acquire()

    def let_go_for_fork(self) -> None:
        """Before a fork: leave no connection for the child to inherit."""
        if self._path is not None:
            self._drop()

    def release_after_fork(self, *, child: bool) -> None:
        """After a fork, in either process; the next call opens the file anew."""
        if child and self._path is None:
            # A copy would not hear of what the parent revokes.
            self._gone = "in the memory of the process that forked; use a file for both"
            self._drop()
        self._lock.release()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _told(self) -> Generator[None]:
        """SQLite's errors as ours, in one sentence."""
        place = self._path or MEMORY
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith("SQLITE_BUSY"):
                sentence = (
                    f"the token store {place} was busy for {self._timeout:g} s; try again"
                )
            else:
                sentence = f"the token store {place} cannot be used: {error}"
            raise TokenStoreError(sentence) from error
        except OSError as error:
            sentence = f"the token store {place} cannot be made: {error.strerror}"
            raise TokenStoreError(sentence) from error

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction, on the disk at the end or undone."""
        with self._told(), self._lock:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _connect(self, where: str) -> sqlite3.Connection:
        return sqlite3.connect(
            where,
            timeout=self._timeout,
            isolation_level=None,
            # One thread at a time, by our own lock.
            check_same_thread=False,
            uri=where != MEMORY,
        )

    def _open(self) -> sqlite3.Connection:
        if self._gone is not None:
            raise TokenStoreError(f"the token store {self._path or MEMORY} is {self._gone}")
        if self._connection is None:
            if self._path is None:
                raise TokenStoreError("the token store in memory is lost; make a new service")
            # rw: a store that was removed is an error, not a new, empty one.
            connection = self._connect(f"{self._path.as_uri()}?mode=rw")
            try:
                connection.execute("PRAGMA synchronous = FULL")
                self._verify(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _verify(self, connection: sqlite3.Connection) -> None:
        """Raise TokenStoreError unless this is a store of ours, in WAL mode, of our key."""
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode")
        ]
        if found != [APPLICATION_ID, SCHEMA_VERSION, "wal"]:
            raise TokenStoreError(
                f"{self._path} is not a token store of this version, or no longer in WAL "
                "mode; name another file"
            )
        (check,) = connection.execute("SELECT key_check FROM store").fetchone()
        if not compare_digest(check, self._key_check):
            raise TokenStoreError(
                f"the token store {self._path} was made with another key; give it that key"
            )

    def _create(self, path: Path) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            connection = self._connect(f"{draft.as_uri()}?mode=rw")
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _make(connection, self._key_check)
            finally:
                # The last to close writes the log back and removes it.
                connection.close()
            link_if_absent(draft, path)
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                draft.with_name(draft.name + ending).unlink(missing_ok=True)

    def _record(self, row: Sequence[Any]) -> TokenRecord:
        token_id, kind, owner, scopes, labels, created, expires, revoked = row
        try:
            return TokenRecord(
                token_id,
                Kind(kind),
                owner,
                frozenset(json.loads(scopes)),
                dict(json.loads(labels)),
                created,
                expires,
                revoked,
            )
        except (TypeError, ValueError) as error:
            raise TokenStoreError(
                f"the token store {self._path or MEMORY} holds a damaged record; restore it"
            ) from error


def row_of(digest: bytes, record: TokenRecord) -> tuple[object, ...]:
    """The values for INSERT."""
    return (
        digest,
        record.id,
        str(record.kind),
        record.owner,
        json.dumps(sorted(record.scopes)),
        json.dumps(dict(record.labels)),
        record.created,
        record.expires,
        record.revoked,
    )


def _make(connection: sqlite3.Connection, key_check: bytes) -> None:
    connection.executescript(_SCHEMA)
    connection.execute("INSERT INTO store VALUES (?)", (key_check,))


_live: "weakref.WeakSet[SQLiteStorage]" = weakref.WeakSet()
# Two threads that fork at once would take the stores' locks in turns.
_forking = threading.RLock()
_held: list[SQLiteStorage] = []


def _before_fork() -> None:
    _forking.acquire()
    for store in list(_live):
        store.lock_for_fork()
        _held.append(store)
        store.let_go_for_fork()


def _after_fork(*, child: bool) -> None:
    while _held:
        _held.pop().release_after_fork(child=child)
    _forking.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
