"""The entropy pool: what counts, what suffices, what is kept and what is overwritten."""

import math
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.seeding.credit import DIGEST_BITS, Backing
from hwentropyd.seeding.pool import SOURCE_DIGESTS, Contribution, Pool
from support.conditioning import condensed

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
#: The kernel's, and one of which nothing is known.
KERNEL = Backing(256, 60.0, 0.0)


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
    backing: Backing | None = None,
) -> Contribution:
    """A contribution."""
    return Contribution(source, group, bytearray(b"x" * size), bits, started, backing)


def kept(
    contributions: list[tuple[str, str, int, float, float]],
) -> list[tuple[str, str, int, float, float]]:
    """What a pool has room for: of each source the newest."""
    left: list[tuple[str, str, int, float, float]] = []
    for source in {one[0] for one in contributions}:
        left += [one for one in contributions if one[0] == source][-SOURCE_DIGESTS:]
    return left


@given(CONTRIBUTIONS)
def test_a_group_counts_once(
    contributions: list[tuple[str, str, int, float, float]],
) -> None:
    """Its credit is that of its best source, never the sum over its sources."""
    pool = Pool()
    fill(pool, contributions)
    by_source: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for source, group, size, rate, _ in kept(contributions):
        by_source[group][source] += min(size * rate, DIGEST_BITS)
    expected = {group: max(bits.values()) for group, bits in by_source.items()}
    assert pool.group_credits() == {group: bits for group, bits in expected.items() if bits}


@given(CONTRIBUTIONS)
def test_credit_never_exceeds_what_is_kept(
    contributions: list[tuple[str, str, int, float, float]],
) -> None:
    """A seed is credited with at most eight bits for each byte that is in it."""
    pool = Pool()
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
    pool = Pool()
    fill(pool, contributions)
    credits_ = pool.group_credits()
    seed = pool.take()
    assert math.isclose(sum(seed.credited.values()), sum(credits_.values()), abs_tol=1e-6)
    assert seed.groups == credits_.keys()


@given(CONTRIBUTIONS, st.floats(0, 100))
def test_since_looks_at_nothing_older(
    contributions: list[tuple[str, str, int, float, float]], since: float
) -> None:
    """Prediction resistance: only what was begun at or after the request counts."""
    pool, fresh = Pool(), Pool()
    fill(pool, contributions)
    fill(fresh, [one for one in kept(contributions) if one[4] >= since])
    assert pool.group_credits(since) == fresh.group_credits()


def test_take_empties_the_pool() -> None:
    """No material goes into two seeds."""
    pool = Pool()
    pool.add(one())
    assert len(pool.take().materials) == 1
    again = pool.take()
    assert (again.materials, again.credited, again.groups) == ([], {}, frozenset())
    assert not pool.group_credits()


def test_what_is_not_counted_is_mixed_in() -> None:
    """A source without credit has part in the seed and in no group."""
    pool = Pool()
    pool.add(one("b", "h", bits=0.0))
    pool.add(one("a", "g"))
    seed = pool.take()
    assert [label for label, _ in seed.materials] == [b"source a", b"source b"]
    assert seed.credited == {"a": 320.0, "b": 0.0}
    assert seed.groups == {"g"}


def test_samples_are_condensed_on_arrival() -> None:
    """HKDF-SHA-512 takes their place, and they are overwritten at once."""
    pool = Pool()
    given = one(size=1000)
    pool.add(given)
    assert given.data == bytes(1000)
    [(label, data)] = pool.take().materials
    assert (label, data) == (b"source a", condensed(b"x" * 1000))


def test_a_digest_holds_512_bits_and_no_more() -> None:
    """However much was claimed of the samples that went into it."""
    pool = Pool()
    pool.add(one(size=4096, bits=32768.0))
    assert pool.group_credits() == {"g": 512.0}


def test_the_oldest_is_dropped_and_overwritten() -> None:
    """A pool that nobody takes from stays within its bound and leaves nothing behind."""
    pool = Pool()
    for number in range(SOURCE_DIGESTS):
        pool.add(one(bits=1.0, started=float(number)))
    digests = [one.data for one in pool._sources["a"]]
    assert pool.group_credits() == {"g": SOURCE_DIGESTS}
    pool.add(one(bits=8.0, started=1000.0))
    assert digests[0] == bytes(64)
    assert any(digests[1])
    assert pool.group_credits() == {"g": SOURCE_DIGESTS + 7.0}


