"""The kind `replay`: recorded samples."""

import os
from pathlib import Path

import msgspec
import pytest

from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.replay import Replay, ReplayConfig


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten samples."""
    path = tmp_path / "samples"
    path.write_bytes(bytes(range(10)))
    return path


def test_it_refuses_credit_and_is_never_a_default() -> None:
    """What anybody can read in a file is worth nothing."""
    assert not Replay.credited
    assert not Replay.by_default


def test_a_recording_holds_nothing_that_is_not_known(recording: Path) -> None:
    """It is no live source, and the state behind it has no unknown bits."""
    claim = Replay(ReplayConfig(path=str(recording))).describe().claim
    assert (claim.strength, claim.live) == (0, False)


def test_it_gives_the_recording_in_order_and_ends(recording: Path) -> None:
    """Sample for sample, then an error: it neither repeats nor makes anything up."""
    source = Replay(ReplayConfig(path=str(recording)))
    source.open()
    assert source.read(4, 1.0) == bytes([0, 1, 2, 3])
    assert source.read(6, 1.0) == bytes([4, 5, 6, 7, 8, 9])
    with pytest.raises(SourceError, match="end of recording"):
        source.read(1, 1.0)
    source.open()
    assert source.read(1, 1.0) == b"\x00"
    source.close()


def test_a_read_past_the_end_gives_no_part(recording: Path) -> None:
    """Less than asked is an error, not a short answer."""
    source = Replay(ReplayConfig(path=str(recording)))
    source.open()
    with pytest.raises(SourceError, match="end of recording"):
        source.read(11, 1.0)
    source.close()


def test_a_loop_starts_again(recording: Path) -> None:
    """With `loop` one read may go round more than once."""
    source = Replay(ReplayConfig(path=str(recording), loop=True))
    source.open()
    assert source.read(25, 1.0) == (bytes(range(10)) * 3)[:25]
    source.close()


def test_a_recording_emptied_meanwhile_ends_its_loop(recording: Path) -> None:
    """A loop over nothing is an error, not a hang."""
    source = Replay(ReplayConfig(path=str(recording), loop=True))
    source.open()
    source.read(4, 1.0)
    os.truncate(recording, 0)
    with pytest.raises(SourceError, match="end of recording"):
        source.read(20, 1.0)
    source.close()


def test_wide_samples_take_their_bytes(recording: Path) -> None:
    """16-bit samples are two bytes each, and the claim says so."""
    source = Replay(ReplayConfig(path=str(recording), bits_per_sample=16, whitened=False))
    source.open()
    assert source.read(3, 1.0) == bytes(range(6))
    claim = source.describe().claim
    assert (claim.bits_per_sample, claim.min_entropy, claim.whitened) == (16, 8.0, False)
    source.close()


def test_a_sample_over_its_bits_is_refused(recording: Path) -> None:
    """3-bit samples are 0 to 7: the 8 is not a sample, and not shown."""
    source = Replay(ReplayConfig(path=str(recording), bits_per_sample=3))
    source.open()
    assert source.read(8, 1.0) == bytes(range(8))
    with pytest.raises(SourceError, match="more than 3 bits"):
        source.read(1, 1.0)
    source.close()


@pytest.mark.parametrize(("size", "bits"), [(0, 8), (9, 16), (12, 64)])
def test_no_number_of_samples_is_refused_at_open(tmp_path: Path, size: int, bits: int) -> None:
    """An empty file, or a part of a sample at the end."""
    path = tmp_path / "odd"
    path.write_bytes(bytes(size))
    with pytest.raises(SourceError, match=f"holds {size} bytes"):
        Replay(ReplayConfig(path=str(path), bits_per_sample=bits)).open()


def test_a_missing_recording_is_absent(tmp_path: Path) -> None:
    """The path, the reason and what to set."""
    with pytest.raises(SourceAbsent, match="No such file") as raised:
        Replay(ReplayConfig(path=str(tmp_path / "none"))).open()
    assert "`path`" in raised.value.remedy


def test_a_fifo_does_not_hang_it(tmp_path: Path) -> None:
    """Opening a FIFO would wait for a writer; it is refused before that."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(SourceError, match="not a regular file"):
        Replay(ReplayConfig(path=str(fifo))).open()


def test_an_impossible_width_is_an_error_of_ours() -> None:
    """12 bits are no width of a sample; the message says which are."""
    with pytest.raises(SourceError, match="1 to 8, 16, 32 or 64"):
        Replay(ReplayConfig(path="x", bits_per_sample=12))


@pytest.mark.parametrize("table", [{}, {"path": 3}, {"path": "x", "bits_per_sample": 65}])
def test_its_table_is_checked(table: dict[str, object]) -> None:
    """`path` is needed, and every value has its type and range."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, ReplayConfig)
