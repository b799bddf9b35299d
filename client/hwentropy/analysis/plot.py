"""Pictures of bytes: how often each value occurs, the bits as dots, the autocorrelation.

Drawn by matplotlib (the extra `plot`), without a display and without its global
state.  PNG and SVG hold the pictures; HTML is one file with the SVG and the figures
in it, and loads nothing.

What the pictures do not show: anything that the eye cannot see in the first 64 KiB.
"""

import html
import io
import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .measurements import CAUTION, Examination
from .tally import Tally
from .text import FIGURES, rows, size, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "Format", "draw", "load"]

Format: TypeAlias = Literal["png", "svg", "html"]
FORMATS: Final[tuple[Format, ...]] = ("png", "svg", "html")

#: 256 x 256 bits are 8 KiB: each two dots of the picture wide, so it can be seen.
_BITMAP_SIDE: Final = 256
_LAGS: Final = 64
#: Half the width of an interval that holds 99 of 100 normal values.
_Z_99: Final = 2.576
_INK: Final = "#26547c"
_BAND: Final = "#f2c14e"


def load() -> None:
    """Import what draws.  Raises ImportError when the extra `plot` is not installed."""
    import_module("matplotlib.figure")


def draw(tally: Tally, examination: Examination, source: str, kind: Format) -> bytes:
    """The picture as a file's content."""
    import matplotlib as mpl  # noqa: PLC0415 - optional, and half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes: Any = figure.subplot_mosaic(
        [["counts", "counts"], ["bits", "correlation"]], height_ratios=[2, 3]
    )
    # No mathematics in a file's name.
    figure.suptitle(f"{source}: {size(examination)}, {examination.judgement}", parse_math=False)
    _counts(axes["counts"], examination)
    _bits(axes["bits"], tally.head)
    _correlation(axes["correlation"], tally.head)
    stream = io.BytesIO()
    # The same bytes give the same file: no date, no random names in it.
    with mpl.rc_context({"svg.hashsalt": "hwentropy", "svg.fonttype": "none"}):
        if kind == "png":
            figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
        else:
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    drawn = stream.getvalue()
    return _page(drawn.decode(), examination, source).encode() if kind == "html" else drawn


def _counts(axes: "Axes", examination: Examination) -> None:
    each = examination.size / 256
    half = _Z_99 * math.sqrt(each * 255 / 256)
    axes.axhspan(
        each - half, each + half, color=_BAND, alpha=0.4, linewidth=0, label="99 of 100"
    )
    axes.axhline(each, color="black", linewidth=0.8, label="expected")
    axes.bar(range(256), examination.counts, width=1.0, color=_INK)
    # Uniform counts differ by little: zero is in sight only when they do not.
    low, high = min(examination.counts), max(examination.counts)
    lowest, highest = min(low, each - half), max(high, each + half)
    margin = (highest - lowest) / 10
    axes.set_ylim(max(0.0, lowest - margin), highest + margin)
    axes.set_xlim(-0.5, 255.5)
    axes.set_xticks(range(0, 256, 32), [f"{value:02x}" for value in range(0, 256, 32)])
    axes.set_title("How often each byte value occurs")
    axes.legend(loc="upper right", ncols=2)


def _bits(axes: "Axes", head: bytes) -> None:
    import numpy as np  # noqa: PLC0415 - comes with matplotlib

    bits = np.unpackbits(np.frombuffer(head, dtype=np.uint8))[: _BITMAP_SIDE**2]
    # Grey where there are no bits.
    field = np.full(_BITMAP_SIDE**2, 0.5)
    field[: len(bits)] = 1 - bits
    axes.imshow(
        field.reshape(_BITMAP_SIDE, _BITMAP_SIDE),
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_title(f"The first {len(bits):,} bits, ones black")
    axes.set_xticks([])
    axes.set_yticks([])


def _correlation(axes: "Axes", head: bytes) -> None:
    found = autocorrelation(head, _LAGS)
    half = _Z_99 / math.sqrt(len(head))
    axes.axhspan(-half, half, color=_BAND, alpha=0.4, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.bar(range(1, len(found) + 1), found, width=0.6, color=_INK)
    reach = 1.2 * max([half, *map(abs, found)])
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0, _LAGS + 1)
    axes.set_xlabel("bytes apart")
    axes.set_title(f"Autocorrelation of the first {len(head):,} bytes")


def autocorrelation(data: bytes, lags: int) -> list[float]:
    """r[k] = sum (x[i]-m)(x[i+k]-m) / sum (x[i]-m)^2 for k = 1 .. lags; 1 for equal bytes."""
    import numpy as np  # noqa: PLC0415 - comes with matplotlib

    values = np.frombuffer(data, dtype=np.uint8).astype(np.float64)
    values -= values.mean()
    power = float(values @ values)
    reach = range(1, min(lags, len(values) - 1) + 1)
    if power == 0:
        return [1.0 for _ in reach]
    return [float(values[:-k] @ values[k:]) / power for k in reach]


_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif }
body { max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem 1.2rem .2rem 0; text-align: right }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
svg { width: 100%; height: auto }
"""


def _page(drawn: str, examination: Examination, source: str) -> str:
    name = html.escape(source)
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows(examination)
    )
    head = "".join(f"<th>{html.escape(one)}</th>" for one in FIGURES)
    return (
        '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{_STYLE}</style>"
        f"<h1>{name}</h1><p>{examination.size:,} bytes. {html.escape(verdict(examination))} "
        f"{html.escape(CAUTION)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"
        f"{drawn[drawn.index('<svg') :]}</html>\n"
    )
