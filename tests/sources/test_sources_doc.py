"""docs/sources.md: the plug-in that it shows keeps the contract."""

from pathlib import Path
from typing import Any

import pytest

from hwentropy_sources.contract import Source, SourceAbsent, SourceError
from support.script import blocks


def dice(path: Path) -> Source:
    """The page's source, of what is in this file."""
    (block,) = blocks("sources.md")
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  (our own page)
    shown: Source = names["Dice"](names["DiceConfig"](path=str(path)))
    return shown


def test_the_plug_in_that_is_shown_reads_what_is_there(tmp_path: Path) -> None:
    """Exactly the samples, then an error when they run out; closed twice is fine."""
    file = tmp_path / "dice"
    file.write_bytes(bytes(range(100)))
    source = dice(file)
    assert source.describe().group == source.kind == "dice"
    source.open()
    assert source.read(100, 1.0) == bytes(range(100))
    with pytest.raises(SourceError, match=f"{file} gave 0 throws of 1"):
        source.read(1, 1.0)
    source.close()
    source.close()


def test_the_plug_in_that_is_shown_says_what_is_absent(tmp_path: Path) -> None:
    """With the reason and what to do."""
    with pytest.raises(SourceAbsent, match=r"no dice at .*; plug them in"):
        dice(tmp_path / "none").open()
