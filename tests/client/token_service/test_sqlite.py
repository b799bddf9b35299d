"""The SQLite store: its files, its look-ups, other processes, threads, forks and faults."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hwentropy.token_service import (
    InvalidToken,
    Issued,
    Reason,
    TokenService,
    TokenStoreError,
    sqlite,
)
from hwentropy.token_service.sqlite import FIND, GET, PURGE
from support.script import environment

ROOT = Path(__file__).parents[3]
WORKER = ROOT / "tests" / "support" / "token_worker.py"
PATIENCE = 60.0

# From CPython 3.12 on a fork warns where there are threads (pytest-xdist has some): the
# child here calls SQLite and leaves, which is what is tested.
pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


def open_service(path: Path, timeout: float = 30.0, key: bytes | None = None) -> TokenService:
    """A service whose tokens need no daemon."""
    return TokenService(path, random_bytes=os.urandom, timeout=timeout, key=key)


def in_fork(work: Callable[[], str], timeout: float = PATIENCE) -> str:
    """What `work` returns in a forked child, or the name of what it raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answer = type(error).__name__
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        answer = stream.read().decode()
    os.waitpid(child, 0)
    return answer


def test_the_files_are_private_and_hold_no_token(tmp_path: Path) -> None:
    """Mode 0600 for the database, its log and its key, whatever the umask; no draft stays."""
    before = os.umask(0)
    try:
        service = open_service(tmp_path / "tokens.db")
    finally:
        os.umask(before)
    issued = service.create_session("alice")
    found = {path.name: path for path in tmp_path.iterdir()}
    assert set(found) == {"tokens.db", "tokens.db.key", "tokens.db-wal", "tokens.db-shm"}
    for path in found.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert issued.token.encode() not in path.read_bytes()
    key = found["tokens.db.key"].read_bytes()
    assert key not in found["tokens.db"].read_bytes() + found["tokens.db-wal"].read_bytes()
    service.close()


def test_a_store_outlives_its_service(tmp_path: Path) -> None:
    """Opened again, it knows what was issued and what was revoked."""
    with open_service(tmp_path / "tokens.db") as service:
        kept, revoked = service.create_session("alice"), service.create_session("alice")
        service.revoke(revoked.record.id)
    with open_service(tmp_path / "tokens.db") as service:
        assert service.validate(kept.token) == kept.record
        with pytest.raises(InvalidToken, match="revoked"):
            service.validate(revoked.token)


def test_a_closed_service_says_so(tmp_path: Path) -> None:
    """Not a look-up that finds nothing, but an error; closing twice is none."""
    service = open_service(tmp_path / "tokens.db")
    token = service.create_session("alice").token
    service.close()
    service.close()
    with pytest.raises(TokenStoreError, match="closed"):
        service.validate(token)


def test_look_ups_use_an_index() -> None:
    """The query plan of each: a SEARCH by an index, never a SCAN, however many there are."""
    connection = open_service(Path(":memory:"))._storage._open()  # type: ignore[attr-defined]

    def plan(query: str, *values: object) -> list[str]:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        return [row[3] for row in rows]

    (found,) = plan(FIND, b"")
    assert found == "SEARCH token USING INDEX sqlite_autoindex_token_1 (digest=?)"
    (got,) = plan(GET, "")
    assert got == "SEARCH token USING INDEX sqlite_autoindex_token_2 (id=?)"
    assert not [line for line in plan(PURGE, 0.0, 0.0, 1) if "SCAN" in line]
    connection.close()


