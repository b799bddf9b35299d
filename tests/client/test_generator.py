"""The generator on a lease, against a daemon that behaves as told, with both reservoirs."""

import array
import copy
import mmap
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropy import (
    DaemonUnavailable,
    FailedClosed,
    HwentropyError,
    OverQuota,
    ProtocolError,
    Timeout,
)
from hwentropy import generator as module
from hwentropy.generator import Generator
from hwentropy.lease import drbg
from hwentropy.lease.connection import LeaseConnection
from hwentropy.lease.drbg import BLOCK_BYTES, PIECE_BYTES, SMALL_BYTES
from hwentropy.lease.reservoir import PythonReservoir
from hwentropy_core.drbg import Keystream
from hwentropy_core.limits import KEY_BYTES
from hwentropy_core.page import ServiceState
from hwentropy_core.wire import Op, ReplyFlag, Request, Status, encode_reply
from support.drbg_reference import ReferenceDrbg
from support.fake_leases import Leases
from support.fake_server import FakeDaemon, Hangup, honest

#: Seconds that an answer may take on a busy machine.
PATIENCE = 30.0
SECOND = 10**9


@pytest.fixture
def timed(daemon: FakeDaemon, leases: Leases, clock: list[int]) -> Iterator[Generator]:
    """One generator that goes by `clock`."""
    made = Generator(PythonReservoir)
    made.configure(path=daemon.path)
    yield made
    made.close()


def asked(daemon: FakeDaemon, op: Op) -> int:
    """How many requests of a kind the daemon had."""
    return sum(isinstance(one, Request) and one.op is op for _, one in daemon.requests)


def reference(leases: Leases) -> ReferenceDrbg:
    """docs/drbg.md, seeded with the last lease alone."""
    drbg = ReferenceDrbg(b"lease", block=BLOCK_BYTES)
    drbg.reseed([(b"parent", leases.seeds[-1])])
    return drbg


def read(drbg: ReferenceDrbg, size: int) -> bytes:
    """A draw: of whatever size, from the block if it lies there."""
    drbg.small = max(SMALL_BYTES, len(drbg.rest))
    return drbg.read(size)


def test_the_bytes_are_those_of_the_document(generator: Generator, leases: Leases) -> None:
    """Known answer: seed by seed and draw by draw what docs/drbg.md says."""
    first = generator.random_bytes(1)
    drbg = reference(leases)
    assert first == drbg.read(1)
    for size in (32, 16, 1000, SMALL_BYTES, SMALL_BYTES + 1, 50_000, 3, BLOCK_BYTES):
        assert generator.random_bytes(size) == read(drbg, size), size
    buffer = bytearray(777)
    generator.fill(buffer)
    assert buffer == read(drbg, 777)
    # The next lease: the old key is the salt.
    leases.page.generation += 1
    drawn = generator.random_bytes(40)
    drbg.reseed([(b"parent", leases.seeds[-1])])
    assert drawn == read(drbg, 40)