def test_one_source_pushes_out_no_other() -> None:
    """A quick source does not cost a slow one what it gave."""
    pool = Pool()
    pool.add(one("slow", "slow"))
    for _ in range(2 * SOURCE_DIGESTS):
        pool.add(one("quick", "quick", size=1000))
    assert pool.group_credits()["slow"] == 320.0


def test_the_least_claim_makes_the_largest_seed() -> None:
    """1,024 samples of 1/32 bit, as many batches as a source may have in the pool."""
    pool = Pool()
    for _ in range(SOURCE_DIGESTS):
        pool.add(one(size=1024, bits=1024 / 32))
    assert pool.group_credits() == {"g": 2048.0}


def test_wipe_overwrites_the_material() -> None:
    """Once it is mixed in."""
    pool = Pool()
    for contribution in (one("a"), one("b", size=7)):
        pool.add(contribution)
    seed = pool.take()
    assert all(any(data) for _, data in seed.materials)
    seed.wipe()
    assert [data for _, data in seed.materials] == [bytes(64)] * 2


# What stands behind a source


def test_forty_bytes_of_the_kernel_are_256_bits() -> None:
    """Its generator holds no more, however much is read of it."""
    pool = Pool()
    pool.add(one("os", "kernel", backing=KERNEL))
    pool.add(one("cpu", "kernel", backing=KERNEL))
    assert pool.group_credits() == {"kernel": 256.0}
    for _ in range(20):
        pool.add(one("os", "kernel", size=1000, bits=8000.0, backing=KERNEL))
    assert pool.group_credits() == {"kernel": 256.0}
    seed = pool.take()
    assert math.isclose(seed.bits, 256.0)
    assert math.isclose(sum(seed.brought.values()), 256.0)


def test_a_live_source_is_not_capped_by_its_neighbour() -> None:
    """RDRAND holds 128 bits; RDSEED, of the same group, is noise."""
    pool = Pool()
    pool.add(one("rdrand", "cpu", backing=Backing(128, None, 0.0)))
    assert pool.group_credits() == {"cpu": 128.0}
    pool.add(one("rdseed", "cpu", bits=500.0))
    assert pool.group_credits() == {"cpu": 500.0}


def test_a_source_that_was_once_a_drbg_is_capped_as_one() -> None:
    """What it says of itself may change when it is opened again: the least holds."""
    pool = Pool()
    for backing in (None, Backing(128, None, 0.0), Backing(256, None, 9.0), None):
        pool.add(one(backing=backing))
    assert pool.group_credits() == {"g": 128.0}


def brought(pool: Pool, started: float, backing: Backing, source: str = "os") -> float:
    """New bits of a seed of this source's alone."""
    pool.add(one(source, "kernel", started=started, backing=backing))
    seed = pool.take()
    assert math.isclose(seed.bits, min(320.0, backing.strength))
    return sum(seed.brought.values())


def test_a_generator_brings_what_it_holds_once_a_renewal() -> None:
    """Two seconds of prediction-resistant reads are not credited millions of bits."""
    pool = Pool()
    assert brought(pool, 10.0, KERNEL) == 256.0
    for number in range(800):
        assert brought(pool, 10.0 + number / 400, KERNEL, "os" if number % 2 else "cpu") == 0.0
    assert brought(pool, 69.9, KERNEL) == 0.0
    assert brought(pool, 70.0, KERNEL) == 256.0
    assert brought(pool, 70.1, KERNEL) == 0.0


def test_a_generator_that_is_renewed_nobody_knows_when_brings_it_once_an_opening() -> None:
    """A TPM says nothing of its reseeds; one that was opened again may be another."""
    pool = Pool()
    assert brought(pool, 10.0, Backing(256, None, 1.0)) == 256.0
    assert brought(pool, 1e6, Backing(256, None, 1.0)) == 0.0
    assert brought(pool, 1e6, Backing(256, None, 9.0)) == 0.0
    assert brought(pool, 1e6 + 2, Backing(256, None, 1e6 + 1)) == 256.0


