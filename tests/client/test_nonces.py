"""Nonces: none twice, an end that is an error, and a sequence that no child continues."""

import copy
import ctypes
import itertools
import os
import pickle
import signal
import threading
from collections.abc import Callable

import pytest

from hwentropy import nonces
from hwentropy.errors import DaemonUnavailable, HwentropyError
from hwentropy.nonces import Nonces, NoncesExhausted, nonce


def first_after_fork(sequence: Nonces, fork: Callable[[], int] = os.fork) -> bytes:
    """What a forked child draws first."""
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        # A child that hangs must not hang the test.
        signal.alarm(20)
        os.write(writer, next(sequence))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        drawn = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return drawn


def after(start: bytes, count: int) -> bytes:
    """`start` incremented so often: inc_r of SP 800-38D section 6.2 on all its bits."""
    number = int.from_bytes(start, "big") + count
    return (number % (1 << 8 * len(start))).to_bytes(len(start), "big")


def test_a_sequence_counts_from_a_random_start() -> None:
    """SP 800-38D 8.2.2, no free field: 96 bits from the generator, then each plus 1."""
    asked: list[int] = []

    def draw(size: int) -> bytes:
        asked.append(size)
        return bytes(range(0xF4, 0x100))

    sequence = Nonces(draw=draw)
    drawn = list(itertools.islice(sequence, 300))
    assert drawn == [after(bytes(range(0xF4, 0x100)), n) for n in range(300)]
    assert drawn[0] == bytes(range(0xF4, 0x100))
    assert drawn[1][-3:] == b"\xfd\xff\x00"
    assert asked == [12]
    assert sequence.remaining == 2**32 - 300
    assert sequence.size == 12


def test_the_field_wraps_round_as_a_whole() -> None:
    """inc_r is modulo 2^r: after all ones comes zero, and the count goes on."""
    sequence = Nonces(draw=lambda size: b"\xff" * size)
    assert [next(sequence) for _ in range(3)] == [b"\xff" * 12, bytes(12), after(bytes(12), 1)]


def test_the_random_field_has_the_bits_that_the_section_asks_for() -> None:
    """All 96 bits of the start are the generator's: no part of it is alike in all objects."""
    starts = [int.from_bytes(next(Nonces(draw=os.urandom)), "big") for _ in range(500)]
    ever, always = 0, (1 << 96) - 1
    for start in starts:
        ever |= start
        always &= start
    assert (ever, always) == ((1 << 96) - 1, 0)


@pytest.mark.parametrize(
    ("size", "counter_bytes"), [(5, 1), (12, 4), (12, 8), (24, 8), (16, 2)]
)
def test_sizes(size: int, counter_bytes: int) -> None:
    """The length asked for, and as many as the counter holds."""
    sequence = Nonces(size, counter_bytes=counter_bytes, draw=os.urandom)
    assert sequence.remaining == 256**counter_bytes
    assert len(next(sequence)) == size


@pytest.mark.parametrize(("size", "counter_bytes"), [(7, 4), (4, 0), (12, 9), (0, 1), (12, -1)])
def test_what_could_repeat_is_refused(size: int, counter_bytes: int) -> None:
    """No counter, or less than four bytes more than it."""
    with pytest.raises(ValueError, match="counter"):
        Nonces(size, counter_bytes=counter_bytes, draw=os.urandom)


def test_the_end_is_an_error_and_stays_one() -> None:
    """All 256 are different, then NoncesExhausted; a for loop does not just stop."""
    sequence = Nonces(9, counter_bytes=1, draw=os.urandom)
    drawn: list[bytes] = []
    with pytest.raises(NoncesExhausted, match="new key"):  # noqa: PT012 - which one raises
        for one in sequence:
            drawn.append(one)  # noqa: PERF402 - keeps what came before the error
    assert (len(drawn), len(set(drawn))) == (256, 256)
    assert issubclass(NoncesExhausted, HwentropyError)
    for _ in range(3):
        with pytest.raises(NoncesExhausted):
            next(sequence)
    assert sequence.remaining == 0


def test_objects_of_one_key_do_not_meet() -> None:
    """Each has a start of its own."""
    assert len({next(Nonces(draw=os.urandom)) for _ in range(500)}) == 500


def test_a_child_does_not_continue() -> None:
    """Children, and a child's child, begin somewhere else; the parent goes on."""
    sequence = Nonces(draw=os.urandom)
    first = next(sequence)
    drawn = [first_after_fork(sequence) for _ in range(3)]
    assert next(sequence) == after(first, 1)
    # Eight bytes: those that two starts near each other would share.
    assert len({first[:8], *(one[:8] for one in drawn)}) == 4

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        mine = next(sequence)
        os.write(writer, mine + first_after_fork(sequence) + next(sequence))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        raw = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    ours, grandchild, again = raw[:12], raw[12:24], raw[24:]
    assert len({first[:8], ours[:8], grandchild[:8]}) == 3
    assert again == after(ours, 1)


def test_a_child_of_an_unused_sequence_and_its_parent_differ() -> None:
    """No start is drawn before the fork that both would then use."""
    sequence = Nonces(draw=os.urandom)
    assert first_after_fork(sequence)[:8] != next(sequence)[:8]


def test_a_fork_that_python_is_not_told_of_is_noticed() -> None:
    """fork(2) by way of the C library alone: the kernel empties the page all the same."""
    sequence = Nonces(draw=os.urandom)
    first = next(sequence)
    libc = ctypes.PyDLL(None)
    assert first_after_fork(sequence, libc.fork)[:8] != first[:8]


def test_a_child_is_not_stuck_on_a_lock_of_its_parent() -> None:
    """Forked while another thread draws, the child has a lock of its own."""
    sequence = Nonces(draw=os.urandom)
    next(sequence)
    with sequence._lock:
        drawn = first_after_fork(sequence)
    assert len(drawn) == 12


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_cannot_be_duplicated(duplicate: Callable[[Nonces], object]) -> None:
    """Two of one state would give the same nonces."""
    with pytest.raises(TypeError, match="copied"):
        duplicate(Nonces(draw=os.urandom))


def test_threads_share_one_sequence() -> None:
    """Four threads draw 8,000: none twice, none left out."""
    sequence = Nonces(draw=bytes)
    drawn: list[bytes] = []

    def work() -> None:
        drawn.extend(next(sequence) for _ in range(2000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(drawn) == {after(bytes(12), n) for n in range(8000)}


def test_without_a_start_there_is_no_nonce() -> None:
    """The daemon gives nothing: the error comes through, and the next call tries anew."""
    asked: list[int] = []

    def draw(size: int) -> bytes:
        asked.append(size)
        if len(asked) == 1:
            raise DaemonUnavailable("nobody at home")
        return os.urandom(size)

    sequence = Nonces(draw=draw)
    with pytest.raises(DaemonUnavailable):
        next(sequence)
    assert sequence.remaining == 2**32
    assert next(sequence)[:8] != bytes(8)


def test_its_repr_tells_no_byte() -> None:
    """Nonces are not secret, but those that are not used yet are nobody's business."""
    sequence = Nonces(draw=lambda size: b"\xa5" * size)
    next(sequence)
    assert repr(sequence) == "<Nonces of 12 bytes, 4294967295 left>"


def test_single_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 bytes unless said otherwise, never twice; none of no bytes."""
    monkeypatch.setattr(nonces, "random_bytes", os.urandom)
    assert len(nonce()) == 16
    assert len(nonce(12)) == 12
    assert len({nonce() for _ in range(1000)}) == 1000
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            nonce(wrong)
