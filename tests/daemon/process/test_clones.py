"""A daemon that is told that its machine was copied, by the real kernel."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, Reservoir, make_reservoir
from hwentropyd.events.clones import SIGNS
from support.daemon import ONLY_OS, Daemon, descendants, only
from support.memory_scan import assert_gone, generator_of, scan
from support.plugins import Plugins
from support.raw_client import DONT_BLOCK, NOT_SEEDED, OK, ask, info
from support.signs import NEW_GENERATION, in_own_network, may_send, send_uevent

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not may_send(), reason="only root may have the kernel send a uevent"),
]

SAID = "the service is starting: this machine was copied (uevent): collecting a new seed"


def copied(daemon: Daemon) -> None:
    """Have the kernel say so, and wait until the daemon serves again."""
    before = daemon.status()
    send_uevent(NEW_GENERATION)
    daemon.wait_for(
        lambda: (
            daemon.status()["reseeds"] > before["reseeds"] and daemon.status()["state"] == "ok"
        ),
        "seeded anew",
    )


def in_a_network(test: Callable[[Daemon], None]) -> None:
    """Run the daemon and the test where no other daemon hears the kernel."""

    def run() -> None:
        with Daemon(ONLY_OS + "[server]\nworkers = 1\n") as daemon:
            test(daemon)

    in_own_network(run)


def test_a_copied_machine_is_counted_said_and_seeded_anew() -> None:
    """Every sign, once each; the generation moves with it and with the new seed."""

    def test(daemon: Daemon) -> None:
        before = daemon.status()
        assert before["clones"] == 0
        assert before["clone_signs"].keys() == SIGNS.keys()
        assert before["clone_signs"]["uevent"] == "watched"
        for number in (1, 2):
            copied(daemon)
            after = daemon.status()
            assert after["clones"] == number
            assert after["generation"] >= before["generation"] + 2 * number
            assert daemon.log.count(SAID) == number
        with daemon.connect() as sock:
            assert len(ask(sock, 32).payload) == 32
            assert info(sock)["state"] == "ok"

    in_a_network(test)


@pytest.mark.parametrize("make", [PythonReservoir, make_reservoir], ids=["python", "c"])
def test_every_lease_ends(make: Callable[[int], Reservoir]) -> None:
    """The next draw asks for another; without a sign none does."""

    def requests(daemon: Daemon) -> int:
        return sum(worker["requests"] for worker in daemon.status()["workers"])

    def test(daemon: Daemon) -> None:
        generator = Generator(make)
        generator.configure(path=daemon.entropy)
        generator.random_bytes(32)
        before = requests(daemon)
        generator.random_bytes(32)
        assert requests(daemon) == before
        copied(daemon)
        generator.random_bytes(32)
        assert requests(daemon) > before
        generator.close()

    in_a_network(test)


def test_nothing_is_left_of_the_state_that_was_copied() -> None:
    """Keys and blocks of root and worker, wherever they were; as found before the sign."""

    def test(daemon: Daemon) -> None:
        [worker] = daemon.worker_pids()
        daemon.read(32)
        root, child = generator_of(daemon.pid, b"root"), generator_of(worker, b"worker")
        old = {"root": root.key, "worker": child.key}
        old |= {"root's block": root.rest[-1024:], "worker's block": child.rest[-1024:]}
        processes = [daemon.pid, *descendants(daemon.pid)]
        assert scan(processes, old, kept=True).keys() == old.keys()
        copied(daemon)
        assert_gone(processes, old, kept=True)

    in_a_network(test)


def test_without_samples_of_its_own_it_gives_no_byte(tmp_path: Path) -> None:
    """And keeps no key to give one from, for as long as its one source says nothing."""
    package = Plugins(tmp_path)
    (package.site / "samples").write_bytes(os.urandom(1 << 16))
    config = f"{only()}{package.table('known', deadline=60.0)}[server]\nworkers = 1\n"

    def run() -> None:
        with Daemon(config, environment=package.environment) as daemon:
            [worker] = daemon.worker_pids()
            processes = [daemon.pid, *descendants(daemon.pid)]
            [collector] = package.noted("imported").intersection(processes)
            old = {
                "root": generator_of(daemon.pid, b"root").key,
                "worker": generator_of(worker, b"worker").key,
            }
            os.kill(collector, signal.SIGSTOP)
            assert scan(processes, old, kept=True).keys() == old.keys()
            send_uevent(NEW_GENERATION)
            daemon.wait_for_state("starting")
            assert daemon.status()["reason"] == SAID.partition(": ")[2]
            reply = daemon.read(32, DONT_BLOCK)
            assert (reply.status, reply.payload) == (NOT_SEEDED, b"")
            assert_gone(processes, old, kept=True)
            os.kill(collector, signal.SIGCONT)
            daemon.wait_for_state("ok")
            assert daemon.read(32).status == OK

    in_own_network(run)
