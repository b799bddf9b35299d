"""Hostile and careless clients of a real daemon: each costs only itself."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hwentropyd.command import CHILD_DESCRIPTORS, SOURCE_DESCRIPTORS, SUPERVISOR_DESCRIPTORS
from hwentropyd.confinement import raise_descriptor_limit
from hwentropyd.seeding.seeder import FRESH_SECONDS
from support.daemon import ONLY_OS, ROOT, Daemon
from support.raw_client import (
    BAD_REQUEST,
    DONT_BLOCK,
    HEADER,
    INFO,
    LEASE,
    MAX_READ,
    OK,
    OVER_QUOTA,
    PREDICTION_RESISTANCE,
    READ,
    TOO_LONG,
    ask,
    info,
    is_closed,
    read_reply,
    receive,
    request_bytes,
    send_request,
)
from support.users import ALICE, BOB, as_user, needs_root

pytestmark = pytest.mark.process

MIB = 1 << 20

#: What a load of clients that hold on to replies may add to one worker: the 16
#: threads' outboxes of 128 KiB, and for 300 connections some 20 KiB each of
#: requests and bookkeeping.  Replies held in memory would add 300 MiB.
WORKER_GROWTH = 16 * MIB


@pytest.fixture(scope="module")
def running() -> Iterator[Daemon]:
    """One daemon for the file: it has to survive all of this, one after another."""
    raise_descriptor_limit()
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The daemon, which afterwards serves a fresh client and has lost no worker."""
    workers = running.worker_pids()
    yield running
    running.check()
    assert running.worker_pids() == workers


