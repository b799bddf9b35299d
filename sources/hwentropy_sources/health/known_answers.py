"""Known-answer tests of the health tests: a fault that must be found, where it must be.

    RCT   H = 8: cut-offs 1 + ceil(30 / 8) = 5 and 1 + ceil(60 / 8) = 9 (SP 800-90B 4.4.1)
    APT   H = 1, windows of 512: cut-off 325 at 2^-30 (4.4.2, docs/health.md)

Like `hwentropy_core.known_answers`, whose `check` runs them: whoever's tests fail these
credits nothing, since nobody would see a source break.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from hwentropy_sources.contract import Claim

from .alarms import Alarm, Level
from .continuous import HealthTests

_CLAIMED_BY: Final = "a known-answer test"


def _found(claim: Claim, *reads: bytes) -> list[tuple[int, Alarm, Level, int] | None]:
    """What each read shows: at which sample what was found, and its count.

    Few reads, not one a sample: that would take 5 ms, and everybody who may call `Check`
    has the supervisor run these.
    """
    tests = HealthTests(claim, bytes(32))
    found = map(tests.feed, reads)
    return [
        None if one is None else (one.samples, one.alarm, one.level, one.count) for one in found
    ]


def _rct() -> bool:
    claim = Claim(8, 8.0, _CLAIMED_BY, whitened=False)
    return _found(claim, bytes(range(1, 101)) + b"\0" * 4, b"\0" * 4, b"\0") == [
        None,
        (105, Alarm.RCT, Level.INTERMITTENT, 5),
        (109, Alarm.RCT, Level.PERMANENT, 9),
    ]


def _apt() -> bool:
    # 0 0 1 0 0 1 ...: the 325th 0 is the first of the 163rd three.
    samples = (b"\0\0\1" * 171)[:512]
    return _found(Claim(8, 1.0, _CLAIMED_BY, whitened=False), samples) == [
        (3 * 162 + 1, Alarm.APT, Level.INTERMITTENT, 325)
    ]


#: As `hwentropy_core.known_answers.GENERATOR`.
HEALTH: Final[Mapping[str, Callable[[], bool]]] = MappingProxyType(
    {"the repetition count test": _rct, "the adaptive proportion test": _apt}
)
