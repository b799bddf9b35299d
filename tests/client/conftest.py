"""What the client tests share: a scripted daemon, a real one, both clients behind one face."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwentropy import AsyncClient, Client, Info, backoff
from hwentropy.aio import client as aio_client
from hwentropy.generator import Generator
from hwentropy.lease import connection, drbg, reservoir
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
from support.daemon import Daemon
from support.fake_leases import Leases
from support.fake_server import FakeDaemon
from support.node import Leasing, Node


class Awaited:
    """An `AsyncClient` whose calls are run to their end in a loop of its own."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(path, timeout=timeout)

    @property
    def degraded(self) -> bool:
        return self.client.degraded

    @property
    def not_live(self) -> bool:
        return self.client.not_live

    def read(self, n: int, **options: bool) -> bytes:
        return self.runner.run(self.client.read(n, **options))

    def read_into(self, buffer: Any, **options: bool) -> None:
        self.runner.run(self.client.read_into(buffer, **options))

    def info(self) -> Info:
        return self.runner.run(self.client.info())

    def close(self) -> None:
        self.runner.run(self.client.close())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon that answers as it is told, serving in `tmp_path`."""
    with FakeDaemon(tmp_path) as served:
        yield served


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes clients of either kind for the socket in `tmp_path`."""
    made: list[Client | Awaited] = []

    def make(
        path: Path = tmp_path / "entropy.sock", timeout: float | None = 30
    ) -> Client | Awaited:
        kind = Client if request.param == "blocking" else Awaited
        client = kind(path, timeout=timeout)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
        if isinstance(client, Awaited):
            client.runner.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that clients make after OVER_QUOTA; a clock goes forward in place of them."""
    taken: list[float] = []

    async def pause(seconds: float) -> None:
        taken.append(seconds)

    def clock() -> int:
        return time.monotonic_ns() + int(sum(taken) * 1e9)

    monkeypatch.setattr(backoff, "sleep", taken.append)
    monkeypatch.setattr(backoff, "monotonic_ns", clock)
    monkeypatch.setattr(aio_client, "sleep", pause)
    return taken


#: No device of this machine: what the daemon does with them is its own tests' matter.
CONFIG = """
[sources.os]
[sources.hwrng]
enabled = false
[sources.tpm2]
tcti = "device:/nowhere/tpm"
"""


@pytest.fixture(scope="session")
def real_daemon() -> Iterator[Daemon]:
    """One hwentropyd for all tests that need the real thing."""
    with Daemon(CONFIG) as daemon:
        yield daemon


@pytest.fixture
def leases(daemon: FakeDaemon) -> Iterator[Leases]:
    """What the fake daemon answers to a LEASE; its READs are honest."""
    handler = Leases()
    daemon.handler = handler
    yield handler
    handler.close()


@pytest.fixture(params=[make_reservoir, PythonReservoir], ids=["c", "python"])
def generator(
    request: pytest.FixtureRequest, daemon: FakeDaemon, leases: Leases
) -> Iterator[Generator]:
    """One generator on the fake daemon."""
    made = Generator(request.param)
    made.configure(path=daemon.path)
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The boot clock, in nanoseconds, for generators with the Python reservoir."""
    now = [1000 * 10**9]
    for module in (reservoir, drbg, connection):
        monkeypatch.setattr(module, "boottime", lambda: now[0])
    return now


@pytest.fixture
def leasing(daemon: FakeDaemon) -> Leasing:
    """The fake daemon's handler, one that gives leases to Node."""
    handler = Leasing()
    daemon.handler = handler
    return handler


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A Node process that draws from the fake daemon."""
    with Node(tmp_path / "entropy.sock") as process:
        yield process