def resident(pid: int) -> int:
    """VmRSS of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS of {pid}")


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def serves_others(daemon: Daemon, count: int) -> None:
    """So many requests of a well-behaved client are answered one after another."""
    with daemon.connect() as sock:
        for _ in range(count):
            reply = ask(sock, 32)
            assert (reply.status, len(reply.payload)) == (OK, 32)


def wait_until_alone(daemon: Daemon) -> None:
    """Wait until no worker has a connection any more."""
    daemon.wait_for(
        lambda: not any(one["connections"] for one in daemon.status()["workers"]),
        "rid of its connections",
    )


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 4096,
        bytes(4096),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b'{"method":"org.hwentropy.Control.Status"}\0',
        b"\x02\x20" + bytes(40),  # EGD's "blocking read of 32 bytes"
    ],
    ids=["ones", "zeros", "http", "tls", "varlink", "egd"],
)
def test_other_protocols_are_answered_with_bad_request_and_closed(
    daemon: Daemon, garbage: bytes
) -> None:
    """Bytes that are no request get BAD_REQUEST with their own tag, and the end."""
    tag = HEADER.unpack_from(garbage)[2]
    with daemon.connect() as sock:
        sock.sendall(garbage)
        reply = read_reply(sock)
        assert (reply.status, reply.flags, reply.tag, reply.payload) == (
            BAD_REQUEST,
            0,
            tag,
            b"",
        )
        assert is_closed(sock)


def test_random_bytes_end_in_a_closed_connection(daemon: Daemon) -> None:
    """A hundred clients that send noise are each answered until they are closed."""
    noise = random.Random(20260)
    for _ in range(100):
        with daemon.connect() as sock:
            # No READ in front: what follows one would be cut off by its reply's size.
            sock.sendall(b"\x09" + noise.randbytes(noise.randrange(7, 5000)))
            assert read_reply(sock).status == BAD_REQUEST
            assert is_closed(sock)


@pytest.mark.parametrize(
    ("op", "flags", "length"),
    [
        (READ, 0, 0),
        (READ, 4, 8),
        (READ, 0xFF, 8),
        (INFO, 1, 0),
        (INFO, 0, 1),
        (LEASE, 0, 1),
        (0, 0, 1),
    ],
    ids=["length 0", "unknown flag", "all flags", "info flag", "info length", "lease", "op 0"],
)
def test_bad_requests_are_answered_after_those_before_them(
    daemon: Daemon, op: int, flags: int, length: int
) -> None:
    """The good request before a bad one is answered, the bad one too, the next one not."""
    with daemon.connect() as sock:
        sock.sendall(
            request_bytes(READ, 0, 1, 16)
            + request_bytes(op, flags, 2, length)
            + request_bytes(READ, 0, 3, 16)
        )
        assert (read_reply(sock).tag, read_reply(sock).status) == (1, BAD_REQUEST)
        assert is_closed(sock)


@pytest.mark.parametrize("length", [MAX_READ + 1, 1 << 31, (1 << 32) - 1])
def test_oversized_lengths_are_refused_and_the_connection_goes_on(
    daemon: Daemon, length: int
) -> None:
    """TOO_LONG without a payload; the next request is answered as if nothing was."""
    with daemon.connect() as sock:
        reply = ask(sock, length, tag=9)
        assert (reply.status, reply.tag, reply.payload) == (TOO_LONG, 9, b"")
        assert len(ask(sock, MAX_READ).payload) == MAX_READ


def test_half_frames_then_silence_hold_nobody_up(daemon: Daemon) -> None:
    """100 clients stop in the middle of a request; others are served, and so are they later."""
    with ExitStack() as stack:
        halves = [stack.enter_context(daemon.connect()) for _ in range(100)]
        for number, sock in enumerate(halves):
            sock.sendall(request_bytes(READ, 0, number, 24)[: 1 + number % 7])
        serves_others(daemon, 200)
        for number, sock in enumerate(halves):
            sock.sendall(request_bytes(READ, 0, number, 24)[1 + number % 7 :])
            reply = read_reply(sock)
            assert (reply.tag, len(reply.payload)) == (number, 24)


def test_clients_that_never_read_cost_bounded_memory(daemon: Daemon) -> None:
    """300 clients ask for 150 GiB and take nothing: memory stays, a bystander is served."""
    pids = daemon.worker_pids()
    serves_others(daemon, 100)
    before = {pid: resident(pid) for pid in pids}
    with ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(daemon.connect())
            sock.sendall(request_bytes(READ, 0, 1, MAX_READ) * 512)
        serves_others(daemon, 1000)
        growth = {pid: resident(pid) - before[pid] for pid in pids}
    assert max(growth.values()) < WORKER_GROWTH
    wait_until_alone(daemon)


def test_streams_that_nobody_reads_hold_nobody_up(daemon: Daemon) -> None:
    """100 streams stand still, whatever they send; a stream that reads goes on."""
    with ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(daemon.connect(daemon.stream))
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        serves_others(daemon, 500)
        with daemon.connect(daemon.stream) as sock:
            first, second = receive(sock, 3 * MIB), receive(sock, 3 * MIB)
        assert first != second
    wait_until_alone(daemon)


def test_disconnecting_in_the_middle_of_a_reply_is_forgotten(daemon: Daemon) -> None:
    """200 clients go away within a reply of 1 MiB; no connection is left behind."""
    for number in range(200):
        with daemon.connect() as sock:
            send_request(sock, READ, 0, 1, MAX_READ)
            if number % 2:
                receive(sock, 1000)
    wait_until_alone(daemon)


def test_a_thousand_connections_at_once_are_all_served(daemon: Daemon) -> None:
    """1,000 clients are connected at the same time and each gets its bytes, all different."""
    with ExitStack() as stack:
        socks = [stack.enter_context(daemon.connect()) for _ in range(1000)]
        for number, sock in enumerate(socks):
            send_request(sock, READ, 0, number, 32)
        replies = [read_reply(sock) for sock in socks]
    assert [reply.tag for reply in replies] == list(range(1000))
    assert len({reply.payload for reply in replies}) == 1000
    wait_until_alone(daemon)


def test_connections_above_the_limit_are_closed_and_the_others_go_on() -> None:
    """With 20, ten of thirty are told so and closed; room that is made is given away."""
    limits = "[server]\nmax_connections = 20\n[limits]\nconnections = 20\n"
    with Daemon(ONLY_OS + limits) as daemon, ExitStack() as stack:
        wait_until_alone(daemon)
        socks = [stack.enter_context(daemon.connect()) for _ in range(30)]
        assert {read_reply(sock).status for sock in socks[20:]} == {OVER_QUOTA}
        assert all(is_closed(sock) for sock in socks[20:])
        assert all(ask(sock, 8).status == OK for sock in socks[:20])
        socks[0].close()

        def served() -> bool:
            with daemon.connect() as sock:
                try:
                    return ask(sock, 8).status == OK
                except (EOFError, ConnectionError):
                    return False

        daemon.wait_for(served, "serving in the place of the one that left")
        assert all(ask(sock, 8).status == OK for sock in socks[1:20])
        daemon.check_log()


def test_ten_thousand_requests_without_reading_are_answered_in_order(daemon: Daemon) -> None:
    """The server parks a client that only sends; once it reads it gets every reply."""
    with daemon.connect() as sock:
        sock.sendall(b"".join(request_bytes(READ, 0, tag, 32) for tag in range(10_000)))
        serves_others(daemon, 100)
        replies = [read_reply(sock) for _ in range(10_000)]
    assert [reply.tag for reply in replies] == list(range(10_000))
    assert len({reply.payload for reply in replies}) == 10_000


def test_one_byte_at_a_time_is_understood(daemon: Daemon) -> None:
    """Requests that come in single bytes are answered like any other."""
    with daemon.connect() as sock:
        for tag in range(20):
            for byte in request_bytes(READ, DONT_BLOCK, tag, 40):
                sock.send(bytes([byte]))
            reply = read_reply(sock)
            assert (reply.status, reply.tag, len(reply.payload)) == (OK, tag, 40)


def test_a_client_that_half_closes_gets_its_answers(daemon: Daemon) -> None:
    """After shutdown(SHUT_WR) every request that was sent is answered, then comes the end."""
    with daemon.connect() as sock:
        for tag in range(50):
            flags = PREDICTION_RESISTANCE if tag == 25 else 0
            send_request(sock, READ, flags, tag, 50_000)
        sock.shutdown(1)
        replies = [read_reply(sock) for _ in range(50)]
        assert is_closed(sock)
    assert [reply.tag for reply in replies] == list(range(50))
    assert {(reply.status, len(reply.payload)) for reply in replies} == {(OK, 50_000)}


def test_a_thousand_fresh_requests_are_all_met(daemon: Daemon) -> None:
    """1,000 clients ask for prediction resistance at the same time; none waits for ever."""
    with ExitStack() as stack:
        socks = [stack.enter_context(daemon.connect()) for _ in range(1000)]
        before = daemon.generation()
        for sock in socks:
            send_request(sock, READ, PREDICTION_RESISTANCE, 1, 32)
        replies = [read_reply(sock) for sock in socks]
    assert {reply.status for reply in replies} == {OK}
    assert len({reply.payload for reply in replies}) == 1000
    assert daemon.generation() > before


#: Keeps 50 requests with prediction resistance under way for ever.
FLOOD = """
import sys
from pathlib import Path
from support.raw_client import *
socks = [connect(Path(sys.argv[1])) for _ in range(50)]
while True:
    for sock in socks:
        send_request(sock, READ, PREDICTION_RESISTANCE, 1, 32)
    for sock in socks:
        assert read_reply(sock).status in {OK, OVER_QUOTA}
