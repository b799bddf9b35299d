"""What a real daemon tells its service manager, from the start to the end."""

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropyd.child import Children
from hwentropyd.config.load import load
from hwentropyd.events.clones import CloneWatch
from hwentropyd.operating.notify import Notifier
from hwentropyd.serving.listeners import Listeners
from hwentropyd.supervisor import Supervisor
from support.daemon import ONLY_OS, PATIENCE, Daemon
from support.raw_client import DONT_BLOCK, NOT_SEEDED

pytestmark = pytest.mark.process


class Manager:
    """A service manager's notification socket, and all that was sent to it."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
        self.heard: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))

    def listen(self) -> None:
        """Take what has come."""
        while select.select([self._sock], [], [], 0)[0]:
            self.heard += self._sock.recv(4096).decode().split("\n")

    def wait_for(self, field: str) -> None:
        """Listen until this was said."""
        deadline = time.monotonic() + PATIENCE
        while field not in self.heard:
            assert time.monotonic() < deadline, self.heard
            assert select.select([self._sock], [], [], PATIENCE)[0], self.heard
            self.listen()

    def close(self) -> None:
        """Hear nothing more."""
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One that asks for a watchdog."""
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_it_is_not_ready_before_its_seed(manager: Manager) -> None:
    """Units that are ordered after it wait; the watchdog is fed all the same."""
    config = ONLY_OS + "[sources.os]\ncredit = false\n[pool]\npoll_seconds = 0.1\n"
    config += "[server]\nworkers = 1\n"
    with Daemon(config, environment=manager.environment, wait=False) as daemon:
        daemon.wait_until_reachable()
        daemon.wait_for_source("os", "healthy")
        manager.wait_for("WATCHDOG=1")
        # Its worker serves, so that the seed alone is what it waits for.
        assert daemon.read(1, DONT_BLOCK).status == NOT_SEEDED
        assert daemon.status()["state"] == "starting"
        manager.listen()
        assert "READY=1" not in manager.heard


def test_it_is_ready_once_it_is_seeded_and_says_when_it_stops(manager: Manager) -> None:
    """READY=1 once, and STOPPING=1 after it."""
    with Daemon(environment=manager.environment) as daemon:
        manager.wait_for("READY=1")
        daemon.stop()
        manager.wait_for("STOPPING=1")
    assert [one for one in manager.heard if one in {"READY=1", "STOPPING=1"}] == [
        "READY=1",
        "STOPPING=1",
    ]


def test_the_root_key_is_erased_at_the_end(tmp_path: Path) -> None:
    """It was seeded and served; stopped, it can give no seed to anybody."""
    config = tmp_path / "hwentropyd.toml"
    config.write_text(ONLY_OS)

    async def scenario() -> None:
        listeners = Listeners(tmp_path / "run")
        children = Children()
        supervisor = Supervisor(
            load(config), listeners, Notifier({}), children, tmp_path, CloneWatch(signs={})
        )
        seeds: list[bytearray] = []

        def settled(_: object) -> None:
            seeds.append(supervisor.root.child_seed(b"test", supervisor.root.generation))
            supervisor.stop()

        async with asyncio.timeout(PATIENCE):
            await supervisor.run(settled)
        listeners.close()
        children.close()
        assert len(seeds) == 1
        with pytest.raises(RuntimeError, match="not seeded"):
            supervisor.root.child_seed(b"test", supervisor.root.generation)

    asyncio.run(scenario())
