"""The entropy pool: what counts, what suffices, what is kept and what is overwritten."""

import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.seeding.pool import SOURCE_BYTES, Contribution, Pool, SeedPolicy

#: Contributions as (source, group, bytes, bits per byte, started).  A source keeps
#: its group, except for one that moves (hwrng does when the kernel changes device).
CONTRIBUTIONS = st.lists(
    st.tuples(
        st.sampled_from(["os", "cpu", "rdseed", "hwrng", "tpm2"]),
        st.sampled_from(["kernel", "cpu", "tpm0"]),
        st.integers(1, 1500),
        st.sampled_from([0.0, 0.5, 1.0, 4.0, 8.0]),
        st.floats(0, 100),
    ),
    max_size=30,
)
POLICIES = st.builds(SeedPolicy, st.integers(320, 2048), st.integers(1, 16))


def fill(pool: Pool, contributions: list[tuple[str, str, int, float, float]]) -> None:
    """Add them all."""
    for source, group, size, rate, started in contributions:
        pool.add(Contribution(source, group, bytearray(b"x" * size), size * rate, started))


def one(
    source: str = "a",
    group: str = "g",
    *,
    size: int = 40,
    bits: float = 320.0,
    started: float = 0.0,
) -> Contribution:
    """A contribution."""
    return Contribution(source, group, bytearray(b"x" * size), bits, started)


def kept(
    contributions: list[tuple[str, str, int, float, float]],
) -> list[tuple[str, str, int, float, float]]:
    """What a pool has room for: of each source the newest, at least one."""
    left: list[tuple[str, str, int, float, float]] = []
    sizes: dict[str, int] = defaultdict(int)
    closed: set[str] = set()
    for contribution in reversed(contributions):
        source, size = contribution[0], contribution[2]
        if source in closed or (sizes[source] and sizes[source] + size > SOURCE_BYTES):
            closed.add(source)
            continue
        sizes[source] += size
        left.append(contribution)
    return left[::-1]


@given(CONTRIBUTIONS)
def test_a_group_counts_once(
    contributions: list[tuple[str, str, int, float, float]],
) -> None:
    """Its credit is that of its best source, never the sum over its sources."""
    pool = Pool(SeedPolicy())
    fill(pool, contributions)
    by_source: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for source, group, size, rate, _ in kept(contributions):
        by_source[group][source] += size * rate
    expected = {group: max(bits.values()) for group, bits in by_source.items()}
    assert pool.group_credits() == {group: bits for group, bits in expected.items() if bits}


@given(CONTRIBUTIONS)
def test_credit_never_exceeds_what_is_kept(
    contributions: list[tuple[str, str, int, float, float]],
) -> None:
    """A seed is credited with at most eight bits for each byte that is in it."""
    pool = Pool(SeedPolicy())
    fill(pool, contributions)
    seed = pool.take()
    held: dict[str, int] = defaultdict(int)
    for label, data in seed.materials:
        held[label.decode().removeprefix("source ")] += len(data)
    for source, bits in seed.credited.items():
        assert bits <= 8 * held[source] + 1e-6
    assert set(held) == {source for source, *_ in contributions}


@given(CONTRIBUTIONS)
def test_what_sources_are_credited_with_adds_up_to_their_groups(
    contributions: list[tuple[str, str, int, float, float]],
) -> None:
    """Status shows no bit twice either: the shares of the sources are the groups' credit."""
    pool = Pool(SeedPolicy())
    fill(pool, contributions)
    credits_ = pool.group_credits()
    seed = pool.take()
    assert math.isclose(sum(seed.credited.values()), sum(credits_.values()), abs_tol=1e-6)
    assert seed.groups == credits_.keys()


@given(CONTRIBUTIONS, POLICIES)
def test_sufficient_without_any_min_groups_less_one_groups(
    contributions: list[tuple[str, str, int, float, float]], policy: SeedPolicy
) -> None:
    """Full strength is left whichever groups, one fewer than min_groups, an attacker knows."""
    pool = Pool(policy)
    fill(pool, contributions)
    bits = sorted(pool.group_credits().values(), reverse=True)
    left = sum(bits[policy.min_groups - 1 :])
    assert pool.sufficient() == (left >= policy.min_bits)