def test_a_refill_goes_on_where_the_document_does(generator: Generator, leases: Leases) -> None:
    """Draws that fill the block, one that no longer fits, and the next block."""
    size = SMALL_BYTES - 1
    drawn = [generator.random_bytes(size) for _ in range(BLOCK_BYTES // size + 2)]
    drbg = reference(leases)
    assert drawn == [read(drbg, size) for _ in drawn]


def test_nothing_is_asked_for_before_the_first_draw(
    generator: Generator, daemon: FakeDaemon
) -> None:
    """Making and configuring a generator neither connects nor gives bytes."""
    assert generator.take(1) is None
    assert generator.random_bytes(0) == b""
    generator.fill(bytearray())
    assert daemon.connections == 0


def test_one_lease_is_enough(generator: Generator, daemon: FakeDaemon, leases: Leases) -> None:
    """A thousand draws of all kinds after the first: no request more, no byte string twice."""
    drawn = {generator.random_bytes(16) for _ in range(1000)}
    drawn |= {generator.random_bytes(size)[:16] for size in (17, SMALL_BYTES, 3 * BLOCK_BYTES)}
    assert len(drawn) == 1003
    assert (len(leases.seeds), len(daemon.requests)) == (2, 2)


def test_take_is_the_hot_path(generator: Generator) -> None:
    """After a draw `take` gives bytes; what it gives is in no other draw."""
    drawn = generator.random_bytes(16)
    taken = generator.take(16)
    assert taken is not None
    assert taken != drawn
    assert generator.take(BLOCK_BYTES) is None


@pytest.mark.parametrize("size", [-1, -(2**70)])
def test_a_negative_size(generator: Generator, size: int) -> None:
    """ValueError."""
    with pytest.raises(ValueError, match="cannot draw"):
        generator.random_bytes(size)


def test_a_size_that_is_no_number(generator: Generator) -> None:
    """TypeError, and nothing is asked of the daemon."""
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError):
            generator.random_bytes(wrong)  # type: ignore[arg-type]


def test_a_size_beyond_memory(generator: Generator) -> None:
    """MemoryError or OverflowError, as `bytes` says it."""
    for size in (2**62, 2**80):
        with pytest.raises((MemoryError, OverflowError)):
            generator.random_bytes(size)


@pytest.mark.parametrize(
    "make",
    [
        bytearray,
        lambda n: array.array("H", bytes(n)),
        lambda n: mmap.mmap(-1, n),
        lambda n: memoryview(bytearray(n + 16))[8:-8],
        lambda n: memoryview(bytearray(n)).cast("B", (2, n // 2)),
    ],
    ids=["bytearray", "array", "mmap", "slice", "two dimensions"],
)
@pytest.mark.parametrize("size", [16, SMALL_BYTES + 2])
def test_fill_overwrites_any_writable_buffer(
    generator: Generator, make: Callable[[int], Any], size: int
) -> None:
    """Of any item size and shape, and all of it."""
    for _ in range(2):  # with and without a block at hand
        buffer = make(size)
        generator.fill(buffer)
        with memoryview(buffer) as view:
            data = view.tobytes()
        # Sixteen zeros in a row have the probability 2^-128 a place.
        assert bytes(16) not in data
        assert len(data) == size


def test_fill_refuses_what_it_cannot_overwrite(generator: Generator) -> None:
    """TypeError for what is read-only or in pieces."""
    for wrong in (bytes(16), memoryview(bytearray(32))[::2], "text", 5):
        with pytest.raises(TypeError):
            generator.fill(wrong)  # type: ignore[arg-type]


def test_a_copy_is_refused(generator: Generator) -> None:
    """TypeError: two of one state would give the same bytes."""
    generator.random_bytes(1)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            way(generator)


@pytest.mark.parametrize("draw", ["small", "large", "fill", "take"])
def test_a_new_epoch_is_a_new_lease(generator: Generator, leases: Leases, draw: str) -> None:
    """After a reseed not one more byte of the old lease is given, whatever the call."""
    for number in range(3, 8):
        generator.random_bytes(1)
        leases.page.generation += 1
        if draw == "take":
            assert generator.take(1) is None
            drawn = generator.random_bytes(24)
        elif draw == "fill":
            buffer = bytearray(24)
            generator.fill(buffer)
            drawn = bytes(buffer)
        else:
            drawn = generator.random_bytes(24 if draw == "small" else SMALL_BYTES + 1)
        assert len(leases.seeds) == number
        assert any(drawn)


def test_a_large_draw_looks_at_the_epoch_again(
    generator: Generator, leases: Leases, mocker: Any
) -> None:
    """Between two of its pieces a reseed is noticed."""
    mocker.patch.object(drbg, "PIECE_BYTES", 100_000)
    generator.random_bytes(1)

    class AndReseed(Keystream):
        def fill(self, out: Any) -> None:
            super().fill(out)
            leases.page.generation += 1

    mocker.patch.object(module, "Keystream", AndReseed)
    generator.random_bytes(400_000)
    assert len(leases.seeds) == 2 + 3


def test_a_generation_between_request_and_reply(generator: Generator, leases: Leases) -> None:
    """A lease that was outdated when it came gives no byte: there is another one at once."""
    generator.random_bytes(1)
    moves = [2, 1]

    def move() -> None:
        if moves:
            moves.pop()
            leases.page.generation += 1

    leases.page.generation += 1
    leases.before = move
    drawn = generator.random_bytes(32)
    assert not moves
    assert len(leases.seeds) == 2 + 3
    assert drawn != reference(leases).read(32)  # the old key is in it as salt


def test_failing_closed_ends_every_lease_at_once(generator: Generator, leases: Leases) -> None:
    """FailedClosed with time and bytes left, at each draw, until there is a seed again."""
    generator.random_bytes(1)
    leases.status = Status.FAILED_CLOSED
    leases.page.state = ServiceState.FAILED
    buffer = bytearray(b"\xaa" * 64)
    for _ in range(3):
        assert generator.take(1) is None
        with pytest.raises(FailedClosed):
            generator.random_bytes(1)
        with pytest.raises(FailedClosed):
            generator.fill(buffer)
        assert not any(buffer)
    leases.status = Status.OK
    leases.page.state = ServiceState.OK
    leases.page.generation += 1
    assert len(generator.random_bytes(16)) == 16


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("limit", [1, 31, 33, 1000])
def test_a_lease_gives_no_more_than_its_bytes(
    generator: Generator, leases: Leases, limit: int, size: int
) -> None:
    """Limits below a block are kept to the byte, also where one draw needs several leases."""
    leases.max_bytes = limit
    total = 0
    drawn = []
    for _ in range(20):
        drawn.append(generator.random_bytes(size))
        total += size
        # The first lease of a connection is asked for once more, and not used.
        assert total <= limit * (len(leases.seeds) - 1)
    assert total > limit * (len(leases.seeds) - 2)
    assert all(len(one) == size for one in drawn)


@pytest.mark.parametrize("limit", [BLOCK_BYTES - 32, BLOCK_BYTES, 1 << 20, (1 << 20) + 5])
def test_a_large_draw_counts(generator: Generator, leases: Leases, limit: int) -> None:
    """Large draws take as many leases as their bytes need, a block of each for their keys."""
    leases.max_bytes = limit
    total = 0
    for _ in range(3):
        generator.random_bytes(3 * limit + 1)
        total += 3 * limit + 1
        assert total <= limit * (len(leases.seeds) - 1)
    # What a lease cannot give is the block that the keys come from.
    assert total >= (limit - BLOCK_BYTES) * (len(leases.seeds) - 2)


def test_blocks_count_too(generator: Generator, leases: Leases) -> None:
    """After its bytes in small draws the lease ends, and not long before."""
    blocks = 3
    leases.max_bytes = blocks * (BLOCK_BYTES - 32)
    for number in range(1, 3):
        for _ in range(blocks * (BLOCK_BYTES - 32) // 32):
            generator.random_bytes(32)
            assert len(leases.seeds) == number + 1


def test_a_lease_ends_with_its_seconds(
    timed: Generator, leases: Leases, clock: list[int]
) -> None:
    """Good until they are over, counted from the request; then the next one."""
    leases.max_seconds = 60
    timed.random_bytes(1)
    asked_at = clock[0]
    clock[0] = asked_at + 60 * SECOND - 1
    timed.random_bytes(1)
    assert len(leases.seeds) == 2
    clock[0] += 1
    assert timed.take(1) is None
    timed.random_bytes(1)
    assert len(leases.seeds) == 3


def test_a_wait_for_the_lease_is_part_of_its_seconds(
    timed: Generator, leases: Leases, clock: list[int]
) -> None:
    """One that came when its seconds were over gives no byte: it is asked for again."""
    leases.max_seconds = 60
    timed.random_bytes(1)
    waits = [1]

    def wait() -> None:
        if waits:
            waits.pop()
            clock[0] += 61 * SECOND

    clock[0] += 60 * SECOND
    leases.before = wait
    timed.random_bytes(1)
    assert len(leases.seeds) == 4


def test_without_the_daemon_the_lease_goes_on_to_its_end(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int]
) -> None:
    """Draws of all sizes until its seconds are over, then DaemonUnavailable, and zeros."""
    leases.max_seconds = 60
    timed.random_bytes(1)
    daemon.stop()
    daemon.path.unlink()
    for _ in range(59):
        clock[0] += SECOND
        assert any(timed.random_bytes(32))
        assert any(timed.random_bytes(SMALL_BYTES + 1))
    clock[0] += SECOND
    for size in (1, 32, SMALL_BYTES + 1):
        assert timed.take(size) is None
        with pytest.raises(DaemonUnavailable):
            timed.random_bytes(size)
    buffer = bytearray(b"\xaa" * 32)
    with pytest.raises(DaemonUnavailable):
        timed.fill(buffer)
    assert not any(buffer)


def test_without_the_daemon_the_lease_goes_on_to_its_last_byte(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """A lease of 1,000 bytes gives 1,000 bytes, and then none."""
    leases.max_bytes = 1000
    generator.random_bytes(100)
    daemon.stop()
    assert [len(generator.random_bytes(100)) for _ in range(9)] == [100] * 9
    for _ in range(2):
        with pytest.raises(DaemonUnavailable):
            generator.random_bytes(1)


def test_without_the_daemon_an_outdated_lease_gives_nothing(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """A reseed whose lease nobody grants any more ends it."""
    generator.random_bytes(1)
    leases.page.generation += 1
    daemon.stop()
    with pytest.raises(DaemonUnavailable):
        generator.random_bytes(1)


def test_a_restart_is_noticed(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int]
) -> None:
    """A second after the look before: a lease of the new daemon, though the old one is good."""
    timed.random_bytes(1)
    daemon.restart()
    timed.random_bytes(1)
    assert len(leases.seeds) == 2
    clock[0] += SECOND
    assert timed.take(1) is None
    timed.random_bytes(1)
    assert len(leases.seeds) == 4
    assert daemon.connections == 2
    clock[0] += SECOND
    timed.random_bytes(1)
    assert len(leases.seeds) == 4


def test_looks_are_a_second_apart(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int], mocker: Any
) -> None:
    """However many draws there are, and a look costs no request."""
    timed.random_bytes(1)
    alive = mocker.patch.object(
        LeaseConnection, "alive", new_callable=mocker.PropertyMock, return_value=True
    )
    for _ in range(10):
        for _ in range(10):
            timed.random_bytes(1)
        clock[0] += SECOND
    assert alive.call_count == 9
    assert len(daemon.requests) == 2


@pytest.mark.parametrize(
    "successor",
    ["not seeded", "over quota", "silent", "nonsense"],
)
def test_a_successor_without_a_lease_does_not_end_the_old_one(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int], successor: str
) -> None:
    """Draws go on, and neither wait for its first seed nor for its answer."""
    timed.random_bytes(1)
    daemon.restart()
    hung = threading.Event()

    def silent(_peer: Any, _request: Any) -> None:
        hung.wait(PATIENCE)

    def nonsense(peer: Any, _request: Any) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def not_seeded(peer: Any, request: Any) -> None:
        assert request.flags == 1  # DONT_BLOCK
        peer.send(encode_reply(Status.NOT_SEEDED, request.tag))

    def over_quota(peer: Any, request: Any) -> None:
        peer.send(encode_reply(Status.OVER_QUOTA, request.tag))

    daemon.handler = {
        "silent": silent,
        "nonsense": nonsense,
        "not seeded": not_seeded,
        "over quota": over_quota,
    }[successor]
    began = time.monotonic()
    for _ in range(3):
        clock[0] += SECOND
        assert any(timed.random_bytes(32))
    assert time.monotonic() - began < PATIENCE / 2
    hung.set()
    daemon.handler = leases
    # A draw waits a moment only for a lease: on a busy machine it may take several.
    while len(leases.seeds) <= 2:
        assert time.monotonic() - began < PATIENCE
        clock[0] += SECOND
        timed.random_bytes(1)
    assert len(daemon.requests) > 2


def test_a_successor_that_fails_closed_ends_the_old_lease(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int]
) -> None:
    """It has looked at the sources; FailedClosed at every draw from then on."""
    timed.random_bytes(1)
    leases.status = Status.FAILED_CLOSED
    daemon.restart()
    clock[0] += SECOND
    for _ in range(3):
        with pytest.raises(FailedClosed):
            timed.random_bytes(1)


def test_a_restart_between_two_leases_is_not_felt(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """A lease that is due is fetched from the new daemon without an error."""
    generator.random_bytes(1)
    daemon.restart()
    leases.page.generation += 1
    assert any(generator.random_bytes(32))
    assert len(leases.seeds) == 4


@pytest.mark.parametrize("wrong", ["no page", "length", "tag", "short", "cut"])
def test_a_bad_reply_gives_no_byte(
    generator: Generator, daemon: FakeDaemon, leases: Leases, wrong: str
) -> None:
    """An exception, zeros, an empty reservoir; and a good daemon is drawn from again."""

    def cut(peer: Any, request: Any) -> None:
        peer.send(encode_reply(Status.OK, request.tag, 56, ReplyFlag.PAGE) + b"\x55" * 30)
        raise Hangup

    def other_tag(peer: Any, _request: Any) -> None:
        peer.send(encode_reply(Status.OK, 5, 56) + bytes(56))

    error: type[HwentropyError] = ProtocolError
    if wrong == "no page":
        leases.fd = None
    elif wrong == "length":
        leases.payload = bytes(60)
    elif wrong == "short":
        leases.payload = bytes(20)
    elif wrong == "tag":
        daemon.handler = other_tag
    else:
        daemon.handler = cut
        error = DaemonUnavailable
    buffer = bytearray(b"\xaa" * 64)
    for _ in range(2):
        with pytest.raises(error):
            generator.fill(buffer)
        assert not any(buffer)
        assert generator.take(1) is None
        assert not any(generator._leased.reservoir.block[64:])
    leases.payload, leases.fd = None, leases.page.fd
    daemon.handler = leases
    assert any(generator.random_bytes(32))


def test_a_bad_renewal_gives_no_byte_of_the_old_lease(
    generator: Generator, leases: Leases
) -> None:
    """The lease was outdated, so whatever comes instead of a new one ends the draws."""
    generator.random_bytes(1)
    leases.page.generation += 1
    leases.payload = bytes(20)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            generator.random_bytes(1)
    leases.payload = None
    assert any(generator.random_bytes(32))


def test_over_quota(generator: Generator, leases: Leases, pauses: list[float]) -> None:
    """The status's own exception, and another try at the next draw."""
    leases.status = Status.OVER_QUOTA
    with pytest.raises(OverQuota):
        generator.random_bytes(1)
    leases.status = Status.OK
    assert any(generator.random_bytes(32))


def test_an_unseeded_daemon_is_waited_for(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """Without a timeout the draw returns when there is a seed."""
    asked_for, seeded = threading.Event(), threading.Event()

    def wait() -> None:
        asked_for.set()
        assert seeded.wait(PATIENCE)

    leases.before = wait
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(generator.random_bytes(32)))
    thread.start()
    assert asked_for.wait(PATIENCE)
    assert leases.request_flags == [0]
    assert not got
    seeded.set()
    thread.join(PATIENCE)
    assert len(got) == 1


def test_a_timeout_ends_the_wait(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """Timeout for every waiting thread about then, not one after the other; no byte."""
    seeded = threading.Event()

    def wait() -> None:
        seeded.wait(PATIENCE)

    leases.before = wait
    generator.configure(path=daemon.path, timeout=0.2)
    errors: list[Exception] = []

    def draw() -> None:
        try:
            generator.random_bytes(1)
        except Timeout as error:
            errors.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=draw) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    seeded.set()
    assert len(errors) == 20
    assert 0.2 <= took < 20 * 0.2 / 2
    assert any(generator.random_bytes(16))


def test_a_timeout_does_not_slow_the_looks(
    timed: Generator, daemon: FakeDaemon, leases: Leases, clock: list[int]
) -> None:
    """With a timeout of half a minute a look takes no time and finds the daemon there."""
    timed.configure(path=daemon.path, timeout=PATIENCE)
    timed.random_bytes(1)
    began = time.monotonic()
    for _ in range(5):
        clock[0] += SECOND
        timed.random_bytes(1)
    assert time.monotonic() - began < PATIENCE / 2
    assert len(leases.seeds) == 2


def test_close_forgets(generator: Generator, daemon: FakeDaemon, leases: Leases) -> None:
    """Zeros in memory, no connection, and a later draw begins anew."""
    generator.random_bytes(1)
    generator.close()
    assert generator.take(0) is None or generator._leased.reservoir.left == 0
    assert generator.take(1) is None
    memory = bytes(generator._leased.reservoir.block)
    assert not any(memory[:32])
    assert not any(memory[64:])
    assert any(generator.random_bytes(16))
    assert daemon.connections == 2


def test_close_does_not_wait_for_a_draw(generator: Generator, leases: Leases) -> None:
    """At exit a thread that waits for the first seed holds nothing up."""
    asked_for, seeded = threading.Event(), threading.Event()

    def wait() -> None:
        asked_for.set()
        assert seeded.wait(PATIENCE)

    leases.before = wait
    thread = threading.Thread(target=generator.random_bytes, args=(1,))
    thread.start()
    assert asked_for.wait(PATIENCE)
    began = time.monotonic()
    generator.close()
    assert time.monotonic() - began < PATIENCE / 2
    seeded.set()
    thread.join(PATIENCE)


def test_no_output_in_logs_and_reprs(
    generator: Generator, leases: Leases, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither seeds nor bytes are in what the generator says of itself."""
    caplog.set_level(0)
    drawn = generator.random_bytes(16)
    leases.page.generation += 1
    generator.random_bytes(16)
    said = repr(vars(generator)) + repr(vars(generator._leased)) + caplog.text
    for secret in (drawn, *leases.seeds):
        assert secret.hex() not in said
        assert repr(secret)[2:-1] not in said


def test_bytes_that_the_daemon_never_saw(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """In lease mode no READ is asked: the daemon does not know what was drawn."""
    for size in (16, SMALL_BYTES + 1, 2 * PIECE_BYTES + 7):
        generator.random_bytes(size)
    assert asked(daemon, Op.READ) == 0
    daemon.handler = honest


def test_the_seed_of_a_lease_does_not_stay_behind(
    generator: Generator, leases: Leases, mocker: MockerFixture
) -> None:
    """Once the generator has taken it, it is overwritten where it was received."""
    granted = mocker.spy(LeaseConnection, "renew")
    generator.random_bytes(32)
    assert any(leases.seeds[-1])
    assert granted.spy_return.lease.seed == bytes(KEY_BYTES)