"""


def test_a_flood_of_prediction_resistance_leaves_a_bystander_alone(daemon: Daemon) -> None:
    """50 clients share a few reseeds a second, which a thousand reads do not wait for."""
    before = daemon.generation()
    began = time.monotonic()
    flood = subprocess.Popen(
        [sys.executable, "-c", FLOOD, str(daemon.entropy)], cwd=ROOT / "tests"
    )
    try:
        daemon.wait_for(lambda: daemon.generation() >= before + 4, "flooded")
        serves_others(daemon, 1000)
        after = daemon.generation()
        took = time.monotonic() - began
        assert flood.poll() is None
    finally:
        flood.kill()
        flood.wait()
    # One at once, one that is due by time in a minute.
    assert after - before <= 2 + took / 60 + took / FRESH_SECONDS
    wait_until_alone(daemon)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to look into a worker")
def test_what_connects_and_goes_leaves_nothing_behind(daemon: Daemon) -> None:
    """5,000 connections to each socket, with and without a word: no descriptor, no memory."""
    pids = [daemon.pid, *daemon.worker_pids()]
    noise = random.Random(7)

    def load() -> None:
        for path in (daemon.entropy, daemon.stream, daemon.control):
            for _ in range(5000):
                with daemon.connect(path) as sock, suppress(OSError):
                    sock.send(noise.randbytes(noise.randrange(1, 100)))
        wait_until_alone(daemon)
        # Those to the control socket are closed by now, up to this call's own.
        daemon.wait_for(lambda: descriptors(daemon.pid) <= held[daemon.pid] + 1, "rid of them")

    held = {pid: descriptors(pid) for pid in pids}
    load()
    before = {pid: resident(pid) for pid in pids}
    load()
    assert max(descriptors(pid) - held[pid] for pid in pids) <= 1
    # A first load may have taken memory for its tasks; a second takes none of its own,
    # but for what the allocator splinters: a tenth of a KiB a connection.
    assert max(resident(pid) - before[pid] for pid in pids) < 15_000 * 100


def test_info_is_small_and_says_what_the_protocol_promises(daemon: Daemon) -> None:
    """INFO in the middle of pipelined requests comes in its turn, with its keys."""
    with daemon.connect() as sock:
        send_request(sock, READ, 0, 1, 5000)
        send_request(sock, INFO, 0, 2, 0)
        send_request(sock, READ, 0, 3, 5000)
        assert [read_reply(sock).tag for _ in range(3)] == [1, 2, 3]
        said = info(sock)
    assert said["protocol"] == [1]
    assert said["limits"] == {"max_read": MAX_READ}
    assert (said["state"], said["generation"]) == ("ok", daemon.generation())


class Poor(Daemon):
    """A daemon, and workers, that may have 70 descriptors each."""

    limit = 70

    def command(self) -> list[str]:
        """Under prlimit(1), which becomes it."""
        return ["prlimit", f"--nofile={self.limit}:{self.limit}", *super().command()]


class Poorest(Poor):
    """One that has as many as it says it needs, with two workers and this source."""

    limit = SUPERVISOR_DESCRIPTORS + 2 * CHILD_DESCRIPTORS + SOURCE_DESCRIPTORS


def test_the_descriptors_that_it_asks_for_are_enough() -> None:
    """With just so many it serves, and answers its operator."""
    with Poorest(ONLY_OS) as daemon:
        with daemon.connect() as sock:
            assert ask(sock, 16).status == OK
        assert daemon.call("Reseed")
        assert daemon.status()["state"] == "ok"
        daemon.check()


def test_more_connections_than_descriptors_cost_no_worker() -> None:
    """Where fewer descriptors are to be had than `max_connections`, the rest is refused."""
    with Poor() as daemon, ExitStack() as load:
        first = load.enter_context(daemon.connect())
        assert ask(first, 16).status == OK
        workers = daemon.worker_pids()
        others = [load.enter_context(daemon.connect()) for _ in range(400)]
        # Two workers with 70 descriptors each: at least these are too many.
        assert {read_reply(one).status for one in others[200:]} == {OVER_QUOTA}
        assert ask(first, 16).status == OK
        assert daemon.worker_pids() == workers
        for one in others:
            one.close()
        daemon.wait_for(
            lambda: sum(one["connections"] for one in daemon.status()["workers"]) == 1, "empty"
        )
        daemon.check()


@needs_root
def test_with_few_descriptors_each_user_has_its_share_of_them() -> None:
    """Shares are of what workers can hold: a crowd is told so, and everybody else served."""
    with Poor() as daemon, ExitStack() as load:
        daemon.directory.chmod(0o755)
        with as_user(ALICE):
            crowd = [load.enter_context(daemon.connect()) for _ in range(200)]
        assert read_reply(crowd[-1]).status == OVER_QUOTA
        assert daemon.read(32).status == OK
        with as_user(BOB):
            others = [load.enter_context(daemon.connect()) for _ in range(10)]
        assert {ask(one, 16).status for one in others} == {OK}
        daemon.check()


def test_idle_control_connections_leave_descriptors_for_the_clients() -> None:
    """With 70 descriptors, 200 connections to the control socket cost nobody else any."""
    with Poor() as daemon, ExitStack() as load:
        for _ in range(200):
            load.enter_context(daemon.connect(daemon.control))
        clients = [load.enter_context(daemon.connect()) for _ in range(20)]
        assert {ask(one, 16).status for one in clients} == {OK}
        assert daemon.status()["state"] == "ok"
        daemon.check()
