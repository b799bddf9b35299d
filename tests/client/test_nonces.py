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


def test_a_sequence_counts_behind_its_prefix() -> None:
    """SP 800-38D 8.2.1: fixed field, then the invocation field, big-endian from 0."""
    sequence = Nonces(draw=lambda size: bytes(range(size)))
    prefix = bytes(range(8))
    drawn = list(itertools.islice(sequence, 300))
    assert drawn == [prefix + n.to_bytes(4, "big") for n in range(300)]
    assert sequence.remaining == 2**32 - 300
    assert sequence.size == 12


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
    """No counter, or a prefix below four bytes."""
    with pytest.raises(ValueError, match="prefix"):
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
    """Each has a prefix of its own."""
    assert len({next(Nonces(draw=os.urandom)) for _ in range(500)}) == 500


def test_a_child_does_not_continue() -> None:
    """Children, and a child's child, begin with other prefixes; the parent goes on."""
    sequence = Nonces(draw=os.urandom)
    prefix = next(sequence)[:8]
    drawn = [first_after_fork(sequence) for _ in range(3)]
    assert next(sequence) == prefix + bytes([0, 0, 0, 1])
    prefixes = {one[:8] for one in drawn}
    assert len(prefixes) == 3
    assert prefix not in prefixes
    assert {one[8:] for one in drawn} == {bytes(4)}

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
    assert len({prefix, ours[:8], grandchild[:8]}) == 3
    assert again == ours[:8] + bytes([0, 0, 0, 1])


def test_a_child_of_an_unused_sequence_and_its_parent_differ() -> None:
    """No prefix is drawn before the fork that both would then use."""
    sequence = Nonces(draw=os.urandom)
    assert first_after_fork(sequence)[:8] != next(sequence)[:8]


def test_a_fork_that_python_is_not_told_of_is_noticed() -> None:
    """fork(2) by way of the C library alone: the kernel empties the page all the same."""
    sequence = Nonces(draw=os.urandom)
    prefix = next(sequence)[:8]
    libc = ctypes.PyDLL(None)
    assert first_after_fork(sequence, libc.fork)[:8] != prefix


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
    sequence = Nonces(draw=os.urandom)
    drawn: list[bytes] = []

    def work() -> None:
        drawn.extend(next(sequence) for _ in range(2000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {int.from_bytes(one[8:], "big") for one in drawn} == set(range(8000))


def test_without_a_prefix_there_is_no_nonce() -> None:
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
    """Nonces are not secret, but prefixes that are not used yet are nobody's business."""
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
