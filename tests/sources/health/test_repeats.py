"""The repeat test: what comes again is found, where and how soon it says; nothing is kept."""

import gc
import random

import pytest

from hwentropy_sources.contract import Claim
from hwentropy_sources.health import Alarm, Finding, HealthTests, Level, repeats
from hwentropy_sources.health.repeats import BLOCKS, KEY_BYTES, RepeatTest

KEY = bytes(range(KEY_BYTES))
WINDOW = BLOCKS * 16


def claim(bits: int = 8, entropy: float | None = None) -> Claim:
    return Claim(bits, entropy if entropy is not None else bits, "a figure for this test")


def found_at(data: bytes, read: int, said: Claim | None = None) -> int | None:
    """The sample at which the first finding in these reads is raised."""
    test = RepeatTest(said or claim(), KEY)
    for start in range(0, len(data) - read + 1, read):
        finding = test.scan(data[start : start + read], start)
        if finding is not None:
            assert (finding.alarm, finding.level) == (Alarm.REPEAT, Level.PERMANENT)
            return finding.samples
    return None


def longest_wait(read: int, shift: int) -> int:
    """Reads until a block looked up repeats a kept one, whatever the first extra place is.

    `shift` is the period's place in a read: the block at q is that at q - shift of a
    read before.
    """
    kept, places = set(range(0, read - 15, 16)), read - 15
    if any((place - shift) % read in kept for place in kept):
        return 1
    met = [place for place in range(places) if (place - shift) % read in kept]
    return max(
        (after - before - 1) % places + 1
        for before, after in zip(met, [*met[1:], met[0]], strict=True)
    )


@pytest.mark.parametrize("read", [40, 64, 80, 160, 320, 640, 1024])
def test_every_period_is_met_within_32_reads(read: int) -> None:
    """By the places of the blocks alone, for every period that there can be."""
    assert max(longest_wait(read, shift) for shift in range(read)) <= 32


@pytest.mark.parametrize("entropy", [8.0, 4.0, 1.0])
@pytest.mark.parametrize(
    "period",
    [
        *(16, 17, 31, 32, 40, 41, 64, 80, 511, 512, 2039, 2048, 4088, 4093, 4096, 8191),
        *(32_768, 65_519, 65_535, 65_536),
    ],
)
def test_a_period_is_found_whatever_h_is(period: int, entropy: float) -> None:
    """Within 33 reads of the second period, at every claim."""
    read = int(320 / entropy)
    block = random.Random(period).randbytes(period)
    stream = block * (-(-(period + 40 * read) // period) + 1)
    found = found_at(stream, read, claim(8, entropy))
    assert found is not None
    assert found <= period + 34 * read


@pytest.mark.parametrize("read", [40, 80, 320])
def test_a_read_that_is_given_again_is_found_at_once(read: int) -> None:
    """Also as the last thing that the table still holds, and with one block of it alone."""
    noise = random.Random(read)
    first = noise.randbytes(read)
    between = noise.randbytes(read * (BLOCKS // (read // 16) - 1))
    assert found_at(first + between + first, read) == len(first + between) + 16
    changed = bytearray(first)
    changed[0] ^= 1
    assert found_at(first + between + changed, read) == (
        len(first + between) + 32 if read >= 32 else None
    )


def test_what_is_older_than_the_table_is_forgotten() -> None:
    """A block that comes again after many more than 4,096 is not found."""
    noise = random.Random(3)
    first = noise.randbytes(64)
    assert found_at(first + noise.randbytes(64 * 8192) + first, 64) is None


@pytest.mark.parametrize(("bits", "samples"), [(1, 128), (3, 43), (4, 32), (8, 16), (64, 2)])
def test_a_block_has_128_bits_of_samples(bits: int, samples: int) -> None:
    """Narrow samples make a longer block: 16 bytes of one bit each come again by chance."""
    noise = random.Random(bits)
    wide = max(1, bits // 8)
    block = bytes(byte >> max(0, 8 - bits) for byte in noise.randbytes(samples * wide))
    other = bytes(byte >> max(0, 8 - bits) for byte in noise.randbytes(samples * wide))
    assert found_at(block + other + block, len(block), claim(bits)) == 3 * samples
    short = len(block) - wide
    assert found_at((block[:short] + other[:short]) * 2, short, claim(bits)) is None


def test_only_whitened_sources_are_tested() -> None:
    """Raw noise of little entropy may well give a block twice."""
    block = random.Random(5).randbytes(64)
    raw = HealthTests(Claim(8, 0.5, "a figure for this test", whitened=False), KEY)
    assert raw.feed(block) is None
    assert raw.feed(block) is None
    whitened = HealthTests(claim(8, 0.5), KEY)
    assert whitened.feed(block) is None
    assert whitened.feed(block) == Finding(Alarm.REPEAT, Level.PERMANENT, 2, 2, 80, 128)


def test_one_sample_over_and_over_is_left_to_the_rct() -> None:
    """A stuck source is told as such, whatever it claims."""
    assert found_at(bytes(1000), 40) is None
    assert found_at(b"\x01\x02" * 500, 40) == 32


def test_sound_reads_raise_nothing_under_any_key() -> None:
    """Two million bytes in reads of 40, half of them tested twice."""
    noise = random.Random(6)
    for _ in range(4):
        test = RepeatTest(claim(), noise.randbytes(KEY_BYTES))
        for at in range(0, 500_000, 40):
            assert test.scan(noise.randbytes(40), at) is None


def test_the_table_is_bounded() -> None:
    """256 rows of at most 40 tags of 10 bytes, however much is fed."""
    test = RepeatTest(claim(), KEY)
    noise = random.Random(7)
    for at in range(0, 400_000, 1024):
        test.scan(noise.randbytes(1024), at)
    rows = test._rows  # pyright: ignore[reportPrivateUsage]
    assert len(rows) == repeats.ROWS
    assert {len(row) for row in rows} == {repeats.ROW_TAGS * repeats.TAG_BYTES}


def test_no_sample_is_kept() -> None:
    """Nothing that the test refers to holds four bytes in a row of what was read."""
    data = random.Random(8).randbytes(4096)
    test = RepeatTest(claim(), KEY)
    for at in range(0, len(data), 64):
        test.scan(data[at : at + 64], at)
    pieces = {data[at : at + 4] for at in range(len(data) - 3)}
    held: list[bytes] = []
    todo: list[object] = [test]
    seen: set[int] = set()
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, (bytes, bytearray)):
            held.append(bytes(thing))
        todo += gc.get_referents(thing)
    assert len(held) > 100
    for one in held:
        assert not any(one[at : at + 4] in pieces for at in range(len(one) - 3))


def test_another_key_makes_another_table() -> None:
    """The hashes are keyed: what is kept of the same reads differs."""
    data = random.Random(9).randbytes(64)
    tables: list[list[bytes]] = []
    for key in (KEY, KEY, bytes(KEY_BYTES)):
        test = RepeatTest(claim(), key)
        test.scan(data, 0)
        tables.append(list(test._rows))  # pyright: ignore[reportPrivateUsage]
    assert tables[0] == tables[1] != tables[2]


def test_less_than_a_block_may_come_again() -> None:
    """The end of each read is the same half block, which happens once in 2^64 by chance."""
    noise = random.Random(3)
    data = b"".join(noise.randbytes(32) + bytes(range(8)) for _ in range(1000))
    assert found_at(data, 40) is None