def test_a_place_that_cannot_hold_a_store_is_named(tmp_path: Path) -> None:
    """A directory that is missing, or is where the file should be: no talk of a lost key."""
    missing = tmp_path / "missing"
    with pytest.raises(TokenStoreError, match=f"no directory {missing} "):
        open_service(missing / "tokens.db")
    with pytest.raises(TokenStoreError, match=f"{tmp_path} is a directory; name a file in it"):
        open_service(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lost", ["key", "mode", "length", "other"])
def test_a_wrong_key_is_told_apart_from_wrong_tokens(tmp_path: Path, lost: str) -> None:
    """Missing, readable by others, cut short, or another store's: TokenStoreError, and why."""
    database, key = tmp_path / "tokens.db", tmp_path / "tokens.db.key"
    open_service(database).close()
    if lost == "key":
        key.unlink()
        expected = "restore the key"
    elif lost == "mode":
        key.chmod(0o640)
        expected = "chmod 600"
    elif lost == "length":
        key.write_bytes(key.read_bytes()[:31])
        expected = "32 bytes"
    else:
        key.write_bytes(bytes(32))
        expected = "another key"
    with pytest.raises(TokenStoreError, match=expected):
        open_service(database)
    assert key.exists() == (lost != "key")


def test_the_callers_own_key_leaves_no_key_file(tmp_path: Path) -> None:
    """With key= the store opens with that key only, and no file is made for it."""
    database = tmp_path / "tokens.db"
    with open_service(database, key=bytes(range(40))) as service:
        token = service.create_session("alice").token
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.db"]
    with open_service(database, key=bytes(range(40))) as service:
        assert service.validate(token).owner == "alice"
    with pytest.raises(TokenStoreError, match="another key"):
        open_service(database, key=bytes(40))


@pytest.mark.parametrize("content", ["text", "database", "directory", "nowhere"])
def test_what_is_no_store_is_left_alone(tmp_path: Path, content: str) -> None:
    """Another program's file is refused in a sentence and not written to."""
    place = tmp_path / "tokens.db"
    if content == "text":
        place.write_text("no database, " * 1000)
    elif content == "database":
        with sqlite3.connect(place) as connection:
            connection.execute("CREATE TABLE token (x)")
        connection.close()
    elif content == "directory":
        place.mkdir()
    else:
        place = tmp_path / "nowhere" / "tokens.db"
    before = place.read_bytes() if place.is_file() else b""
    with pytest.raises(TokenStoreError, match=r"tokens\.db"):
        open_service(place, key=bytes(32))
    assert (place.read_bytes() if place.is_file() else b"") == before


@pytest.mark.parametrize(
    "changed", ["application_id = 1", "user_version = 2", "journal_mode = DELETE"]
)
def test_each_mark_of_a_store_is_looked_at(tmp_path: Path, changed: str) -> None:
    """Whose file it is, its version, its log: one that differs is refused."""
    database = tmp_path / "tokens.db"
    open_service(database).close()
    other = sqlite3.connect(database)
    other.execute(f"PRAGMA {changed}")
    other.close()
    with pytest.raises(TokenStoreError, match="not a token store of this version"):
        open_service(database)


def test_a_write_that_fails_leaves_no_transaction(tmp_path: Path) -> None:
    """Undone, so that others may write at once, and this store too."""
    with open_service(tmp_path / "tokens.db") as service:
        record = service.create_session("alice").record
        storage = service._storage
        storage.insert(b"digest", replace(record, id="one"))
        with pytest.raises(TokenStoreError, match="UNIQUE"):
            storage.insert(b"digest", replace(record, id="two"))
        other = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None, timeout=0)
        other.execute("BEGIN IMMEDIATE")
        other.rollback()
        other.close()
        storage.insert(b"another", replace(record, id="two"))


