"""The C and C++ clients on a lease: the bytes it must give, and when it must give none."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropy_core.drbg import Drbg
from hwentropy_core.limits import MAX_READ
from hwentropy_core.page import ServiceState
from hwentropy_core.wire import ReplyFlag, Status
from support.compiled import PATIENCE, Native
from support.fake_leases import PURPOSE, Leases
from support.fake_server import FakeDaemon

pytestmark = pytest.mark.process


@pytest.fixture
def leases(daemon: FakeDaemon) -> Iterator[Leases]:
    """The fake daemon grants leases."""
    granted = Leases()
    daemon.handler = granted
    yield granted
    granted.close()


@pytest.fixture
def leased(native: Native, daemon: FakeDaemon, leases: Leases) -> Native:
    """A client in lease mode that has not drawn yet."""
    native.open(daemon.path, "lease")
    return native


def draw(reference: Drbg, size: int) -> bytes:
    """A draw as docs/drbg.md has it, in the pieces of 16 MiB that the headers promise."""
    step = 16 << 20
    return b"".join(
        bytes(reference.read(min(step, size - start))) for start in range(0, size, step)
    )


# What a lease gives.


def test_draws_are_those_of_the_documented_generator(leased: Native, leases: Leases) -> None:
    """Small and large ones in turn; the first connection's first lease is not drawn from."""
    first = leased.draw(1)
    assert len(leases.seeds) == 2
    reference = leases.reference()
    assert first == bytes(reference.read(1))
    for size in (4, 32, 1024, 1025, 1024, 1024, 991, 1024, 65537, 3, 4096, (16 << 20) + 5):
        got = hashlib.sha256(leased.draw(size)).digest()
        assert got == hashlib.sha256(draw(reference, size)).digest(), size
    assert len(leases.seeds) == 2


def test_a_new_epoch_ends_the_lease_before_the_next_byte(
    leased: Native, leases: Leases
) -> None:
    """One more request on the same connection, and the old key stays in."""
    leased.draw(32)
    reference = leases.reference()
    reference.read(32)
    for generation in range(2, 5):
        leases.page.generation = generation
        data = leased.draw(32)
        assert len(leases.seeds) == generation + 1
        leases.reseed(reference)
        assert data == bytes(reference.read(32))


def test_an_epoch_that_moves_while_a_lease_is_granted(leased: Native, leases: Leases) -> None:
    """What was read before the request counts: such a lease is not drawn from."""
    leased.draw(1)
    reference = leases.reference()
    reference.read(1)

    def reseed() -> None:
        leases.page.generation += 1
        leases.before = lambda: None

    leases.page.generation = 2
    leases.before = reseed
    data = leased.draw(1)
    assert len(leases.seeds) == 4
    leases.reseed(reference)
    assert data == bytes(reference.read(1))


def test_an_epoch_that_never_rests_is_a_protocol_error(leased: Native, leases: Leases) -> None:
    """Not an endless loop."""

    def reseed() -> None:
        leases.page.generation += 1

    leases.before = reseed
    assert leased.refused(1)[0] == "protocol_error"


def test_a_lease_ends_with_its_bytes(leased: Native, leases: Leases) -> None:
    """A draw across the end has the rest of the old lease and goes on with the new one."""
    leases.max_bytes = 64
    data = leased.draw(40)
    reference = leases.reference()
    assert data == bytes(reference.read(40))
    data = leased.draw(40)
    assert len(leases.seeds) == 3
    old = bytes(reference.read(24))
    leases.reseed(reference)
    assert data == old + bytes(reference.read(16))


def test_a_large_draw_over_several_leases(leased: Native, leases: Leases) -> None:
    """No lease gives more than it has, and the draw is whole."""
    leases.max_bytes = 3000
    data = leased.draw(10_000)
    assert len(leases.seeds) == 5
    reference, expected = Drbg(PURPOSE), b""
    for seed in leases.seeds[1:]:
        reference.reseed([(b"parent", seed)])
        expected += bytes(reference.read(min(3000, 10_000 - len(expected))))
    assert data == expected