def test_what_is_left_of_a_renewal_is_brought_later() -> None:
    """100 bits now, and no more than the other 156 in the next seed."""
    pool = Pool()
    pool.add(one("os", "kernel", bits=100.0, started=1.0, backing=KERNEL))
    assert pool.take().brought == {"os": 100.0}
    assert brought(pool, 2.0, KERNEL) == 156.0
    assert brought(pool, 3.0, KERNEL) == 0.0


def test_a_renewal_counts_from_the_last_sample_of_a_seed() -> None:
    """Its first one may be of the state before, and the last of the one that was used up."""
    pool = Pool()
    pool.add(one("os", "kernel", bits=100.0, started=0.0, backing=KERNEL))
    assert brought(pool, 70.0, KERNEL) == 256.0
    assert brought(pool, 100.0, KERNEL) == 0.0


def test_the_opening_counts_that_came_with_the_last_samples() -> None:
    """A source that was opened again since the last seed may have been renewed."""
    pool = Pool()
    assert brought(pool, 5.0, Backing(256, None, 5.0)) == 256.0
    assert brought(pool, 6.0, Backing(256, None, 5.0)) == 0.0
    pool.add(one("os", "kernel", started=7.0, backing=Backing(256, None, 5.0)))
    assert brought(pool, 11.0, Backing(256, None, 10.0)) == 256.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["os", "cpu"]), st.floats(0, 30), st.floats(1, 600), st.booleans()
        ),
        max_size=40,
    )
)
def test_all_seeds_together_bring_no_more_than_there_was(
    steps: list[tuple[str, float, float, bool]],
) -> None:
    """256 bits for each renewal of the kernel's that may have been, and those of its start."""
    pool, now, total = Pool(), 0.0, 0.0
    for source, seconds, bits, takes in steps:
        now += seconds
        pool.add(one(source, "kernel", bits=bits, started=now, backing=KERNEL))
        if takes:
            total += sum(pool.take().brought.values())
    assert total <= 256.0 * (1 + now // 60.0) + 1e-6


def test_no_repr_shows_a_byte() -> None:
    """What lands in a log by accident says how much, and nothing of what."""
    contribution = Contribution("a", "g", bytearray(b"MARKER" * 10), 320.0, 0.0)
    pool = Pool()
    assert "MARKER" not in repr(contribution)
    pool.add(contribution)
    assert "MARKER" not in repr(pool.take())


def test_a_source_that_failed_counts_nothing_of_what_it_gave() -> None:
    """Its samples are mixed in all the same; the other sources keep their credit."""
    pool = Pool()
    pool.add(Contribution("sick", "a", bytearray(b"x" * 80), 320.0, 1.0))
    pool.add(Contribution("well", "b", bytearray(b"y" * 80), 100.0, 1.0))
    pool.discredit("sick")
    pool.discredit("nobody")
    assert pool.group_credits() == {"b": 100.0}
    seed = pool.take()
    assert [data for _, data in seed.materials] == [
        condensed(b"x" * 80),
        condensed(b"y" * 80),
    ]
    assert seed.credited == {"sick": 0.0, "well": 100.0}


def test_what_was_begun_too_early_is_mixed_in_uncredited() -> None:
    """A seed that heals counts what was read since it was due, and takes all there is."""
    pool = Pool()
    pool.add(one("os", "kernel", started=1.0))
    pool.add(one("rdseed", "cpu", started=2.0))
    pool.add(one("rdseed", "cpu", bits=100.0, started=3.0))
    assert pool.begun({"kernel", "cpu"}) == {"kernel": 1.0, "cpu": 2.0}
    assert pool.begun({"cpu"}) == {"cpu": 2.0}
    seed = pool.take(since=3.0)
    assert len(seed.materials) == 3
    assert seed.credited == {"os": 0.0, "rdseed": 100.0}
    assert seed.groups == {"cpu"}


def test_a_source_that_fails_twice_counts_nothing_of_what_it_gave_between() -> None:
    """Also where some of what it gave counts nothing already."""
    pool = Pool()
    for _ in range(2):
        pool.add(one())
        assert pool.group_credits() == {"g": 320.0}
        pool.discredit("a")
        assert not pool.group_credits()


def test_what_is_dropped_is_overwritten() -> None:
    """No seed takes it, so nobody else would."""
    pool = Pool()
    pool.add(one())
    [digest] = [kept.data for kept in pool._sources["a"]]
    assert any(digest)
    pool.drop()
    assert digest == bytes(64)