@pytest.mark.parametrize("min_groups", range(1, 17))
def test_never_sufficient_with_fewer_groups_than_asked_for(min_groups: int) -> None:
    """However much each of them gives; and sufficient with one more."""
    pool = Pool(SeedPolicy(min_bits=320, min_groups=min_groups))
    for number in range(min_groups - 1):
        pool.add(one(f"s{number}", f"g{number}", size=4096, bits=32768.0))
        assert not pool.sufficient()
    pool.add(one("last", "last"))
    assert pool.sufficient()


@given(CONTRIBUTIONS, st.floats(0, 100))
def test_since_looks_at_nothing_older(
    contributions: list[tuple[str, str, int, float, float]], since: float
) -> None:
    """Prediction resistance: only what was begun at or after the request counts."""
    pool, fresh = Pool(SeedPolicy()), Pool(SeedPolicy())
    fill(pool, contributions)
    fill(fresh, [one for one in kept(contributions) if one[4] >= since])
    assert pool.group_credits(since) == fresh.group_credits()
    assert pool.sufficient(since) == fresh.sufficient()


def test_take_empties_the_pool() -> None:
    """No material goes into two seeds."""
    pool = Pool(SeedPolicy())
    pool.add(one())
    assert len(pool.take().materials) == 1
    again = pool.take()
    assert (again.materials, again.credited, again.groups) == ([], {}, frozenset())
    assert not pool.sufficient()


def test_what_is_not_counted_is_mixed_in() -> None:
    """A source without credit has part in the seed and in no group."""
    pool = Pool(SeedPolicy())
    pool.add(one("b", "h", bits=0.0))
    pool.add(one("a", "g"))
    seed = pool.take()
    assert [label for label, _ in seed.materials] == [b"source a", b"source b"]
    assert seed.credited == {"a": 320.0, "b": 0.0}
    assert seed.groups == {"g"}


def test_the_oldest_is_dropped_and_overwritten() -> None:
    """A pool that nobody takes from stays within its bound and leaves nothing behind."""
    pool = Pool(SeedPolicy())
    first, second = one(size=SOURCE_BYTES), one(size=1, bits=8.0)
    pool.add(first)
    assert first.data == b"x" * SOURCE_BYTES
    pool.add(second)
    assert first.data == bytes(SOURCE_BYTES)
    assert second.data == b"x"
    assert pool.group_credits() == {"g": 8.0}


def test_one_source_pushes_out_no_other() -> None:
    """A quick source does not cost a slow one what it gave."""
    pool = Pool(SeedPolicy())
    slow = one("slow", "slow")
    pool.add(slow)
    for _ in range(100):
        pool.add(one("quick", "quick", size=1000))
    assert slow.data == b"x" * 40
    assert pool.group_credits()["slow"] == 320.0


def test_a_batch_larger_than_the_bound_is_kept_whole() -> None:
    """A source that claims very little would never make a seed otherwise."""
    pool = Pool(SeedPolicy())
    pool.add(one(size=3 * SOURCE_BYTES))
    assert pool.sufficient()


def test_wipe_overwrites_the_material() -> None:
    """Once it is mixed in."""
    pool = Pool(SeedPolicy())
    contributions = [one("a"), one("b", size=7)]
    for contribution in contributions:
        pool.add(contribution)
    pool.take().wipe()
    assert [contribution.data for contribution in contributions] == [bytes(40), bytes(7)]


def test_no_repr_shows_a_byte() -> None:
    """What lands in a log by accident says how much, and nothing of what."""
    contribution = Contribution("a", "g", bytearray(b"MARKER" * 10), 320.0, 0.0)
    pool = Pool(SeedPolicy())
    assert "MARKER" not in repr(contribution)
    pool.add(contribution)
    assert "MARKER" not in repr(pool.take())


def test_a_source_that_failed_counts_nothing_of_what_it_gave() -> None:
    """Its samples are mixed in all the same; the other sources keep their credit."""
    pool = Pool(SeedPolicy())
    pool.add(Contribution("sick", "a", bytearray(b"x" * 80), 320.0, 1.0))
    pool.add(Contribution("well", "b", bytearray(b"y" * 80), 100.0, 1.0))
    assert pool.sufficient()
    pool.discredit("sick")
    pool.discredit("nobody")
    assert not pool.sufficient()
    assert pool.group_credits() == {"b": 100.0}
    seed = pool.take()
    assert sorted(bytes(data) for _, data in seed.materials) == [b"x" * 80, b"y" * 80]
    assert seed.credited == {"sick": 0.0, "well": 100.0}