def test_a_lease_ends_with_its_seconds(leased: Native, leases: Leases) -> None:
    """Inside them it is good; where they are over there is a new one."""
    leases.max_seconds = 1000
    leased.draw(1)
    leased.ask("advance 900")
    leased.draw(1)
    assert len(leases.seeds) == 2
    leased.ask("advance 100")
    leased.draw(1)
    assert len(leases.seeds) == 3


def test_options_of_a_lease(daemon: FakeDaemon, native: Native, leases: Leases) -> None:
    """Not blocking is a flag of LEASE; `degraded` is told as it was granted."""
    native.open(daemon.path, "lease", block=False)
    leases.flags = ReplyFlag.DEGRADED
    native.draw(1)
    assert leases.request_flags == [1, 1]
    assert native.ask("degraded") == "ok 1"
    leases.flags = 0
    leases.page.generation = 2
    native.draw(1)
    assert native.ask("degraded") == "ok 0"


# When there is no lease to be had.


def test_draws_go_on_without_the_daemon_inside_the_limits(
    leased: Native, leases: Leases, daemon: FakeDaemon
) -> None:
    """Until the seconds are over; then daemon_unavailable, until it is there again."""
    leased.draw(1)
    reference = leases.reference()
    reference.read(1)
    daemon.stop()
    assert leased.draw(64) == bytes(reference.read(64))
    leased.ask("advance 300")
    for _ in range(3):
        assert leased.refused(64)[0] == "daemon_unavailable"
    daemon.start()
    data = leased.draw(64)
    leases.reseed(reference)
    assert data == bytes(reference.read(64))
    assert len(leases.seeds) == 4


def test_bytes_run_out_without_the_daemon(
    daemon: FakeDaemon, leases: Leases, leased: Native
) -> None:
    """A draw that the lease can not give in full gives nothing of it."""
    leases.max_bytes = 100
    leased.draw(60)
    daemon.stop()
    assert leased.refused(60)[0] == "daemon_unavailable"
    assert leased.refused(1)[0] == "daemon_unavailable"


def test_a_restart_is_one_new_connection(
    daemon: FakeDaemon, leases: Leases, leased: Native
) -> None:
    """The lease after it is taken from the new daemon, and bound to its page."""
    leased.draw(1)
    daemon.restart()
    leases.page.generation = 2
    leased.draw(1)
    assert daemon.connections == 2
    assert len(leases.seeds) == 4
    leases.page.generation = 3
    leased.draw(1)
    assert len(leases.seeds) == 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.NOT_SEEDED, "not_seeded"),
        (Status.NOT_PERMITTED, "not_permitted"),
        (Status.OVER_QUOTA, "over_quota"),
        (Status.FAILED_CLOSED, "failed_closed"),
        (Status.BAD_REQUEST, "request_refused"),
    ],
)
def test_a_refused_renewal_stops_every_draw(
    status: Status, kind: str, leased: Native, leases: Leases
) -> None:
    """From the moment the epoch moves, whatever was left; and goes on when it may."""
    leased.draw(1)
    leases.status = status
    leased.draw(1)
    leases.page.state = ServiceState.FAILED
    for size in (1, 5000):
        assert leased.refused(size)[0] == kind
    leases.status = Status.OK
    leased.draw(1)


# Forks and threads.


def test_a_child_has_a_lease_of_its_own(leased: Native, leases: Leases) -> None:
    """Wiped memory: a new connection, a new lease, no key of the parent's in it."""
    leased.draw(16)
    parents = leases.reference()
    parents.read(16)
    child, parent = leased.pair("fork 48")
    assert parent == bytes(parents.read(48))
    assert child == bytes(leases.reference().read(48))
    assert len(leases.seeds) == 4


