"""The repetition count test (RCT) and the adaptive proportion test (APT) over one stream.

SP 800-90B 4.4.1 and 4.4.2, over the samples; and once more over 64-bit words, which is
ours: a block that repeats shows in words and not in bytes.

* A run of equal samples belongs to the RCT: while one stands at its cut-off, or
  fills a window, the APT raises nothing, and the word RCT never counts words that
  are one sample over and over.  (The sample RCT is always there first: its cut-off
  is 1 + ceil(a / H), that of words of n samples n + n ceil(a / (n H)) samples.)
* How the stream is cut into reads changes neither the state nor which finding is the
  first of its level.

What they do not catch: anything that is not a repetition or a bias.  They keep the
last sample and word, the first of each window and up to 7 bytes more in memory until
others replace them: enough to compare, and not erased.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, Literal

from hwentropy_sources.contract import Claim

from .alarms import Alarm, Finding, Level
from .cutoffs import (
    WORD_BYTES,
    WORD_WINDOW,
    apt_cutoff,
    apt_window,
    exact_apt_cutoff,
    rct_cutoff,
)

#: memoryview formats for the samples (and words) that are wider than a byte.
#: Only equality counts, so the machine's byte order does as well as another.
FORMATS: Final[Mapping[int, Literal["H", "I", "Q"]]] = {2: "H", 4: "I", 8: "Q"}


def sample_test(claim: Claim) -> "StreamTest":
    """The standard's two tests, over the samples."""
    entropy, window = claim.min_entropy, apt_window(claim.bits_per_sample)
    return StreamTest(
        unit=claim.sample_bytes,
        sample_bytes=claim.sample_bytes,
        min_entropy=entropy,
        window=window,
        rct={level: rct_cutoff(entropy, level) for level in Level},
        apt={level: apt_cutoff(entropy, window, level) for level in Level},
        alarms=(Alarm.RCT, Alarm.APT),
    )


def word_test(claim: Claim) -> "StreamTest":
    """The same two over 64-bit words of the byte stream: ours."""
    # H of a word is the sum over its samples.  It needs no cap: a claim is at most
    # 8 bits for each byte, so the sum is at most 64.
    entropy = claim.min_entropy * (WORD_BYTES // claim.sample_bytes)
    return StreamTest(
        unit=WORD_BYTES,
        sample_bytes=claim.sample_bytes,
        min_entropy=entropy,
        window=WORD_WINDOW,
        rct={level: rct_cutoff(entropy, level) for level in Level},
        apt={level: exact_apt_cutoff(entropy, WORD_WINDOW, level) for level in Level},
        alarms=(Alarm.WORD_RCT, Alarm.WORD_APT),
    )


class StreamTest:
    """RCT and APT over the units (samples or words) of one byte stream."""

    __slots__ = (
        "_alarms",
        "_apt",
        "_count",
        "_due",
        "_entropy",
        "_first",
        "_last",
        "_left",
        "_partial",
        "_rct",
        "_run",
        "_sample_bytes",
        "_seen",
        "_window",
        "unit",
    )

    def __init__(
        self,
        *,
        unit: int,
        sample_bytes: int,
        min_entropy: float,
        window: int,
        rct: dict[Level, int],
        apt: dict[Level, int],
        alarms: tuple[Alarm, Alarm],
    ) -> None:
        self.unit = unit
        self._sample_bytes = sample_bytes
        self._entropy = min_entropy
        self._window = window
        self._rct = rct
        self._apt = apt
        self._alarms = alarms
        self._partial = b""
        self._seen = 0
        # RCT: the last unit (-1: none yet) and how often it came in a row.
        self._last = -1
        self._run = 0
        # APT: the window's first unit, its count so far, the next cut-off that
        # has not raised its alarm in this window, and the units still to come.
        self._first = -1
        self._count = 0
        self._due = 0
        self._left = 0

    @property
    def run_stands(self) -> bool:
        return self._run >= self._rct[Level.INTERMITTENT]

    def scan(self, data: bytes | bytearray) -> Finding | None:
        """Test what these bytes complete: the first permanent finding, else the first.

        One loop with everything in local variables, because every sample of
        every source passes through it (0.06 to 0.09 us each in CPython 3.11).
        """
        rct_low, rct_high = self._rct[Level.INTERMITTENT], self._rct[Level.PERMANENT]
        apt_low, apt_high = self._apt[Level.INTERMITTENT], self._apt[Level.PERMANENT]
        rct_alarm, apt_alarm = self._alarms
        window = self._window
        hush = min(rct_low, window)
        last, run = self._last, self._run
        first, count, due, left = self._first, self._count, self._due, self._left
        found: Finding | None = None
        seen = self._seen
        for value in self._units(data):
            seen += 1
            if value != last:
                last = value
                run = 1
            else:
                run += 1
                if run >= rct_low and not self._is_one_sample(value):
                    if run == rct_high:
                        return self._finding(rct_alarm, Level.PERMANENT, run, rct_high, seen)
                    if run == rct_low and found is None:
                        found = self._finding(rct_alarm, Level.INTERMITTENT, run, rct_low, seen)
            if not left:
                first = value
                count = 1
                due = apt_low
                left = window - 1
            else:
                left -= 1
                if value == first:
                    count += 1
                    if count >= due and run < hush:
                        if count >= apt_high:
                            return self._finding(
                                apt_alarm, Level.PERMANENT, count, apt_high, seen
                            )
                        due = apt_high
                        if found is None:
                            found = self._finding(
                                apt_alarm, Level.INTERMITTENT, count, apt_low, seen
                            )
        self._last, self._run = last, run
        self._first, self._count, self._due, self._left = first, count, due, left
        self._seen = seen
        return found

    def _units(self, data: bytes | bytearray) -> Iterable[int]:
        if self.unit == 1:
            return data
        start = -len(self._partial) % self.unit
        if len(data) < start:
            self._partial += data
            return ()
        # Read in place: the caller can erase its buffer only if there is no copy.
        view = memoryview(data)
        end = len(data) - (len(data) - start) % self.unit
        head = memoryview(self._partial + view[:start])
        self._partial = bytes(view[end:])
        kind = FORMATS[self.unit]
        return chain(head.cast(kind), view[start:end].cast(kind))

    def _is_one_sample(self, word: int) -> bool:
        """Whether this word is one sample over and over: the sample tests' business."""
        if self._sample_bytes == self.unit:
            return False
        raw = word.to_bytes(self.unit, "big")
        return raw == raw[: self._sample_bytes] * (self.unit // self._sample_bytes)

    def _finding(
        self, alarm: Alarm, level: Level, count: int, cutoff: int, seen: int
    ) -> Finding:
        return Finding(alarm, level, count, cutoff, seen, self._entropy)
