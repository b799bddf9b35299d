"""The lane tests: what is stuck or biased at one place of the reads, and nothing else."""

import random
from collections.abc import Callable

import pytest

from hwentropy_sources.contract import Claim
from hwentropy_sources.health import Alarm, Finding, HealthTests, Level, cutoffs
from hwentropy_sources.health.lanes import LANE_SHARE, LaneTest

LOW, HIGH = Level.INTERMITTENT, Level.PERMANENT
KEY = bytes(32)


def claim(entropy: float, bits: int = 8, *, whitened: bool = True) -> Claim:
    return Claim(bits, entropy, "a figure for this test", whitened=whitened)


def findings(
    said: Claim, size: int, reads: int, spoil: Callable[[bytearray, int], None]
) -> list[Finding]:
    """All findings in so many reads of noise, spoilt, up to and including a permanent one."""
    noise, test, all_found = random.Random(size), LaneTest(said), list[Finding]()
    for number in range(reads):
        read = bytearray(noise.randbytes(size))
        spoil(read, number)
        found = test.scan(read, number * size)
        if found is not None:
            all_found.append(found)
            if found.level is HIGH:
                break
    return all_found


def stuck(*places: int) -> Callable[[bytearray, int], None]:
    def spoil(read: bytearray, _: int) -> None:
        for place in places:
            read[place] = 7

    return spoil


@pytest.mark.parametrize(("entropy", "size"), [(8.0, 40), (4.0, 80), (1.0, 320)])
def test_a_stuck_place_raises_the_rct_at_its_cutoffs(entropy: float, size: int) -> None:
    """The first watched place: an alarm at each cut-off, counted in reads."""
    said = claim(entropy)
    low, high = (cutoffs.rct_cutoff(entropy, level) for level in (LOW, HIGH))
    assert findings(said, size, 61, stuck(0)) == [
        Finding(Alarm.LANE_RCT, LOW, low, low, (low - 1) * size + 1, entropy),
        Finding(Alarm.LANE_RCT, HIGH, high, high, (high - 1) * size + 1, entropy),
    ]


@pytest.mark.parametrize("place", range(80))
def test_every_place_of_a_read_gets_its_turn(place: int) -> None:
    """Within eight watches of 61 reads, whichever place is stuck."""
    found = findings(claim(4), 80, 8 * 61, stuck(place))
    assert found[-1].level is HIGH
    assert (found[-1].samples - 1) % 80 == place
    assert found[-1].samples <= 80 * (place % LANE_SHARE * 61 + 16)


@pytest.mark.parametrize("word", range(10))
def test_a_stuck_word_is_found_in_the_watch_that_stands(word: int) -> None:
    """One of its bytes is watched, in every watch."""
    found = findings(claim(4), 80, 16, stuck(*range(8 * word, 8 * word + 8)))
    assert [one.level for one in found] == [LOW, HIGH]


@pytest.mark.parametrize("entropy", [8.0, 4.0, 3.0])
def test_a_biased_place_raises_the_apt_alone(entropy: float) -> None:
    """Two values in turn at one place: no run, and half of a watch equals its first."""
    found = findings(claim(entropy), 80, 61, lambda read, number: stuck_at(read, number % 2))
    cutoff = cutoffs.exact_apt_cutoff(entropy, 61, LOW)
    assert cutoff <= 31
    assert found[0] == Finding(
        Alarm.LANE_APT, LOW, cutoff, cutoff, 2 * (cutoff - 1) * 80 + 1, entropy
    )
    assert {one.alarm for one in found} == {Alarm.LANE_APT}
    assert len({one.level for one in found}) == len(found)


def stuck_at(read: bytearray, value: int) -> None:
    read[0] = value


def test_each_level_is_raised_once() -> None:
    """After the intermittent alarm a run is silent until the permanent one."""
    assert len(findings(claim(1), 320, 61, stuck(0))) == 2
    assert len(findings(claim(1), 320, 60, stuck(0))) == 1


def test_a_run_begins_anew_with_another_value() -> None:
    """Each value twice is 30 runs of two, and no run of 31."""

    def twice(read: bytearray, number: int) -> None:
        read[0] = number // 2

    assert findings(claim(8), 40, 61, twice) == []


def test_a_run_counts_from_its_own_first_sample() -> None:
    """The place is stuck from the sixth read on."""
    low = cutoffs.rct_cutoff(8, LOW)

    def late(read: bytearray, number: int) -> None:
        read[0] = number if number < 5 else 77

    found = findings(claim(8), 40, 61, late)
    assert found[0] == Finding(Alarm.LANE_RCT, LOW, low, low, (5 + low - 1) * 40 + 1, 8.0)


def test_of_two_places_the_first_is_named_and_the_graver() -> None:
    """Where both are stuck from the start, and where the second was before the first."""
    low, high = (cutoffs.rct_cutoff(8, level) for level in (LOW, HIGH))
    both = findings(claim(8), 40, 61, stuck(0, 8))
    assert [one.samples for one in both] == [(low - 1) * 40 + 1, (high - 1) * 40 + 1]

    def one_later(read: bytearray, number: int) -> None:
        read[0] = 7 if number >= high - low else number + 100
        read[8] = 7

    graver = findings(claim(8), 40, 61, one_later)[-1]
    assert (graver.level, graver.samples) == (HIGH, (high - 1) * 40 + 9)