@pytest.mark.parametrize("max_bytes", [1 << 30, 1 << 20])
def test_a_fork_in_the_middle_of_a_draw(leased: Native, leases: Leases, max_bytes: int) -> None:
    """A signal's handler forks while a key is in use: the child draws anew, from the start.

    With short leases also in a later piece of the draw, or while one is renewed.
    """
    leases.max_bytes = max_bytes
    child, parent = leased.pair(f"interrupt {16 << 20}")
    assert len(child) == len(parent) == 32
    assert child[:16] != parent[:16]
    assert child[16:] != parent[16:]


def test_a_fork_while_a_lease_is_waited_for(leased: Native, leases: Leases) -> None:
    """A signal's handler forks during the renewal: each process has a lease of its own.

    The daemon answers the parent when the child has asked on a connection of its own.
    """
    asked: list[int] = []
    child_asks = threading.Event()

    def wait_for_the_child() -> None:
        asked.append(1)
        # The first two are for the byte that is drawn before the renewal.
        if len(asked) > 2:
            leases.max_bytes = 1 << 20
        if len(asked) == 3:
            assert child_asks.wait(PATIENCE)
        if len(asked) > 3:
            child_asks.set()

    leases.max_bytes = 1
    leases.before = wait_for_the_child
    child, parent = leased.pair("interrupt 64")
    pieces = {one[at : at + 16] for one in (child, parent) for at in (0, 16)}
    assert len(pieces) == 4
    assert child_asks.is_set()


def test_a_fork_in_the_middle_of_a_direct_draw(native: Native, daemon: FakeDaemon) -> None:
    """A signal's handler forks while a reply comes: neither takes bytes out of the other's."""
    native.open(daemon.path, "direct")
    child, parent = native.pair(f"interrupt {16 << 20}")
    # Behind the one byte that was drawn before, whole replies of 1 MiB, of both in turn.
    drawn = bytes(daemon.handed_out)[1:]
    for one in (parent, child):
        assert drawn.index(one[:16]) % MAX_READ == 0
        assert (drawn.index(one[16:]) + 16) % MAX_READ == 0
    assert len({parent[:16], parent[16:], child[:16], child[16:]}) == 4
    assert daemon.connections == 2


def test_threads_share_a_lease(leased: Native, leases: Leases) -> None:
    """Eight at once, 8,000 draws: none twice, from two requests in all."""
    data = bytes.fromhex(leased.ask("threads 8 16000")[3:])
    assert len({data[at : at + 16] for at in range(0, len(data), 16)}) == 8000
    assert len(leases.seeds) == 2


def test_threads_renew_once(leased: Native, leases: Leases) -> None:
    """A lease that runs out under eight threads is renewed as often as it has to be."""
    leases.max_bytes = 1600
    data = bytes.fromhex(leased.ask("threads 8 16000")[3:])
    assert len({data[at : at + 16] for at in range(0, len(data), 16)}) == 8000
    assert len(leases.seeds) == 1 + 8 * 16000 // 1600


# The memory.


def test_the_kernel_wipes_and_hides_the_state(
    daemon: FakeDaemon, native_c: Native, leases: Leases
) -> None:
    """wf: wiped on fork, dd: not in core dumps (proc(5)), and the page is read-only."""
    native_c.open(daemon.path, "lease")
    native_c.draw(1)
    flags = native_c.ask("flags").split()
    assert {"wf", "dd"} <= set(flags)
    maps = Path(f"/proc/{native_c.pid}/maps").read_text().splitlines()
    pages = [line.split()[1] for line in maps if "hwentropy-generation" in line]
    assert pages == ["r--s"]


def test_what_was_handed_out_is_gone(
    daemon: FakeDaemon, native_c: Native, leases: Leases
) -> None:
    """Small draws are overwritten where they lay; keys of large ones are not kept."""
    native_c.open(daemon.path, "lease")
    for size in (16, 100, 500):
        assert native_c.ask(f"residue {size}") == "ok 0"
