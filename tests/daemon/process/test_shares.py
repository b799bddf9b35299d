"""A real daemon and users of several uids: each costs only itself."""

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.daemon import ONLY_OS, Daemon
from support.descriptors import many
from support.raw_client import (
    LEASE,
    MAX_READ,
    NOT_PERMITTED,
    OK,
    OVER_QUOTA,
    PREDICTION_RESISTANCE,
    READ,
    ask,
    is_closed,
    read_reply,
    request_bytes,
    send_request,
)
from support.users import ALICE, BOB, as_user, needs_root

pytestmark = [pytest.mark.process, needs_root]

#: Connections that one user may have alone at the default of 4,096: (4,096 - 128) / 2, and
#: fewer as the memory for unread replies has to last.
MOST_OF_ONE = 1984


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """With the default limits, and open to every user."""
    with Daemon(ONLY_OS) as one:
        one.directory.chmod(0o755)
        yield one


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Enough for thousands of clients in this process."""
    with many():
        yield


def connect(daemon: Daemon, uid: int, path: Path | None = None) -> socket.socket:
    """A connection of this user."""
    with as_user(uid):
        return daemon.connect(path)


def served(daemon: Daemon, uid: int) -> int:
    """The status of a small request of this user on a connection of its own."""
    with connect(daemon, uid) as sock:
        return ask(sock, 32).status


def user(daemon: Daemon, uid: int) -> dict[str, Any]:
    """What the status says of a user."""
    found: dict[str, Any] = next(one for one in daemon.status()["users"] if one["uid"] == uid)
    return found


def test_the_idle_connections_of_one_user_keep_nobody_out(daemon: Daemon) -> None:
    """4,096 of them: what is above its share is told so; everybody else is served."""
    with ExitStack() as load:
        crowd = [load.enter_context(connect(daemon, ALICE)) for _ in range(4096)]
        assert served(daemon, BOB) == OK
        assert served(daemon, 0) == OK
        assert daemon.status()["state"] == "ok"
        # The unsolicited reply: tag 0, no flags, no payload, then the end.
        last = read_reply(crowd[-1])
        assert (last.status, last.flags, last.tag, last.payload) == (OVER_QUOTA, 0, 0, b"")
        assert is_closed(crowd[-1])
        said = user(daemon, ALICE)
        assert 1800 < said["connections"] <= MOST_OF_ONE
        assert said["refused_connections"] == 4096 - said["connections"]
        assert ask(crowd[0], 32).status == OK
        assert daemon.log.count(f"uid {ALICE}: has its share of connections") == 1
    daemon.wait_for(lambda: user(daemon, ALICE)["connections"] == 0, "rid of them")
    assert served(daemon, ALICE) == OK
    daemon.check()


def test_another_crowd_leaves_room_for_the_next_user(daemon: Daemon) -> None:
    """Two users together do not keep out a third, nor an operator."""
    with ExitStack() as load:
        for uid in (ALICE, BOB):
            for _ in range(2500):
                load.enter_context(connect(daemon, uid))
        third = [load.enter_context(connect(daemon, BOB + 1)) for _ in range(100)]
        assert {ask(sock, 16).status for sock in third} == {OK}
        assert served(daemon, 0) == OK


def unread(sock: socket.socket) -> int:
    """Bytes that wait for a client to read them (FIONREAD, unix(7))."""
    answer = fcntl.ioctl(sock, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", answer)[0])


@pytest.mark.parametrize("length", [32, MAX_READ], ids=["small", "large"])
def test_replies_that_nobody_reads_take_bounded_memory(daemon: Daemon, length: int) -> None:
    """4,000 clients of one user that never read: below 64 MB, and a bystander is served."""
    with ExitStack() as load:
        crowd = [load.enter_context(connect(daemon, ALICE)) for _ in range(4000)]
        for sock in crowd:
            try:
                sock.sendall(request_bytes(READ, 0, 1, length) * 512)
            except (BrokenPipeError, ConnectionResetError):
                continue  # refused
        sizes: list[int] = []

        def still() -> bool:
            sizes.append(sum(map(unread, crowd)))
            return len(sizes) > 3 and sizes[-1] == sizes[-3] > 0

        daemon.wait_for(still, "done with those that take nothing")
        assert sizes[-1] < 64_000_000
        assert user(daemon, ALICE)["unread_bytes"] < 64_000_000
        for _ in range(100):
            assert served(daemon, BOB) == OK
    daemon.check()


def test_one_client_reads_at_full_size_beside_them(daemon: Daemon) -> None:
    """A user's small buffers are its own affair: another's large replies come whole."""
    with ExitStack() as load:
        for _ in range(500):
            load.enter_context(connect(daemon, ALICE))
        with connect(daemon, BOB) as sock:
            for _ in range(20):
                assert len(ask(sock, MAX_READ).payload) == MAX_READ


LIMITED = (
    ONLY_OS
    + f"""