def test_a_run_that_completes_a_count_is_told_as_the_run() -> None:
    """One fault, one alarm: it comes to both cut-offs with the same read."""
    low, due = cutoffs.rct_cutoff(8, LOW), cutoffs.exact_apt_cutoff(8, 61, LOW)
    spread = 2 * (due - low)

    def spoil(read: bytearray, number: int) -> None:
        read[0] = 7 if number >= spread or number % 2 == 0 else number + 100

    assert [one.alarm for one in findings(claim(8), 40, spread + low, spoil)] == [
        Alarm.LANE_RCT
    ]


def test_no_run_stands_before_the_first_read() -> None:
    """A source that was just opened is clean."""
    assert not LaneTest(claim(8)).run_stands


def test_a_run_stands_until_it_ends() -> None:
    """While the place stays stuck, what is read is not clean."""
    test, noise = LaneTest(claim(4)), random.Random(1)
    stands: list[bool] = []
    for number in range(12):
        read = bytearray(noise.randbytes(80))
        if number < 10:
            read[0] = 7
        test.scan(read, 0)
        stands.append(test.run_stands)
    assert stands == [False] * 8 + [True] * 2 + [False] * 2


@pytest.mark.parametrize(("bits", "entropy"), [(16, 8.0), (32, 16.0), (64, 32.0)])
def test_wide_samples_have_lanes_too(bits: int, entropy: float) -> None:
    """The sample at one place is stuck: 2, 4 or 8 bytes."""
    wide = bits // 8
    found = findings(claim(entropy, bits), 16 * wide, 61, stuck(*range(wide)))
    assert found[-1].alarm is Alarm.LANE_RCT
    assert found[-1].samples == (found[-1].count - 1) * 16 + 1


def test_reads_of_other_lengths_begin_a_new_watch() -> None:
    """Places of reads that are cut otherwise are not compared."""
    test = LaneTest(claim(8))
    for number in range(40):
        assert test.scan(b"\x07" * (40 + number % 2), 0) is None


def test_a_short_read_ends_a_watch() -> None:
    """What comes after it may be cut otherwise."""
    test = LaneTest(claim(8))
    for number in range(80):
        assert test.scan(b"\x07" * (7 if number % 2 else 40), 0) is None


def test_eight_samples_have_lanes() -> None:
    """As many as share a watch; the first is stuck."""
    assert findings(claim(8), LANE_SHARE, 61, stuck(0))[-1].level is HIGH


def test_short_reads_have_no_lanes() -> None:
    """Fewer than eight samples, or one cut in two, are left to the other tests."""
    test = LaneTest(claim(8))
    assert [test.scan(bytes(7), 0) for _ in range(40)] == [None] * 40
    wide = LaneTest(claim(16, 16))
    assert [wide.scan(bytes(33), 0) for _ in range(40)] == [None] * 40


def test_a_stuck_source_is_left_to_the_rct() -> None:
    """One fault, one alarm: the sample RCT is there long before."""
    tests = HealthTests(claim(4), KEY)
    alarms = {found.alarm for _ in range(40) if (found := tests.feed(bytes(80)))}
    assert alarms == {Alarm.RCT}


def test_sound_reads_raise_nothing() -> None:
    """Four million samples at the full claim."""
    noise = random.Random(2)
    for said, size in ((claim(8), 40), (claim(4), 80), (claim(1), 320)):
        test = LaneTest(said)
        for _ in range(4_000_000 // 3 // size):
            assert test.scan(noise.randbytes(size), 0) is None


@pytest.mark.parametrize("bits", [8, 64])
def test_an_eighth_of_a_read_is_kept_and_overwritten(bits: int) -> None:
    """Of the last read, and of the first of the watch; what they replace is zeros then."""
    wide = bits // 8
    test = LaneTest(claim(bits / 2, bits))
    data = random.Random(3).randbytes(160 * wide)
    kept: list[bytearray] = []
    for at in (0, 80 * wide):
        test.scan(data[at : at + 80 * wide], 0)
        kept = [
            one
            for name in LaneTest.__slots__
            if isinstance(one := getattr(test, name), bytearray)
        ]
        assert [len(one) for one in kept] == [10 * wide] * 2
    for at, one in zip((0, 80), kept, strict=True):
        samples = [data[wide * n : wide * (n + 1)] for n in range(at, at + 80, LANE_SHARE)]
        assert one == b"".join(samples)
    for _ in range(61):
        test.scan(random.Random(4).randbytes(80 * wide), 0)
    assert kept == [bytearray(10 * wide)] * 2


@pytest.mark.parametrize("words", [(1, 2, 3), (1,), (0, 2), (2,)])
@pytest.mark.parametrize("reply", [32, 64])
@pytest.mark.parametrize("entropy", [8.0, 4.0])
def test_stuck_words_of_a_reply_are_found(
    words: tuple[int, ...], reply: int, entropy: float
) -> None:
    """A TPM whose replies have stuck words, also where each read begins with a whole one.

    In a million samples of replies with three of four words stuck the tests over windows
    of 512 saw nothing: every window began with the word that is not.
    """
    noise = random.Random(reply)
    for size in (reply, int(320 / entropy)):
        tests = HealthTests(claim(entropy), KEY)
        seen = 0
        while True:
            read = bytearray()
            while len(read) < size:
                answer = bytearray(noise.randbytes(reply))
                for word in words:
                    answer[8 * word : 8 * word + 8] = b"\x01\x02\x03\x04\x05\x06\x07\x08"
                read += answer[: size - len(read)]
            seen += size
            if tests.feed(read) is not None:
                break
            assert seen < 20_000
        assert seen <= 16 * size
