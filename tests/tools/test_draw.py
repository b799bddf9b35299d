"""tools/draw.py: an equal part from each worker, in the order that it says."""

from pathlib import Path

import pytest

from support.daemon import Daemon
from tools import draw as tool

pytestmark = pytest.mark.process


def test_each_worker_gives_its_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four mebibytes of two workers, counted by the daemon, and no block of 16 twice."""
    file = tmp_path / "stream.bin"
    with Daemon() as daemon:
        assert tool.main([str(daemon.directory), str(file), "--mib", "4"]) == 0
        pids = daemon.worker_pids()
    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == sorted(f"worker {pid}: {2 * tool.MIB} bytes" for pid in pids)
    data = file.read_bytes()
    assert len(data) == 4 * tool.MIB
    assert len({data[at : at + 16] for at in range(0, len(data), 16)}) == len(data) // 16


def test_unequal_parts_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three mebibytes are not two halves of whole ones."""
    with Daemon() as daemon:
        assert tool.main([str(daemon.directory), str(tmp_path / "f"), "--mib", "3"]) == 1
    assert "not 3 MiB in 2 equal parts" in capsys.readouterr().err


def test_no_file_is_overwritten_and_no_daemon_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence each, and exit code 1."""
    file = tmp_path / "kept"
    file.write_bytes(b"kept")
    with Daemon() as daemon:
        assert tool.main([str(daemon.directory), str(file), "--mib", "2"]) == 1
    assert file.read_bytes() == b"kept"
    assert "File exists" in capsys.readouterr().err
    assert tool.main([str(tmp_path), str(tmp_path / "f")]) == 1
    assert "no daemon answers at" in capsys.readouterr().err