[limits.users.{ALICE}]
requests_per_second = 5
fresh_per_second = 2
connections = 3
[limits.users.{BOB}]
leases_per_second = 2
fresh_per_second = 1
[access]
stream = ["user:{BOB}"]
prediction_resistance = ["user:{BOB}"]
"""
)


@pytest.fixture(scope="module")
def limited() -> Iterator[Daemon]:
    """With limits for two users."""
    with Daemon(LIMITED) as one:
        one.directory.chmod(0o755)
        yield one


def test_a_configured_rate_is_of_the_user_and_exact(limited: Daemon) -> None:
    """Over several connections; the connection goes on, and others have no limit."""
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(limited, ALICE)) for _ in range(3)]
        statuses = [ask(sock, 16).status for _ in range(10) for sock in socks]
        # The burst of a second, and what came again during these thirty requests.
        assert 5 <= statuses.count(OK) <= 10
        assert set(statuses) == {OK, OVER_QUOTA}
        limited.wait_for(lambda: ask(socks[0], 16).status == OK, "served again")
    assert {served(limited, BOB) for _ in range(30)} == {OK}
    assert {served(limited, 0) for _ in range(30)} == {OK}
    limited.wait_for(lambda: user(limited, ALICE)["over_quota"] >= 20, "counted")
    limited.wait_for(
        lambda: f"uid {ALICE}: asks for more than it may have" in limited.log, "logged"
    )
    limited.check_log()


def test_a_configured_number_of_connections(limited: Daemon) -> None:
    """The fourth of three is refused, and admitted when one has gone."""
    with ExitStack() as stack:
        first = connect(limited, ALICE)
        for _ in range(2):
            stack.enter_context(connect(limited, ALICE))
        with connect(limited, ALICE) as fourth:
            assert read_reply(fourth).status == OVER_QUOTA
        before = user(limited, ALICE)["connections"]
        first.close()
        limited.wait_for(lambda: user(limited, ALICE)["connections"] < before, "let go")
        with connect(limited, ALICE) as again:
            send_request(again, 2, 0, 9, 0)
            assert read_reply(again).tag == 9


def test_leases_and_fresh_entropy_have_their_own_rates(limited: Daemon) -> None:
    """Above them a request is refused, and READ goes on."""
    with connect(limited, BOB) as sock:
        statuses = []
        for _ in range(20):
            send_request(sock, LEASE, 0, 1, 0)
            statuses.append(read_reply(sock).status)
        assert statuses[:2] == [OK, OK]
        assert OVER_QUOTA in statuses
        wishes = [ask(sock, 16, PREDICTION_RESISTANCE).status for _ in range(2)]
        assert wishes == [OK, OVER_QUOTA]
        assert ask(sock, 16).status == OK


def test_who_may_use_what(limited: Daemon) -> None:
    """A socket and prediction resistance, by user; the operator may use all of it."""
    for uid, permitted in ((ALICE, False), (BOB, True), (0, True)):
        with connect(limited, uid, limited.stream) as stream:
            assert (stream.recv(1) != b"") is permitted
    with connect(limited, ALICE + 1000) as sock:
        assert ask(sock, 16, PREDICTION_RESISTANCE).status == NOT_PERMITTED
        assert ask(sock, 16).status == OK
    limited.wait_for(lambda: user(limited, ALICE)["not_permitted"] == 1, "counted")
    limited.wait_for(lambda: user(limited, ALICE + 1000)["not_permitted"] == 1, "counted")


def test_a_socket_that_is_not_permitted_says_so() -> None:
    """The unsolicited reply, before any request."""
    with Daemon(ONLY_OS + "[access]\nentropy = []\n") as daemon:
        daemon.directory.chmod(0o755)
        with connect(daemon, ALICE) as sock:
            reply = read_reply(sock)
            assert (reply.status, reply.tag, reply.payload) == (NOT_PERMITTED, 0, b"")
            assert is_closed(sock)
        assert served(daemon, 0) == OK
        assert user(daemon, ALICE)["not_permitted"] == 1
