"""Whose control connection begins next, with users of the test's own."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hwentropyd.operating.control_acceptor import ControlAcceptor, peer_uid

PATIENCE = 20.0
MOST = 64

#: Whose a connection is, by the name that its client is bound to.
CROWD, OTHER = 4711, 4712


class Bench:
    """A listening socket, clients of two users, and who began in which order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / "s"))
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.clients: list[socket.socket] = []
        self.begun: list[int] = []
        self.held: list[socket.socket] = []

    def connect(self, uid: int) -> socket.socket:
        """A client of this user."""
        client = socket.socket(socket.AF_UNIX)
        client.bind(str(self.directory / f"{uid}.{len(self.clients)}"))
        client.connect(str(self.directory / "s"))
        client.settimeout(PATIENCE)
        self.clients.append(client)
        return client

    def begin(self, client: socket.socket, uid: int) -> None:
        """In the place of a conversation."""
        self.held.append(client)
        self.begun.append(uid)

    @staticmethod
    def uid_of(sock: socket.socket) -> int:
        """In the place of what the kernel says."""
        return int(Path(sock.getpeername()).name.partition(".")[0])

    def until(self, condition: Callable[[], bool]) -> None:
        """Accept until a condition holds."""

        async def main() -> None:
            acceptor = ControlAcceptor(self.listener, MOST, MOST, self.begin, self.uid_of)
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0)
            acceptor.close()

        asyncio.run(main())

    def close(self) -> None:
        """All sockets."""
        with ExitStack() as stack:
            for sock in (self.listener, *self.clients, *self.held):
                stack.callback(sock.close)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """One of its own."""
    made = Bench(tmp_path)
    yield made
    made.close()


def hung_up(sock: socket.socket) -> bool:
    """Whether the other end has closed it."""
    sock.setblocking(False)
    try:
        return not sock.recv(1)
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def test_a_crowd_in_the_queue_is_before_another_user_by_one_turn(bench: Bench) -> None:
    """However many connected before: the kernel's queue is in order, ours is by user."""
    for _ in range(200):
        bench.connect(CROWD)
    bench.connect(OTHER)
    bench.until(lambda: OTHER in bench.begun)
    assert bench.begun.index(OTHER) <= 1


def test_who_has_gone_without_a_word_does_not_begin(bench: Bench) -> None:
    """Nor is anything spent on it; who left a call behind does."""
    for _ in range(200):
        bench.connect(CROWD).close()
    bench.connect(OTHER)
    with bench.connect(CROWD) as left:
        left.sendall(b"{}\0")
    bench.until(lambda: OTHER in bench.begun and CROWD in bench.begun)
    assert sorted(bench.begun) == [CROWD, OTHER]


def test_a_crowd_has_its_share_of_places_and_its_first_give_way(bench: Bench) -> None:
    """Who comes last is served, as everywhere on this socket; nobody else's is touched."""
    crowd = [bench.connect(CROWD) for _ in range(200)]
    others = [bench.connect(OTHER) for _ in range(3)]
    # Half of what is not the operators' (a thirty-second part): nobody else was there yet.
    share = (MOST - MOST // 32) // 2
    bench.until(lambda: len(bench.begun) == share + 3)
    assert not any(hung_up(one) for one in others)
    assert [hung_up(one) for one in crowd] == [True] * (200 - share) + [False] * share


def test_an_operator_always_has_a_place(bench: Bench) -> None:
    """Where every other place is in use too."""
    for user in range(CROWD, CROWD + 40):
        for _ in range(20):
            bench.connect(user)
    bench.connect(0)
    bench.until(lambda: 0 in bench.begun)
    assert bench.begun.count(0) == 1


def test_what_waits_when_it_is_closed_is_closed(bench: Bench) -> None:
    """Nobody is left to wait for an answer that does not come."""
    clients = [bench.connect(CROWD) for _ in range(20)]
    bench.until(lambda: bool(bench.begun))
    for one in bench.held:
        one.close()
    assert all(hung_up(one) for one in clients)


def test_the_kernel_says_whose_a_connection_is() -> None:
    """By its credentials."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()
