"""The acceptor on a real listening socket, with workers and errors of the test's own."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_mock import MockerFixture

from hwentropyd.config.principals import Principal
from hwentropyd.config.schema import Access, LimitsConfig
from hwentropyd.role import Role
from hwentropyd.serving import acceptor as module
from hwentropyd.serving.acceptor import AT_ONCE, Acceptor
from hwentropyd.serving.access import Rules
from hwentropyd.serving.gate import Gate
from hwentropyd.serving.incoming import Incoming
from hwentropyd.serving.listeners import Listener
from hwentropyd.serving.shares import Shares
from hwentropyd.serving.workers import WorkerPool

#: Seconds that the event loop may take to get somewhere on a busy machine.
PATIENCE = 20.0


class Workers:
    """Takes connections, as the pool of workers does."""

    def __init__(self) -> None:
        self.full = False
        self.taken: list[Incoming] = []

    def assign(self, incoming: Incoming) -> None:
        """Keep it."""
        self.taken.append(incoming)


def everybody_in() -> Gate:
    """A gate with room for more than a test connects."""
    anybody = (Principal("everybody"),)
    rules = Rules(Access(anybody, anybody, anybody), LimitsConfig(), (), None)
    return Gate(Shares(4096, 1 << 30), rules, lambda: 0.0)


class Failing:
    """A listening socket of which `accept` fails as it is told, then does not."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self._sock = sock
        self.errors = errors

    def accept(self) -> tuple[socket.socket, Any]:
        """The next error, or the next connection."""
        if self.errors:
            raise OSError(self.errors.pop(0), "as told")
        return self._sock.accept()

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()


class Bench:
    """A listening socket and what connects to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workers = Workers()
        self.clients: list[socket.socket] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(1024)
        self.listening.setblocking(False)

    def connect(self, count: int) -> None:
        """So many clients; each is in the backlog when this returns."""
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.path))
            self.clients.append(client)

    def acceptor(self, role: Role = Role.ENTROPY, errors: list[int] | None = None) -> Acceptor:
        """One that watches the socket once it is started."""
        sock = self.listening
        if errors is not None:
            sock = cast("socket.socket", Failing(sock, errors))
        listener = Listener(role, self.path, sock, inherited=False)
        return Acceptor(listener, everybody_in(), cast("WorkerPool", self.workers))

    async def until(self, count: int) -> None:
        """Wait until the workers have so many connections."""
        async with asyncio.timeout(PATIENCE):
            while len(self.workers.taken) < count:
                await asyncio.sleep(0)

    def close(self) -> None:
        """All of them."""
        taken = [one.sock for one in self.workers.taken]
        for sock in [*self.clients, *taken, self.listening]:
            sock.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """In a directory of its own."""
    made = Bench(tmp_path / "sock")
    yield made
    made.close()


def run(talk: Callable[[], Awaitable[None]]) -> None:
    """Run it in an event loop."""

    async def main() -> None:
        await talk()

    asyncio.run(main())


@pytest.mark.parametrize("role", [Role.ENTROPY, Role.STREAM])
def test_every_connection_is_handed_on(bench: Bench, role: Role) -> None:
    """As what it is and with who it is; before the start too, and not after the stop."""
    bench.connect(2 * AT_ONCE + 1)

    async def talk() -> None:
        acceptor = bench.acceptor(role)
        acceptor.start()
        await bench.until(2 * AT_ONCE + 1)
        acceptor.stop()
        bench.connect(1)
        for _ in range(10):
            await asyncio.sleep(0)

    run(talk)
    assert len(bench.workers.taken) == 2 * AT_ONCE + 1
    assert {one.role for one in bench.workers.taken} == {role}
    assert {one.peer.pid for one in bench.workers.taken} == {os.getpid()}
    assert {one.peer.uid for one in bench.workers.taken} == {os.getuid()}


def test_no_turn_of_the_loop_takes_more_than_its_share(bench: Bench) -> None:
    """What else the loop has to do comes between two of them."""
    bench.connect(2 * AT_ONCE)
    seen: list[int] = []

    async def talk() -> None:
        acceptor = bench.acceptor()
        acceptor.start()
        while len(bench.workers.taken) < 2 * AT_ONCE:
            await asyncio.sleep(0)
            seen.append(len(bench.workers.taken))
        acceptor.stop()

    run(talk)
    assert AT_ONCE in seen


@pytest.mark.parametrize(
    "errors",
    [[errno.EMFILE], [errno.ENFILE, errno.ENOMEM], [errno.ECONNABORTED] * 3, [errno.EPERM]],
)
def test_an_error_costs_no_connection(bench: Bench, errors: list[int]) -> None:
    """Neither one for want of room nor one of a client that has gone already."""
    bench.connect(3)

    async def talk() -> None:
        acceptor = bench.acceptor(errors=errors)
        acceptor.start()
        await bench.until(3)
        acceptor.stop()

    run(talk)
    assert errors == []


def test_full_workers_leave_newcomers_in_the_backlog(
    bench: Bench, mocker: MockerFixture
) -> None:
    """It takes none while they are, all of them once they are not; none after a stop."""
    mocker.patch.object(module, "REST_SECONDS", 0.001)
    bench.connect(5)
    bench.workers.full = True

    async def talk() -> None:
        acceptor = bench.acceptor()
        acceptor.start()
        await asyncio.sleep(0.01)  # ten rests
        assert bench.workers.taken == []
        bench.workers.full = False
        await bench.until(5)
        bench.workers.full = True
        bench.connect(1)
        await asyncio.sleep(0.01)
        acceptor.stop()
        bench.workers.full = False
        await asyncio.sleep(0.01)  # after which it would have taken the last

    run(talk)
    assert len(bench.workers.taken) == 5
