"""A supervisor that is stopped (SIGSTOP): its workers and leases keep the policy's limits."""

import os
import signal
import time
from collections import abc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from hwentropy import FailedClosed
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
from support.daemon import ONLY_OS, PATIENCE, Daemon
from support.raw_client import (
    DEGRADED,
    FAILED_CLOSED,
    LEASE,
    OK,
    ask,
    info,
    read_reply,
    send_request,
)

pytestmark = pytest.mark.process

#: Overdue after twice the seconds of `reseed_seconds`.
LIMIT = 2.0


def policy(degraded_seconds: int) -> str:
    """A reseed each second, and so many seconds without."""
    return (
        f"{ONLY_OS}[pool]\nreseed_seconds = 1\ndegraded_seconds = {degraded_seconds}\n"
        "poll_seconds = 0.1\n"
    )


@contextmanager
def frozen(daemon: Daemon) -> abc.Generator[float]:
    """The supervisor stands still; yields the moment after which no seed is within limits."""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        yield time.monotonic() + LIMIT
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def until(condition: Callable[[], bool], what: str) -> None:
    """Try until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not {what} in {PATIENCE} s"


@pytest.fixture
def generators() -> Iterator[list[Generator]]:
    """One of each class."""
    made = [Generator(make_reservoir), Generator(PythonReservoir)]
    yield made
    for generator in made:
        generator.close()


def drawn(generator: Generator) -> bool:
    """Whether it gives bytes."""
    try:
        generator.random_bytes(16)
    except FailedClosed:
        return False
    return True


def test_nothing_is_served_past_the_limits(generators: list[Generator]) -> None:
    """Where no degraded service is allowed it stops: reads, streams, leases and new ones."""
    with Daemon(policy(0)) as daemon, daemon.connect() as sock:
        with daemon.connect(daemon.stream) as stream:
            for generator in generators:
                generator.configure(path=daemon.entropy)
                assert drawn(generator)
            assert stream.recv(16)
            with frozen(daemon) as limit:
                served = list[tuple[float, int]]()

                def stopped() -> bool:
                    asked = time.monotonic()
                    reply = ask(sock, 16)
                    served.append((asked, reply.flags))
                    return reply.status == FAILED_CLOSED

                until(stopped, "stopped")
                late = [flags for asked, flags in served[:-1] if asked >= limit]
                assert late == []
                until(lambda: time.monotonic() >= limit, "late")
                assert not any(drawn(generator) for generator in generators)
                send_request(sock, LEASE, 0, 1, 0)
                assert read_reply(sock).status == FAILED_CLOSED
                assert info(sock)["state"] == "failed"
                until(lambda: not stream.recv(1 << 20), "ended")
            until(lambda: ask(sock, 16).status == OK, "served again")
            until(lambda: all(drawn(generator) for generator in generators), "drawn again")
        daemon.check()


def test_what_is_served_past_the_limits_is_flagged(generators: list[Generator]) -> None:
    """Where degraded service is allowed: every reply and lease from then on."""
    with Daemon(policy(3600)) as daemon, daemon.connect() as sock:
        for generator in generators:
            generator.configure(path=daemon.entropy)
            assert drawn(generator)
            assert not generator.is_degraded()
        with frozen(daemon) as limit:
            until(lambda: time.monotonic() >= limit, "late")
            assert all(generator.is_degraded() for generator in generators)
            for _ in range(100):
                reply = ask(sock, 16)
                assert (reply.status, reply.flags) == (OK, DEGRADED)
            send_request(sock, LEASE, 0, 1, 0)
            assert read_reply(sock).flags & DEGRADED
            assert info(sock)["state"] == "degraded"
        until(lambda: ask(sock, 16).flags == 0, "well again")
        daemon.check()


#: Connections that end: twice what a worker's channel takes at once (some 280 messages,
#: net.core.wmem_default / 768), and fewer than a process may have descriptors.
CROWD = 700


def test_connections_that_end_meanwhile_hold_nobody_up() -> None:
    """More ends than the channels to the supervisor take: those that stay are served."""
    with Daemon() as daemon, ExitStack() as stack:
        until(lambda: all(one["serving"] for one in daemon.status()["workers"]), "serving")
        held = [stack.enter_context(daemon.connect()) for _ in range(10)]
        crowd = [stack.enter_context(daemon.connect()) for _ in range(CROWD)]
        assert {ask(sock, 1).status for sock in (*held, *crowd)} == {OK}  # all handed over
        with frozen(daemon):
            for sock in crowd:
                sock.close()
            assert {ask(sock, 32).status for sock in held * 10} == {OK}

        def connections() -> int:
            return sum(one["connections"] for one in daemon.status()["workers"])

        until(lambda: connections() == len(held), "told of the ends")
