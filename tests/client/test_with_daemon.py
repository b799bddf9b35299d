"""The client and the command against a real daemon process."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from hwentropy import AsyncClient, Client, Control, ControlError
from hwentropy.command.cli import run
from hwentropy_core.limits import MAX_READ
from support.daemon import Daemon

pytestmark = pytest.mark.process


@pytest.fixture
def client(real_daemon: Daemon) -> Iterator[Client]:
    """A client with a generous timeout."""
    with Client(real_daemon.directory / "entropy.sock", timeout=30) as made:
        yield made


@pytest.mark.parametrize("size", [32, 1024, 1025, 65536, MAX_READ, 9 * MAX_READ + 3])
def test_reads_of_every_size(size: int, client: Client) -> None:
    """The length asked for, never the same twice, and no long run of zeros in it."""
    first, second = client.read(size), client.read(size)
    assert len(first) == len(second) == size
    assert first != second
    assert bytes(16) not in first
    assert not client.degraded


def test_no_byte_string_comes_twice(real_daemon: Daemon, client: Client) -> None:
    """Threads, tasks and connections together: 3,000 draws of 16 bytes, all different."""
    path = real_daemon.directory / "entropy.sock"
    got: list[bytes] = []

    def work() -> None:
        with Client(path, timeout=30) as own:
            got.extend(own.read(16) for _ in range(500))

    async def tasks() -> None:
        async with AsyncClient(path, timeout=30) as shared:
            got.extend(await asyncio.gather(*(shared.read(16) for _ in range(1000))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert len(set(got)) == 3000


def test_info_agrees_with_the_control_interface(real_daemon: Daemon, client: Client) -> None:
    """State, version and limits; the generation moves with a reseed."""
    with Control(real_daemon.directory / "control.sock", timeout=30) as control:
        info, status = client.info(), control.status()
        assert (
            (info.state, info.version) == (status.state, status.version) == ("ok", info.version)
        )
        assert info.protocols == (1,)
        assert info.max_read == MAX_READ
        generation = control.reseed().generation
        assert client.info().generation >= generation > info.generation


def test_prediction_resistance_is_served(client: Client) -> None:
    """Fresh entropy before the bytes, and the connection goes on."""
    assert len(client.read(32, prediction_resistance=True)) == 32
    assert len(client.read(32, block=False)) == 32


def test_errors_of_the_control_interface(real_daemon: Daemon) -> None:
    """Unknown and absent sources are the interface's own errors, on a living connection."""
    with Control(real_daemon.directory / "control.sock", timeout=30) as control:
        with pytest.raises(ControlError) as unknown:
            control.test_source("nonsense")
        assert unknown.value.name == "org.hwentropy.Control.UnknownSource"
        with pytest.raises(ControlError) as absent:
            control.test_source("tpm2")
        assert absent.value.name == "org.hwentropy.Control.SourceNotReady"
        assert control.test_source("os").passed


def test_the_command_shows_it(real_daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    """The keys the issue asks for, and exit codes for a healthy daemon."""
    directory = ["--runtime-dir", str(real_daemon.directory)]
    assert run([*directory, "sources", "--json"]) == 0
    sources = json.loads(capfd.readouterr().out)
    wanted = [
        "name",
        "kind",
        "group",
        "state",
        "reason",
        "since",
        "samples",
        "alarms",
        "credited_bits",
    ]
    assert all(set(wanted) <= set(source) for source in sources)
    by_name = {source["name"]: source for source in sources}
    assert by_name["os"]["state"] == "healthy"
    assert by_name["tpm2"]["state"] == "absent"
    assert run([*directory, "status", "--json"]) == 0
    status = json.loads(capfd.readouterr().out)
    assert {"state", "generation", "seeded_at", "reseeds", "workers", "sources"} <= set(status)
    for command in (["status"], ["sources"], ["reseed"], ["test", "os"], ["get", "8", "--hex"]):
        assert run([*directory, *command]) == 0
    assert run([*directory, "test", "tpm2"]) == 1
    assert run([*directory, "test", "nonsense"]) == 2


def test_a_restart_and_a_killed_worker_go_unnoticed(
    real_daemon: Daemon, client: Client
) -> None:
    """Between two calls the daemon may restart, or its workers be killed."""
    client.read(32)
    real_daemon.stop()
    real_daemon.start()
    real_daemon.wait_until_settled()
    assert len(client.read(32)) == 32
    with Control(real_daemon.directory / "control.sock", timeout=30) as control:
        before = {worker.pid for worker in control.status().workers}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while before & {worker.pid for worker in control.status().workers}:
            assert time.monotonic() < deadline
        assert len(client.read(32)) == 32
