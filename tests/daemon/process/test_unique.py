"""Never the same bytes twice: across connections, workers, processes and restarts."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.daemon import Daemon
from support.raw_client import MAX_READ, OK, PREDICTION_RESISTANCE, ask, receive

pytestmark = pytest.mark.process

BLOCK = 16


class Seen:
    """Every aligned block of 16 bytes that was handed out.

    In 2^20 such blocks of an ideal generator two are equal with a chance of
    2^39 / 2^128: a collision here is a fault.
    """

    def __init__(self) -> None:
        self._blocks: set[bytes] = set()
        self.count = 0

    def take(self, data: bytes) -> None:
        """Add output and assert that none of it was seen before."""
        whole = len(data) // BLOCK
        self._blocks.update(data[at : at + BLOCK] for at in range(0, whole * BLOCK, BLOCK))
        self.count += whole
        assert len(self._blocks) == self.count


def draw(daemon: Daemon, size: int, flags: int = 0, times: int = 1) -> bytes:
    """So many replies on one connection, one behind the other."""
    with daemon.connect() as sock:
        replies = [ask(sock, size, flags) for _ in range(times)]
    assert {reply.status for reply in replies} == {OK}
    return b"".join(reply.payload for reply in replies)


def draw_from_all(daemon: Daemon, seen: Seen) -> None:
    """Small, large and streamed output, from many connections at the same time."""
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(draw, daemon, BLOCK, 0, 100) for _ in range(16)]
        jobs += [pool.submit(draw, daemon, 1024, 0, 20) for _ in range(8)]
        jobs += [pool.submit(draw, daemon, 65536) for _ in range(4)]
        jobs += [pool.submit(draw, daemon, MAX_READ)]
        jobs += [pool.submit(draw, daemon, BLOCK, PREDICTION_RESISTANCE, 10) for _ in range(4)]
        for job in jobs:
            seen.take(job.result())
    with daemon.connect(daemon.stream) as one, daemon.connect(daemon.stream) as other:
        for sock in (one, other):
            seen.take(receive(sock, 1 << 19))


def test_connections_and_workers_never_share_output() -> None:
    """Some 5 MiB over both workers, with reseeds between: no block comes twice."""
    seen = Seen()
    with Daemon() as daemon:
        draw_from_all(daemon, seen)
        daemon.call("Reseed")
        draw_from_all(daemon, seen)
        daemon.check()
    assert seen.count * BLOCK > 4 << 20


def wait_until_gone(daemon: Daemon, worker: int) -> None:
    """Wait until the supervisor has noticed a worker's end."""
    daemon.wait_for(lambda: worker not in daemon.worker_pids(), "rid of a worker")


def test_replaced_workers_and_restarted_daemons_begin_anew() -> None:
    """After a killed worker, a killed daemon and an ordinary restart: no block comes twice."""
    seen = Seen()
    with Daemon() as daemon:
        draw_from_all(daemon, seen)
        for _ in range(3):
            killed = daemon.worker_pids()[0]
            os.kill(killed, signal.SIGKILL)
            wait_until_gone(daemon, killed)
            seen.take(draw(daemon, 1 << 16))
        for end in (daemon.kill, daemon.stop):
            end()
            daemon.start()
            daemon.wait_until_settled()
            seen.take(draw(daemon, 1 << 16))
        daemon.check()


def test_first_bytes_of_many_daemons_differ() -> None:
    """Ten daemons that start at the same time give ten different first blocks."""
    seen = Seen()
    with ThreadPoolExecutor(5) as pool:
        for job in [pool.submit(first_bytes) for _ in range(10)]:
            seen.take(job.result())
    assert seen.count == 20


def first_bytes() -> bytes:
    """The first output of both workers of a new daemon."""
    with Daemon(wait=False) as daemon:
        daemon.wait_until_reachable()
        with daemon.connect() as one, daemon.connect() as other:
            return ask(one, BLOCK).payload + ask(other, BLOCK).payload
