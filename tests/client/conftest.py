"""What the client's tests share: a scripted daemon, and both clients behind one face."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwentropy import AsyncClient, Client, Info
from support.fake_server import FakeDaemon


class Awaited:
    """An `AsyncClient` whose calls are run to their end in a loop of its own."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(path, timeout=timeout)

    @property
    def degraded(self) -> bool:
        return self.client.degraded

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