def test_purge_goes_on_to_the_end_in_short_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that ended is deleted, PURGE_BATCH rows at a time; what did not end stays."""
    monkeypatch.setattr(sqlite, "PURGE_BATCH", 2)
    with open_service(tmp_path / "tokens.db") as service:
        ended = [service.create_session("alice").record for _ in range(5)]
        kept = service.create_session("alice").record
        for record in ended:
            service.revoke(record.id)
        statements: list[str] = []
        storage = service._storage
        storage._connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
        assert storage.purge(time.time() + 1) == 5
        assert sum(one.startswith("DELETE") for one in statements) == 3
        assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") == 3
        assert list(service.list(ended=True)) == [kept]


def test_a_busy_store_is_an_error_in_time(tmp_path: Path) -> None:
    """Another process holds the write lock: reads go on, a write gives up and says so."""
    with open_service(tmp_path / "tokens.db", timeout=0.05) as service:
        issued = service.create_session("alice")
        other = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert service.validate(issued.token) == issued.record
        with pytest.raises(TokenStoreError, match=r"busy for 0\.05 s"):
            service.revoke(issued.record.id)
        other.rollback()
        other.close()
        service.revoke(issued.record.id)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """A write that fails half-way is undone, told, and the service goes on."""
    with open_service(tmp_path / "tokens.db") as service:
        issued = service.create_session("alice")
        connection = service._storage._connection  # type: ignore[attr-defined]
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(TokenStoreError, match="full"):
            service.create_session("x" * 100_000)
        connection.execute("PRAGMA max_page_count = 1000000")
        assert list(service.list()) == [issued.record]
        service.create_session("x" * 100_000)


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    """What is no record of ours is not guessed at."""
    with open_service(tmp_path / "tokens.db") as service:
        issued = service.create_session("alice")
        other = sqlite3.connect(tmp_path / "tokens.db")
        other.execute("UPDATE token SET scopes = 'nonsense'")
        other.commit()
        other.close()
        with pytest.raises(TokenStoreError, match="damaged"):
            service.validate(issued.token)


def test_a_removed_store_is_not_made_anew(tmp_path: Path) -> None:
    """After a fork the parent opens the file again: gone is an error, not an empty store."""
    service = open_service(tmp_path / "tokens.db")
    token = service.create_session("alice").token
    assert in_fork(lambda: "") == ""
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(TokenStoreError):
        service.validate(token)
    assert not (tmp_path / "tokens.db").exists()


def test_threads_share_a_service(tmp_path: Path) -> None:
    """Eight threads issue, check and revoke at once; every change is there afterwards."""
    service = open_service(tmp_path / "tokens.db")
    kept: list[str] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                first, second = (service.create_session("thread") for _ in range(2))
                service.revoke(first.record.id)
                kept.append(service.validate(second.token).id)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures
    assert sorted(kept) == sorted(record.id for record in service.list())
    assert len(kept) == 80
    service.close()


def test_processes_that_make_the_store_at_once_agree(tmp_path: Path) -> None:
    """Eight start together on nothing: one key, one database, all eight tokens in it."""
    database = tmp_path / "tokens.db"
    script = (
        "import os, sys\n"
        "from hwentropy.token_service import TokenService\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with TokenService(sys.argv[1], random_bytes=os.urandom, timeout=30) as service:\n"
        "    print(service.create_session('process').token)\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        for _ in range(8)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        assert not list(tmp_path.iterdir())
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        tokens = [worker.communicate(timeout=PATIENCE)[0].strip() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * 8
    with open_service(database) as service:
        assert [service.validate(token).owner for token in tokens] == ["process"] * 8
    assert {p.name for p in tmp_path.iterdir()} == {"tokens.db", "tokens.db.key"}


def test_a_revocation_is_seen_by_every_process_at_once(tmp_path: Path) -> None:
    """From the moment `revoke` returned here, another process refuses."""
    database = tmp_path / "tokens.db"
    service = open_service(database)
    issued = service.create_session("alice")
    script = (
        "import os, sys\n"
        "from hwentropy.token_service import TokenService, InvalidToken\n"
        "service = TokenService(sys.argv[1], random_bytes=os.urandom)\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        print(service.validate(line.strip()).owner, flush=True)\n"
        "    except InvalidToken as error:\n"
        "        print(error.reason, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"{issued.token}\n")
        other.stdin.flush()
        assert other.stdout.readline() == "alice\n"
        service.revoke(issued.record.id)
        other.stdin.write(f"{issued.token}\n")
        other.stdin.flush()
        assert other.stdout.readline() == "revoked\n"
        other.stdin.close()
    service.close()


def test_a_forked_child_may_go_on(tmp_path: Path) -> None:
    """Parent and child use the service they share; neither harms the other's changes."""
    service = open_service(tmp_path / "tokens.db")

    def child(mine: Issued) -> str:
        assert service._storage._connection is None  # type: ignore[attr-defined]
        issued = service.create_session("child")
        service.revoke(service.validate(mine.token).id)
        return issued.token

    for _ in range(3):
        mine = service.create_session("parent")
        token = in_fork(lambda: child(mine))  # noqa: B023 - called at once
        assert service.validate(token).owner == "child"
        with pytest.raises(InvalidToken, match="revoked"):
            service.validate(mine.token)
    service.close()
    check = sqlite3.connect(tmp_path / "tokens.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_forking_while_threads_write_harms_nothing(tmp_path: Path) -> None:
    """Children forked in the middle of others' transactions find a store that works."""
    service = open_service(tmp_path / "tokens.db")
    stop = threading.Event()
    made: list[str] = []

    def write() -> None:
        while not stop.is_set():
            made.append(service.create_session("thread").token)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        tokens = [in_fork(lambda: service.create_session("child").token) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert {service.validate(token).owner for token in tokens} == {"child"}
    assert {service.validate(token).owner for token in made} == {"thread"}
    service.close()


def test_a_store_in_memory_does_not_cross_a_fork() -> None:
    """A copy would not hear of revocations: the child gets an error, the parent goes on."""
    with open_service(Path(":memory:")) as service:
        issued = service.create_session("alice")
        assert in_fork(lambda: service.validate(issued.token).owner) == "TokenStoreError"
        assert service.validate(issued.token) == issued.record


def test_kill_9_loses_nothing_and_brings_nothing_back(tmp_path: Path) -> None:
    """Two processes write and are killed, six times over: what was said to be done is done."""
    database = tmp_path / "tokens.db"
    open_service(database).close()
    tokens: dict[str, str] = {}
    asked: set[str] = set()
    revoked: set[str] = set()
    for round_ in range(6):
        said = [tmp_path / f"said-{round_}-{which}" for which in range(2)]
        workers = []
        for path in said:
            with path.open("wb") as stream:
                command = [sys.executable, str(WORKER), str(database)]
                workers.append(subprocess.Popen(command, stdout=stream, env=environment()))
        deadline = time.monotonic() + PATIENCE
        # Each round is cut at another point of the two workers' loops.
        while any(path.read_bytes().count(b"\n") < 5 + 3 * round_ for path in said):
            assert time.monotonic() < deadline
            assert all(worker.poll() is None for worker in workers)
            time.sleep(0.001)
        for worker in workers:
            worker.kill()
            assert worker.wait(PATIENCE) == -signal.SIGKILL
        for path in said:
            for line in path.read_text().splitlines():
                word, token_id, *token = line.split()
                if word == "made":
                    tokens[token_id] = token[0]
                else:
                    (revoked if word == "revoked" else asked).add(token_id)
        with open_service(database) as service:
            for token_id, text in tokens.items():
                state = state_of(service, text)
                if token_id in revoked:
                    assert state is Reason.REVOKED
                elif token_id not in asked:
                    assert state is None
            known = {record.id for record in service.list(ended=True)}
        assert known >= set(tokens)
    assert len(revoked) >= 6
    check = sqlite3.connect(database)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def state_of(service: TokenService, token: str) -> Reason | None:
    """Why a token is refused, None when it is good."""
    try:
        service.validate(token)
    except InvalidToken as error:
        return error.reason
    return None


def test_every_commit_is_synchronous(tmp_path: Path) -> None:
    """synchronous=FULL (2) and WAL on the connection that writes, after a fork too."""
    with open_service(tmp_path / "tokens.db") as service:

        def settings() -> str:
            connection = service._storage._open()  # type: ignore[attr-defined]
            names = ("synchronous", "journal_mode")
            return json.dumps([connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names])

        assert settings() == in_fork(settings) == settings() == '[2, "wal"]'
