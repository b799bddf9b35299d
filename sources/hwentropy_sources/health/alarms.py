"""What a health test found: which alarm, how grave, and the counts behind it.

A finding carries counts and cut-offs only.  It is logged and shown to operators,
so no sample's value may ever be put into it.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Alarm(StrEnum):
    """What can be wrong with a source.  The values are shown and counted by name."""

    RCT = "rct"
    """Repetition count test on the samples."""
    APT = "apt"
    """Adaptive proportion test on the samples."""
    WORD_RCT = "rct64"
    """Repetition count test on 64-bit words."""
    WORD_APT = "apt64"
    """Adaptive proportion test on 64-bit words."""
    LAG_RUN = "lag-run"
    """Lag test: samples in a row as predicted."""
    LAG = "lag"
    """Lag test: samples of a window as predicted."""
    LANE_RCT = "rct-lane"
    """Repetition count test on one place of the reads."""
    LANE_APT = "apt-lane"
    """Adaptive proportion test on one place of the reads."""
    REPEAT = "dup128"
    """A block of 128 bits came again."""
    HANG = "hang"
    """No answer within its deadline."""
    SHORT = "short"
    """Gave less than asked."""
    LENGTH = "length"
    """Gave more than asked: it lied about its length."""
    ERROR = "error"
    """Said that it failed, or broke."""
    DIED = "died"
    """The process that it ran in ended."""
    GONE = "gone"
    """Was there, and is not any more."""


class Level(IntEnum):
    """How grave a finding is; the number is a in the false alarm probability 2^-a.

    SP 800-90B 4.3 recommends 2^-20 to 2^-40.  At 2^-30 a sound source that is
    sampled 10,000 times a second raises a false alarm about once a day (all tests
    together, see RETURN_SAMPLES), which costs it 1,024 samples.  At 2^-60 it would
    take 3.6 million years, so that alarm is taken for the truth.
    """

    INTERMITTENT = 30
    PERMANENT = 60


_TESTS: Final = {
    Alarm.RCT: ("repetition count test", "{} equal samples in a row"),
    Alarm.APT: ("adaptive proportion test", "{} samples of a window equal its first"),
    Alarm.WORD_RCT: ("repetition count test on words", "{} equal 64-bit words in a row"),
    Alarm.WORD_APT: (
        "adaptive proportion test on words",
        "{} 64-bit words of a window equal its first",
    ),
    Alarm.LAG_RUN: ("lag test", "{} samples in a row as predicted"),
    Alarm.LAG: ("lag test", "{} samples of a window as predicted"),
    Alarm.LANE_RCT: (
        "repetition count test on a place of the reads",
        "{} equal samples at it in a row",
    ),
    Alarm.LANE_APT: (
        "adaptive proportion test on a place of the reads",
        "{} samples at it equal the first",
    ),
    Alarm.REPEAT: ("repeat test", "a block of 128 bits came {} times"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One alarm that one health test raised."""

    alarm: Alarm
    level: Level
    count: int
    """What was counted: samples (or words) in a row, or equal in a window."""
    cutoff: int
    """The count from which it is an alarm of this level."""
    samples: int
    """The sample (or word) that raised it, counted from 1 since the tests began."""
    min_entropy: float
    """H that the cut-off was computed from, bits per sample (or word)."""

    def describe(self) -> str:
        """The reason in one line, for logs and operators; no sample's value."""
        name, what = _TESTS[self.alarm]
        return (
            f"{name}: {what.format(self.count)} "
            f"(cut-off {self.cutoff} at H={self.min_entropy:g}, alpha 2^-{self.level.value})"
        )
