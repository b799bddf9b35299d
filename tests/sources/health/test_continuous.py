"""The continuous tests: each alarm at its threshold, and no other; feeding; escalation."""

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwentropy_sources.contract import Claim
from hwentropy_sources.health import Alarm, Finding, HealthTests, Level, cutoffs
from hwentropy_sources.health.streams import StreamTest, sample_test, word_test

LOW, HIGH = Level.INTERMITTENT, Level.PERMANENT
#: Of the repeat test; nothing here depends on it.
KEY = bytes(range(32))


def claim(entropy: float, bits: int = 8, *, whitened: bool = False) -> Claim:
    return Claim(bits, entropy, "a figure for this test", whitened=whitened)


def one_by_one(tests: HealthTests, data: Iterable[int]) -> list[Finding]:
    """Every finding of a byte-by-byte feed, up to and including a permanent one."""
    findings: list[Finding] = []
    for byte in data:
        finding = tests.feed(bytes([byte]))
        if finding is not None:
            findings.append(finding)
            if finding.level is HIGH:
                break
    return findings


def raised(findings: Iterable[Finding]) -> list[tuple[Alarm, Level]]:
    return [(finding.alarm, finding.level) for finding in findings]


def biased_window(matches: int, window: int, values: int, seed: int) -> bytes:
    """A window with `matches` zeros, the first included, spread evenly; the rest is random."""
    noise = random.Random(seed)
    zeros = {index * window // matches for index in range(matches)}
    data = bytearray()
    for index in range(window):
        if index in zeros:
            data.append(0)
        else:
            # Never equal to its predecessor, so that only the proportion is off.
            data.append(noise.choice([v for v in range(1, values) if v != (data or b"\0")[-1]]))
    return bytes(data)


# Repetition count test


@pytest.mark.parametrize("bits", [1, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("share", [0.01, 0.02929688, 0.05, 0.1, 0.1171875, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("whitened", [False, True])
def test_stuck_source_raises_rct_and_no_other(
    bits: int, share: float, *, whitened: bool
) -> None:
    """A stuck source raises rct at its two cut-offs, and nothing else on the way."""
    said = claim(share * bits if bits > 8 else share, bits, whitened=whitened)
    low, high = (cutoffs.rct_cutoff(said.min_entropy, level) for level in (LOW, HIGH))
    findings = one_by_one(HealthTests(said, KEY), bytes((high + 9) * said.sample_bytes))
    expected = [(Alarm.RCT, HIGH)] if low == high else [(Alarm.RCT, LOW), (Alarm.RCT, HIGH)]
    assert raised(findings) == expected
    assert [finding.count for finding in findings] == sorted({low, high})
    assert all(finding.count == finding.cutoff == finding.samples for finding in findings)


@pytest.mark.parametrize("level", list(Level))
def test_rct_just_under_and_at_the_cutoff(level: Level) -> None:
    """One sample less than the cut-off is silent at that level, the cut-off is not."""
    cutoff = cutoffs.rct_cutoff(4, level)
    under = HealthTests(claim(4), KEY).feed(b"\x07" * (cutoff - 1) + b"\x08\x09")
    at = HealthTests(claim(4), KEY).feed(b"\x07" * cutoff + b"\x08\x09")
    assert at == Finding(Alarm.RCT, level, cutoff, cutoff, cutoff, 4)
    assert under is None or (level is HIGH and under.level is LOW)


def test_a_run_counts_across_feeds() -> None:
    """A run that is cut into two feeds is one run."""
    tests = HealthTests(claim(4), KEY)
    assert tests.feed(b"\x01\x02" + b"\x07" * 4) is None
    found = tests.feed(bytearray(b"\x07" * 5))
    assert found == Finding(Alarm.RCT, LOW, 9, 9, 11, 4)


def test_a_run_raises_each_level_once() -> None:
    """After its intermittent alarm a run is silent until it is permanent, feed after feed."""
    tests = HealthTests(claim(4), KEY)
    found = [tests.feed(b"\x07") for _ in range(16)]
    assert [at for at, finding in enumerate(found, 1) if finding] == [9, 16]
    assert tests.feed(b"\x01\x02\x03") == found[-1]


def test_stuck_within_one_feed_is_permanent_at_once() -> None:
    """The rest of a feed after an intermittent finding is searched for a permanent one."""
    found = HealthTests(claim(4), KEY).feed(b"\x07" * 1000)
    assert found == Finding(Alarm.RCT, HIGH, 16, 16, 16, 4)


def test_second_run_raises_its_own_alarm() -> None:
    """A run that ended does not silence the next one, of the same value."""
    tests = HealthTests(claim(4), KEY)
    assert tests.feed(b"\x07" * 9) is not None
    stands = [tests.alarm_stands]
    assert tests.feed(b"\x01") is None
    stands.append(tests.alarm_stands)
    assert stands == [True, False]
    assert tests.feed(b"\x07" * 8) is None
    assert tests.feed(b"\x07") == Finding(Alarm.RCT, LOW, 9, 9, 19, 4)


# Adaptive proportion test


@pytest.mark.parametrize(
    ("bits", "entropy", "values"), [(8, 4.0, 250), (8, 8.0, 250), (4, 2.0, 16), (8, 1.0, 250)]
)
@pytest.mark.parametrize("whitened", [False, True])
def test_bias_just_under_and_at_the_cutoff(
    bits: int, entropy: float, values: int, *, whitened: bool
) -> None:
    """C - 1 equal samples in a window are silent; C raise apt, at the last of them, alone."""
    said = claim(entropy, bits, whitened=whitened)
    cutoff = cutoffs.apt_cutoff(entropy, 512, LOW)
    under = [biased_window(cutoff - 1, 512, values, seed) for seed in (0, 1)]
    assert one_by_one(HealthTests(said, KEY), b"".join(under)) == []
    at = biased_window(cutoff, 512, values, seed=2)
    last = at.rindex(0) + 1
    assert one_by_one(HealthTests(said, KEY), at) == [
        Finding(Alarm.APT, LOW, cutoff, cutoff, last, entropy)
    ]


def test_binary_bias_at_the_cutoff() -> None:
    """A binary source is counted over 1,024 samples: 608 ones are silent, 609 are apt."""
    for ones, expected in ((608, []), (609, [(Alarm.APT, LOW)])):
        # Even spread: runs stay far below the RCT's 31.  The first sample is a one.
        data = bytes(
            index * ones // 1024 != (index - 1) * ones // 1024 for index in range(1024)
        )
        assert sum(data) == ones
        assert data[0] == 1
        assert raised(one_by_one(HealthTests(claim(1, 1), KEY), data)) == expected


def test_strong_bias_becomes_permanent() -> None:
    """A window raises the intermittent cut-off once and then the permanent one."""
    low, high = (cutoffs.apt_cutoff(4, 512, level) for level in (LOW, HIGH))
    data = biased_window(high, 512, 250, seed=3)
    findings = one_by_one(HealthTests(claim(4), KEY), data)
    assert raised(findings) == [(Alarm.APT, LOW), (Alarm.APT, HIGH)]
    assert [finding.count for finding in findings] == [low, high]
    assert HealthTests(claim(4), KEY).feed(data) == findings[-1]


def test_each_window_counts_from_new() -> None:
    """The same bias in the next window raises again; counts are not carried over."""
    window = biased_window(cutoffs.apt_cutoff(4, 512, LOW), 512, 250, seed=4)
    tests = HealthTests(claim(4), KEY)
    assert raised(one_by_one(tests, window)) == [(Alarm.APT, LOW)]
    assert tests.feed(window[:100]) is None
    again = tests.feed(window[100:])
    assert again is not None
    assert (again.alarm, again.level) == (Alarm.APT, LOW)
    assert again.samples == 512 + window.rindex(0) + 1


def test_a_window_that_cannot_fire_stays_silent() -> None:
    """Below H = 30/512 the APT's cut-off is above its window: a whole window of one value."""
    said = claim(0.05)
    assert cutoffs.apt_cutoff(0.05, 512, LOW) == 513
    assert HealthTests(said, KEY).feed(bytes(600)) is None
    found = HealthTests(said, KEY).feed(bytes(601))
    assert found is not None
    assert found.alarm is Alarm.RCT


# Alternation and repeated blocks


def test_alternating_samples_of_a_raw_source_raise_apt() -> None:
    """0x55 and 0xAA in turn never repeat a sample: apt, and apt alone, finds them."""
    findings = one_by_one(HealthTests(claim(4), KEY), b"\x55\xaa" * 512)
    assert raised(findings) == [(Alarm.APT, LOW), (Alarm.APT, HIGH)]
    # Every second sample counts, from the first on.
    assert [finding.samples for finding in findings] == [2 * f.cutoff - 1 for f in findings]


@pytest.mark.parametrize(
    ("entropy", "bits", "words"), [(8, 8, [2]), (4, 8, [2, 3]), (1, 8, [5, 9]), (1, 1, [5, 9])]
)
def test_alternating_samples_of_a_whitened_source_raise_rct64(
    entropy: float, bits: int, words: Sequence[int]
) -> None:
    """In words alternation is a stuck value: rct64 alone, at 1 + ceil(a / 8H) words."""
    pair = b"\x00\x01" if bits == 1 else b"\x55\xaa"
    findings = one_by_one(HealthTests(claim(entropy, bits, whitened=True), KEY), pair * 512)
    assert {finding.alarm for finding in findings} == {Alarm.WORD_RCT}
    assert [finding.count for finding in findings] == words
    assert [finding.samples for finding in findings] == words
    assert findings[-1].level is HIGH
    assert findings[-1].min_entropy == 8 * entropy


@pytest.mark.parametrize(("bits", "word_entropy"), [(16, 64), (32, 32)])
def test_words_of_wide_samples(bits: int, word_entropy: float) -> None:
    """Whitened 16- and 32-bit samples are tested as words too, with H of all in the word."""
    block = bytes(range(8))
    found = HealthTests(claim(16, bits, whitened=True), KEY).feed(block * 3)
    assert found is not None
    assert (found.alarm, found.level) == (Alarm.WORD_RCT, HIGH)
    assert found.min_entropy == word_entropy
    assert HealthTests(claim(16, bits, whitened=False), KEY).feed(block * 3) is None


@pytest.mark.parametrize("words", [2, 3, 17, 254, 255, 508])
def test_repeated_block_of_a_whitened_source_raises_apt64(words: int) -> None:
    """A block of up to 508 words that repeats raises apt64 alone, at its first repetition."""
    block = random.Random(words).randbytes(8 * words)
    findings = one_by_one(HealthTests(claim(8, whitened=True), KEY), (block * 3)[: 8 * 512])
    expected = [(Alarm.WORD_APT, LOW), (Alarm.WORD_APT, HIGH)]
    assert raised(findings) == expected[: 2 if words <= 254 else 1]
    assert [finding.samples for finding in findings] == [words + 1, 2 * words + 1][
        : len(findings)
    ]


def test_repeated_block_of_a_raw_source_is_not_tested_in_words() -> None:
    """A raw source is judged by its samples alone: its words may well repeat."""
    block = random.Random(5).randbytes(64)
    assert HealthTests(claim(4), KEY).feed(block * 8) is None


def test_no_word_test_where_samples_are_words() -> None:
    """A 64-bit sample raises rct or apt, never the same fault once more as a word."""
    said = claim(64, 64, whitened=True)
    assert raised(one_by_one(HealthTests(said, KEY), bytes(range(8)) * 4)) == [
        (Alarm.RCT, HIGH)
    ]
    block = bytes(range(16))
    findings = one_by_one(HealthTests(said, KEY), block * 8)
    assert raised(findings) == [(Alarm.APT, HIGH)]


def test_words_count_across_unaligned_feeds() -> None:
    """Words are those of the stream from the opening on, however it is cut."""
    tests = HealthTests(claim(8, whitened=True), KEY)
    word = random.Random(6).randbytes(8)
    assert tests.feed(word[:3]) is None
    assert tests.feed(word[3:] + word[:7]) is None
    assert tests.feed(word[7:]) == Finding(Alarm.WORD_RCT, HIGH, 2, 2, 2, 64)


def test_the_earlier_of_two_findings_counts() -> None:
    """Of two permanent findings in one feed the first in the stream is returned."""
    word = random.Random(7).randbytes(8)
    stuck_first = HealthTests(claim(8, whitened=True), KEY).feed(
        bytes(9) + bytes([1] * 7) + word * 2
    )
    words_first = HealthTests(claim(8, whitened=True), KEY).feed(word * 2 + bytes(16))
    assert stuck_first is not None
    assert words_first is not None
    assert (stuck_first.alarm, words_first.alarm) == (Alarm.RCT, Alarm.WORD_RCT)


def test_sample_tests_come_before_word_tests() -> None:
    """Where apt and apt64 are reached on the same byte, apt is the alarm."""
    word = bytes([0, 1, 2, 3, 4, 5, 6, 0])
    # Two zeros in the first word, 12 on the way, and the 16th ends its repetition.
    way = b"".join(
        bytes([0, 10 + n, 20 + n, 30 + n, 40 + n, 50 + n, 60 + n, 70 + n]) for n in range(12)
    )
    tests = HealthTests(claim(8, whitened=True), KEY)
    assert tests.feed(word + way + word[:-1]) is None
    assert tests.feed(word[-1:]) == Finding(Alarm.APT, LOW, 16, 16, 14 * 8, 8)
    # The same with one zero less: now the words alone have something to say.
    tests = HealthTests(claim(8, whitened=True), KEY)
    way = bytes([9]) + way[1:]
    assert tests.feed(word + way + word) == Finding(Alarm.WORD_APT, LOW, 2, 2, 14, 64)


def test_a_run_of_words_stands_too() -> None:
    """While equal words go on, the alarm stands, though no sample repeats."""
    tests = HealthTests(claim(1, whitened=True), KEY)
    assert tests.feed(b"\x55\xaa" * 20) is not None
    assert tests.alarm_stands


# Feeding in pieces


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Noise, or pieces that repeat: runs, alternation, blocks."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=3000))
    piece = st.tuples(st.binary(min_size=1, max_size=24), st.integers(1, 120))
    return b"".join(part * times for part, times in draw(st.lists(piece, max_size=12)))


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    bits = draw(st.sampled_from([1, 8, 16, 32, 64]))
    share = draw(st.sampled_from([0.05, 0.125, 0.5, 1.0]))
    return claim(bits * share, bits, whitened=draw(st.booleans()))


def gravest(findings: Sequence[Finding]) -> Finding | None:
    """What one feed of it all must say: the first permanent finding, else the first."""
    if findings and findings[-1].level is HIGH:
        return findings[-1]
    return findings[0] if findings else None


def streams_of(said: Claim) -> list[StreamTest]:
    """The tests that know no reads: the others look at whole ones."""
    words = said.whitened and said.sample_bytes < 8
    return [sample_test(said), *([word_test(said)] if words else [])]


def byte_by_byte(stream: StreamTest, data: bytes) -> list[Finding]:
    """Every finding, up to and including a permanent one."""
    findings: list[Finding] = []
    for byte in data:
        finding = stream.scan(bytes([byte]))
        if finding is not None:
            findings.append(finding)
            if finding.level is HIGH:
                break
    return findings


@given(data=streams(), said=claims())
@settings(max_examples=150, deadline=None)
def test_byte_at_a_time_equals_whole(data: bytes, said: Claim) -> None:
    """One scan finds what scanning byte by byte finds, whole or not."""
    for whole, single in zip(streams_of(said), streams_of(said), strict=True):
        assert whole.scan(data) == gravest(byte_by_byte(single, data))


@given(data=streams(), said=claims(), cuts=st.lists(st.integers(0, 3000), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_cut_equals_byte_at_a_time(data: bytes, said: Claim, cuts: list[int]) -> None:
    """Each piece of any cutting finds what its own bytes find in a byte-by-byte scan."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for whole, single in zip(streams_of(said), streams_of(said), strict=True):
        for start, end in pairwise(edges):
            piece = data[start:end]
            found = whole.scan(bytearray(piece))
            assert found == gravest(byte_by_byte(single, piece))
            if found is not None and found.level is HIGH:
                break
            assert whole.run_stands == single.run_stands


def test_a_permanent_finding_is_final() -> None:
    """Whatever comes after it, every later feed says the same."""
    tests = HealthTests(claim(4), KEY)
    found = tests.feed(b"\x07" * 16)
    assert found is not None
    assert tests.feed(b"") == tests.feed(b"\x01\x02\x03") == found


# Sound sources, and what is said


@pytest.mark.parametrize(
    ("bits", "entropy", "whitened"),
    [(1, 1.0, False), (4, 4.0, False), (8, 8.0, True), (16, 16.0, True), (64, 64.0, True)],
)
def test_sound_data_raises_nothing(bits: int, entropy: float, *, whitened: bool) -> None:
    """Half a million bytes of seeded uniform noise at the full claim raise no alarm."""
    data = random.Random(bits).randbytes(500_000)
    if bits < 8:
        data = bytes(byte >> (8 - bits) for byte in data)
    assert HealthTests(claim(entropy, bits, whitened=whitened), KEY).feed(data) is None


def test_an_overstated_claim_is_noticed() -> None:
    """Noise of 3 bits a sample under a claim of 4 is found within 100 windows."""
    noise = random.Random(9)
    data = bytes(noise.choices(range(8), k=51_200))
    found = HealthTests(claim(4, 4), KEY).feed(data)
    assert found is not None
    assert found.alarm is Alarm.APT


def test_descriptions() -> None:
    """Each finding is one sentence with the count, the cut-off, H and alpha."""
    stuck = HealthTests(claim(4), KEY).feed(b"\xa7" * 9)
    assert stuck is not None
    assert stuck.describe() == (
        "repetition count test: 9 equal samples in a row (cut-off 9 at H=4, alpha 2^-30)"
    )
    assert Finding(Alarm.APT, HIGH, 91, 91, 400, 4).describe() == (
        "adaptive proportion test: 91 samples of a window equal its first "
        "(cut-off 91 at H=4, alpha 2^-60)"
    )
    assert "2 equal 64-bit words" in Finding(Alarm.WORD_RCT, HIGH, 2, 2, 9, 64).describe()
    assert "3 64-bit words of" in Finding(Alarm.WORD_APT, HIGH, 3, 3, 9, 64).describe()


def test_no_sample_value_is_said() -> None:
    """Two sources stuck at different values give findings and texts that are equal."""
    first = HealthTests(claim(4), KEY).feed(b"\xa7" * 9)
    second = HealthTests(claim(4), KEY).feed(b"\x3c" * 9)
    assert first == second
    assert repr(first) == repr(second)


def test_the_tests_do_not_show_what_they_hold() -> None:
    """The tests keep the last samples; their repr does not show them."""
    tests = HealthTests(claim(8, whitened=True), KEY)
    tests.feed(b"\xa7\xa8\xa9")
    assert repr(tests).startswith("<hwentropy_sources.health.continuous.HealthTests object at")
    assert not hasattr(tests, "__dict__")


def test_samples_that_fill_a_word_have_no_word_tests() -> None:
    """One fault, one alarm: every other word is zeros, and the samples' own APT says so."""
    tests, noise = HealthTests(claim(8, 64, whitened=True), KEY), random.Random(1)
    found = [
        tests.feed(noise.randbytes(8) if number % 2 else bytes(8)) for number in range(100)
    ]
    assert {one.alarm for one in found if one is not None} == {Alarm.APT}
