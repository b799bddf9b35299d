"""UUIDs of version 4 and 7 against RFC 9562."""

import os
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy import identifiers
from hwentropy.identifiers import Version7, token_uuid4, token_uuid7
from support.uniformity import LIMIT

MS = 1_000_000


def milliseconds(one: uuid.UUID) -> int:
    """RFC 9562 section 5.7: the 48 highest bits."""
    return one.int >> 80


def counter(one: uuid.UUID) -> int:
    """The 12 bits of rand_a."""
    return one.int >> 64 & 0xFFF


class Clock:
    """Unix time in nanoseconds that stands until it is set."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def test_version_7_of_the_rfc() -> None:
    """The test vector of RFC 9562 appendix A.6: its time, its rand_a CC3, its rand_b.

    Its rand_a has the highest bit set, with which no counter of ours starts, so
    it is reached by counting: 0x4C3 first, then 0x800 more in the same millisecond.
    """
    rand_b = 0x18C4DC0C0C07398F
    drawn = (0x4C3 << 62 | rand_b).to_bytes(10, "big")
    made = Version7(Clock(0x017F22E279B0 * MS), lambda size: drawn[:size])
    for _ in range(0x800):
        made.make()
    assert str(made.make()) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_version_4_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9562 appendix A.3: its random bits give its UUID."""
    raw = bytes.fromhex("919108f752d133205bacf847db4148a8")
    monkeypatch.setattr(identifiers, "random_bytes", lambda size: raw[:size])
    assert str(token_uuid4()) == "919108f7-52d1-4320-9bac-f847db4148a8"


def test_version_and_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the standard library reads them; and 500 of each are all different."""
    monkeypatch.setattr(identifiers, "random_bytes", os.urandom)
    for make, version in ((token_uuid4, 4), (token_uuid7, 7)):
        made = [make() for _ in range(500)]
        assert {one.version for one in made} == {version}
        assert {one.variant for one in made} == {uuid.RFC_4122}
        assert len(set(made)) == 500


def test_every_free_bit_of_version_4_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """122 bits, each within six sigmas of half of 1,000; the other six never move."""
    monkeypatch.setattr(identifiers, "random_bytes", os.urandom)
    made = [token_uuid4().int for _ in range(1000)]
    counts = [sum(one >> bit & 1 for one in made) for bit in range(128)]
    fixed = [bit for bit, count in enumerate(counts) if count in {0, 1000}]
    assert fixed == [62, 63, 76, 77, 78, 79]
    # 1,000 fair coins: mean 500, sigma sqrt(1000)/2 = 15.8.
    assert all(abs(c - 500) < LIMIT * 15.8 for bit, c in enumerate(counts) if bit not in fixed)


@given(st.lists(st.integers(-5 * MS, 5 * MS), min_size=1, max_size=60))
def test_version_7_grows_whatever_the_clock_does(steps: list[int]) -> None:
    """Standing, jumping and going back: always above the last, never ahead without cause."""
    clock = Clock(2**60)
    made = Version7(clock, os.urandom)
    last, highest = uuid.UUID(int=0), 0
    for step in steps:
        clock.now += step
        highest = max(highest, clock.now // MS)
        one = made.make()
        assert one > last
        # 60 fit into the 2,048 that a millisecond has at least.
        assert milliseconds(one) == highest
        last = one


def test_a_full_counter_moves_the_time_ahead() -> None:
    """Past 4,095 the embedded time is one millisecond on, and order holds (section 6.2)."""
    clock = Clock(1_700_000_000_000 * MS)
    made = Version7(clock, lambda size: b"\xff" * size)
    uuids = [made.make() for _ in range(2049)]
    assert [counter(one) for one in uuids[:2]] == [0x7FF, 0x800]
    assert (milliseconds(uuids[2047]), counter(uuids[2047])) == (1_700_000_000_000, 0xFFE)
    uuids += [made.make() for _ in range(2)]
    assert (milliseconds(uuids[-1]), counter(uuids[-1])) == (1_700_000_000_001, 1)
    assert uuids == sorted(uuids)
    # The clock reaches the time that is in use already: counted on, not begun anew.
    clock.now += MS
    assert counter(made.make()) == 2
    clock.now += MS
    assert (milliseconds(made.make()), counter(made.make())) == (1_700_000_000_002, 0x800)


def test_neighbours_share_only_time_and_counter() -> None:
    """The 62 bits below the counter are drawn anew for each of one millisecond."""
    made = Version7(Clock(2**60), os.urandom)
    uuids = [made.make() for _ in range(300)]
    assert {milliseconds(one) for one in uuids} == {2**60 // MS}
    assert len({one.int & (1 << 62) - 1 for one in uuids}) == 300


def test_the_year_10889_is_refused() -> None:
    """A time past 48 bits raises rather than wrap to 1970."""
    made = Version7(Clock((1 << 48) * MS), os.urandom)
    with pytest.raises(OverflowError, match="version 7"):
        made.make()


def test_threads_share_one_order() -> None:
    """Four threads, each grows strictly, and no two of 4,000 are alike."""
    made = Version7(draw=os.urandom)
    per_thread: list[list[uuid.UUID]] = [[] for _ in range(4)]

    def work(mine: list[uuid.UUID]) -> None:
        mine.extend(made.make() for _ in range(1000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in per_thread]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in per_thread)
    assert len({one for mine in per_thread for one in mine}) == 4000


def test_a_child_is_not_stuck_on_a_lock_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked while the lock is held, the child makes UUIDs, others than its parent's."""
    monkeypatch.setattr(identifiers, "random_bytes", os.urandom)
    reader, writer = os.pipe()
    with identifiers._process._lock:
        child = os.fork()
    if child == 0:
        os.write(writer, token_uuid7().bytes)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 16
    assert token_uuid7().bytes != theirs
