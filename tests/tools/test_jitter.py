"""tools/jitter.py: what it records, and what it says where it cannot."""

from pathlib import Path

import pytest

from hwentropy_sources import jitter
from hwentropy_sources.contract import SourceError
from support import needed
from tools import jitter as tool


@pytest.fixture(autouse=True)
def _here() -> None:
    """Only where there is such a source."""
    try:
        jitter.Jitter().open()
    except SourceError as error:
        needed.check(str(error))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--samples", "2500"], 2500),
        (["--samples", "2500", "--deltas"], 8 * 2500),
        (["--restarts", "--rows", "2"], 2 * 1000),
    ],
)
def test_it_writes_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], size: int
) -> None:
    """A byte a sample, 8 a difference, 1,000 samples a start; and it says how many."""
    file = tmp_path / "noise.bin"
    assert tool.main([*options, str(file)]) == 0
    assert file.stat().st_size == size
    assert len(set(file.read_bytes())) > 10
    assert "written to" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit code 1."""
    assert tool.main([str(tmp_path / "none" / "noise.bin")]) == 1
    assert "jitter: " in capsys.readouterr().err
