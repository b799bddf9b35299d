"""What the client tests share: a scripted daemon, a real one, both clients behind one face."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwentropy import AsyncClient, Client, HwentropyError, Info
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


ROOT = Path(__file__).parents[2]

#: No device of this machine: what the daemon does with them is its own tests' matter.
CONFIG = """
[sources.os]
[sources.hwrng]
enabled = false
[sources.tpm2]
tcti = "device:/nowhere/tpm"
"""


class RealDaemon:
    """A hwentropyd process of our own, serving in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        config = self.directory / "test.toml"
        config.write_text(CONFIG)
        log = self.directory / "log"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("core", "sources", "daemon"))
        }
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "hwentropyd", "--config", str(config)),
                    *("--runtime-dir", str(self.directory)),
                ],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, log.read_text()
            try:
                with Client(self.directory / "entropy.sock", timeout=5) as client:
                    client.read(1)
                    return
            except HwentropyError:
                assert time.monotonic() < deadline, log.read_text()

    def stop(self) -> None:
        """Stop it and wait for its end."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="session")
def real_daemon() -> Iterator[RealDaemon]:
    """One hwentropyd for all tests that need the real thing."""
    # Not tmp_path: its name may be too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="hwentropy-test-") as name:
        daemon = RealDaemon(Path(name))
        daemon.start()
        yield daemon
        daemon.stop()
