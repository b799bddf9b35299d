"""An examination in words and characters."""

import math
from collections.abc import Mapping
from typing import Final

from .measurements import MIN_BYTES, Examination, Judgement, Measurement

__all__ = ["FIGURES", "LEGEND", "histogram", "rows", "size", "verdict"]

FIGURES: Final = ("statistic", "value", "expected", "p", "")

#: Below, a p-value is what rounding made of it.
_LEAST_P: Final = 1e-12

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
#: The same for a terminal or a file that is not in Unicode.
_ASCII: Final = "_.-=+*%#"
#: Standard deviations at either end of the scale: of 256 good counts one in four
#: files has one beyond 3.3, so an end is worth a look.
_REACH: Final = 3.3
_PER_LINE: Final = 64

#: By whether the histogram is in Unicode.
LEGEND: Final = tuple(
    f"How often each byte value occurs: {marks[0]} is {_REACH} standard deviations below "
    f"the expected, {marks[-1]} as many above."
    for marks in (_ASCII, _BLOCKS)
)

_VERDICTS: Final[Mapping[Judgement, str]] = {
    Judgement.USUAL: "Nothing unusual.",
    Judgement.UNUSUAL: (
        "Unusual: about one good file in 25 looks so; take other bytes and look again."
    ),
    Judgement.FAILED: "Failed: these are not uniform random bytes.",
    Judgement.NOT_JUDGED: f"Too few bytes to judge: give {MIN_BYTES:,} or more.",
}


def size(examination: Examination) -> str:
    """How much was examined."""
    return f"{examination.size:,} byte{'' if examination.size == 1 else 's'}"


def verdict(examination: Examination) -> str:
    """The judgement in one sentence."""
    return _VERDICTS[examination.judgement]


def rows(examination: Examination) -> list[tuple[str, str, str, str, str]]:
    """Title, value, expected value, p and judgement of each measurement."""
    return [
        (
            one.title,
            _number(one, one.value),
            _number(one, one.expected),
            _chance(one.p),
            str(one.judgement),
        )
        for one in examination.measurements
    ]


def histogram(examination: Examination, *, unicode: bool) -> list[str]:
    """256 characters in four lines, one for each byte value: low is rare, high frequent.

    The scale is the standard deviation of a count, sqrt(n/256 * 255/256).
    """
    each = examination.size / 256
    deviation = math.sqrt(each * 255 / 256)
    marks = _BLOCKS if unicode else _ASCII
    drawn = "".join(
        marks[_level((count - each) / deviation, len(marks))] for count in examination.counts
    )
    return [
        f"{start:02x}  {drawn[start : start + _PER_LINE]}" for start in range(0, 256, _PER_LINE)
    ]


def _level(z: float, levels: int) -> int:
    share = (z + _REACH) / (2 * _REACH)
    return max(0, min(levels - 1, math.floor(share * levels)))


def _number(measurement: Measurement, value: float | None) -> str:
    if value is None:
        return "undefined" if measurement.value is None else "-"
    match measurement.name:
        case "longest_run":
            return f"{value:.0f}"
        case "chi_square":
            return f"{value:.2f}"
        case _:
            # What six places would show as nothing.
            return f"{value:.1e}" if 0 < abs(value) < 1e-5 else f"{value:.6f}"


def _chance(p: float | None) -> str:
    if p is None:
        return "-"
    if p < _LEAST_P:
        return f"< {_LEAST_P:.0e}"
    return f"{p:.2g}" if p < 0.001 else f"{p:.3f}"
