"""The seed log's files: right after a kill at any byte, a full disk, and bounded."""

import os
from pathlib import Path

import pytest

from hwentropy_core.seed_log import HEAD_NAME, MAX_LINE, Chain, SeedLogError, segments
from hwentropyd.operating.seed_log import SEGMENTS, SeedLog

#: No segment ends in these tests unless it is meant to.
LARGE = 1 << 30


def opened(directory: Path, max_bytes: int = LARGE) -> SeedLog:
    log = SeedLog(directory, max_bytes)
    log.open()
    return log


def written(directory: Path, count: int) -> None:
    """A log of so many records."""
    log = opened(directory)
    for number in range(count):
        log.append("seed", {"generation": number})
    log.close()


def followed(directory: Path) -> list[object]:
    """The generations in the log, which is followed from its first line to its last."""
    chain = Chain()
    lines = [line for _, path in segments(directory) for line in path.read_bytes().splitlines()]
    return [record["generation"] for record in map(chain.follow, lines)]


def test_records_follow_from_each_other_across_restarts(tmp_path: Path) -> None:
    """A log that was closed is gone on with where it ended."""
    written(tmp_path, 3)
    written(tmp_path, 2)
    assert followed(tmp_path) == [0, 1, 2, 0, 1]


def test_a_write_that_was_cut_at_any_byte_leaves_a_log_that_is_right(tmp_path: Path) -> None:
    """What a kill leaves of the last line is cut off, and the head is that before it."""
    for cut in range(1, 200):
        directory = tmp_path / str(cut)
        directory.mkdir()
        written(directory, 2)
        head = (directory / HEAD_NAME).read_bytes()
        [(_, path)] = segments(directory)
        before = path.stat().st_size
        written(directory, 1)
        line = path.stat().st_size - before
        if cut >= line:
            break
        os.truncate(path, before + cut)
        (directory / HEAD_NAME).write_bytes(head)
        written(directory, 1)
        assert followed(directory) == [0, 1, 0], cut
    else:
        pytest.fail("the line is longer than what was tried")


def test_a_head_that_was_not_written_any_more_is_made_up_for(tmp_path: Path) -> None:
    """A kill between line and head loses nothing."""
    written(tmp_path, 2)
    head = (tmp_path / HEAD_NAME).read_bytes()
    written(tmp_path, 1)
    (tmp_path / HEAD_NAME).write_bytes(head)
    log = opened(tmp_path)
    assert (log.head.records, log.mended) == (3, "")
    log.close()


def test_a_full_disk_leaves_no_part_of_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that came in part is taken back, and the next record follows."""
    log = opened(tmp_path)
    log.append("seed", {"generation": 0})
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 10:
            return real(fd, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.append("seed", {"generation": 1})
    monkeypatch.undo()
    log.append("seed", {"generation": 2})
    log.close()
    assert followed(tmp_path) == [0, 2]


def test_a_log_that_was_cut_is_not_gone_on_with(tmp_path: Path) -> None:
    """What is shorter than its head says is left for an auditor to see."""
    written(tmp_path, 5)
    [(_, path)] = segments(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    log = opened(tmp_path)
    assert log.mended == "record 3 to 4 are gone"
    log.append("seed", {"generation": 5})
    log.close()
    assert [first for first, _ in segments(tmp_path)] == [0, 5]
    with pytest.raises(SeedLogError, match="record 3 is missing"):
        followed(tmp_path)


def test_a_changed_record_is_not_written_over(tmp_path: Path) -> None:
    """The segment stays as it is, and the next one follows from the head."""
    written(tmp_path, 3)
    [(_, path)] = segments(tmp_path)
    changed = path.read_bytes().replace(b'"generation":1', b'"generation":7')
    path.write_bytes(changed)
    log = opened(tmp_path)
    assert "record 2 does not follow" in log.mended
    log.append("seed", {})
    log.close()
    assert path.read_bytes() == changed


def test_it_is_bounded(tmp_path: Path) -> None:
    """The oldest segments go; what is left follows from itself and from the head."""
    log = opened(tmp_path, SEGMENTS * MAX_LINE)
    for number in range(40):
        log.append("seed", {"generation": number, "filling": "x" * (MAX_LINE // 2)})
    log.close()
    kept = segments(tmp_path)
    assert len(kept) == SEGMENTS
    size = sum(path.stat().st_size for _, path in kept)
    assert size <= SEGMENTS * MAX_LINE + SEGMENTS * MAX_LINE // 2
    first = kept[0][0]
    assert first > 0
    assert followed(tmp_path) == list(range(first, 40))


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Its owner writes, its group reads, whatever the umask is."""
    before = os.umask(0o077)
    try:
        written(tmp_path, 1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("name", [HEAD_NAME, "seeds-000000000000.log"])
def test_a_link_leads_to_no_other_file(name: str, tmp_path: Path) -> None:
    """Whoever can write to the directory cannot have the daemon write elsewhere."""
    other = tmp_path / "other"
    other.write_bytes(b"somebody else's\n")
    other.chmod(0o600)
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / name).symlink_to(other)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        opened(directory)
    assert (other.read_bytes(), other.stat().st_mode & 0o777) == (b"somebody else's\n", 0o600)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """It is no log."""
    os.mkfifo(tmp_path / HEAD_NAME)
    with pytest.raises(OSError, match="is no file"):
        opened(tmp_path)


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    """A file of 16 GB that takes no room: what comes goes into the next segment."""
    written(tmp_path, 3)
    [(_, path)] = segments(tmp_path)
    os.truncate(path, 1 << 34)
    log = opened(tmp_path)
    assert log.mended == f"a line of more than {MAX_LINE} bytes is no record"
    log.append("seed", {"generation": 3})
    log.close()
    assert [first for first, _ in segments(tmp_path)] == [0, 3]


def test_a_head_that_nobody_can_sign_is_none(tmp_path: Path) -> None:
    """Its number does not fit into the statement: it is made anew."""
    written(tmp_path, 1)
    head = (tmp_path / HEAD_NAME).read_bytes()
    (tmp_path / HEAD_NAME).write_bytes(
        head.replace(b'"records": 1', b'"records": 1%s' % (b"0" * 30))
    )
    log = opened(tmp_path)
    assert log.head.records == 1
    log.head.statement()
    log.close()
