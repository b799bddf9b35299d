"""hwentropy.tempfiles: who can find, read or occupy the file, and that it goes."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

import hwentropy.tempfiles as module
from hwentropy.tempfiles import secure_temporary_file
from support.seeded_bytes import SeededBytes, supply


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> SeededBytes:
    """Bytes that are the same in every run."""
    source = SeededBytes(12)
    supply(monkeypatch, source)
    return source


def open_descriptors() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_is_a_file_to_write_and_read(tmp_path: Path) -> None:
    """Binary by default, text on request; `.name` is its path."""
    with secure_temporary_file(directory=tmp_path, prefix="a-", suffix=".key") as file:
        file.write(b"secret")
        file.flush()
        path = Path(file.name)
        assert path.read_bytes() == b"secret"
        assert path.parent == tmp_path
        assert (path.name[:2], path.name[-4:]) == ("a-", ".key")
        file.seek(0)
        assert file.read() == b"secret"
    with secure_temporary_file("w+", directory=tmp_path, encoding="utf-8") as text:
        text.write("é")
        text.seek(0)
        assert text.read() == "é"


def test_it_is_gone_afterwards(tmp_path: Path) -> None:
    """And closed, whether the block ended by itself or not."""
    before = open_descriptors()
    with secure_temporary_file(directory=tmp_path) as file:
        assert len(list(tmp_path.iterdir())) == 1
    assert file.closed
    with pytest.raises(ZeroDivisionError), secure_temporary_file(directory=tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert open_descriptors() == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    """Mode 0600 under every umask."""
    old = os.umask(umask)
    try:
        with secure_temporary_file(directory=tmp_path) as file:
            mode = stat.S_IMODE(Path(file.name).stat().st_mode)
    finally:
        os.umask(old)
    assert mode == 0o600


def test_programs_that_are_started_do_not_inherit_it(tmp_path: Path) -> None:
    """The descriptor is closed on exec."""
    with secure_temporary_file(directory=tmp_path) as file:
        assert fcntl.fcntl(file.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_names_hold_128_fresh_bits(tmp_path: Path, seeded: SeededBytes) -> None:
    """Sixteen bytes of the generator each, none twice."""
    names: set[str] = set()
    for _ in range(200):
        with secure_temporary_file(directory=tmp_path) as file:
            names.add(Path(file.name).name)
    assert len(names) == 200
    assert seeded.given == 200 * 16
    assert {len(name) for name in names} == {26}


def occupied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path that the next file would have."""
    monkeypatch.setattr(module, "random_bytes", bytes)
    return tmp_path / ("a" * 26)


def test_a_file_that_is_there_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither opened nor removed: FileExistsError."""
    path = occupied(tmp_path, monkeypatch)
    path.write_text("theirs")
    with pytest.raises(FileExistsError), secure_temporary_file(directory=tmp_path):
        pytest.fail("opened")
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_not_followed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dangling: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A link planted under the name leads nowhere, whether its target exists or not."""
    path = occupied(tmp_path, monkeypatch)
    target = tmp_path / "target"
    if not dangling:
        target.write_text("theirs")
    path.symlink_to(target)
    with pytest.raises(FileExistsError), secure_temporary_file(directory=tmp_path):
        pytest.fail("opened")
    assert path.is_symlink()
    assert target.exists() != dangling


def test_a_file_that_was_moved_away_is_kept(tmp_path: Path) -> None:
    """So that it can be put in place when it is complete."""
    with secure_temporary_file(directory=tmp_path) as file:
        file.write(b"whole")
        Path(file.name).rename(tmp_path / "final")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("final", b"whole")]


def test_a_child_leaves_it_to_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process than the one that made it, leaving the block removes nothing."""
    with secure_temporary_file(directory=tmp_path):
        monkeypatch.setattr("hwentropy.tempfiles.os.getpid", lambda: -1)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("options", [{"mode": "q"}, {"mode": "w+", "encoding": "no-such"}])
def test_a_mistake_leaves_nothing_behind(tmp_path: Path, options: dict[str, Any]) -> None:
    """Neither a file nor a descriptor."""
    before = open_descriptors()
    with (
        pytest.raises((ValueError, LookupError)),
        secure_temporary_file(directory=tmp_path, **options),
    ):
        pytest.fail("opened")
    assert list(tmp_path.iterdir()) == []
    assert open_descriptors() == before


def test_a_name_stays_in_its_directory(tmp_path: Path) -> None:
    """A prefix or suffix cannot lead elsewhere."""
    wrong: list[dict[str, Any]] = [{"prefix": "../"}, {"suffix": "/x"}]
    for options in wrong:
        with (
            pytest.raises(ValueError, match="part of a name"),
            secure_temporary_file(directory=tmp_path, **options),
        ):
            pytest.fail("opened")


def test_the_directory_is_tempfiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where TMPDIR and the rest say, unless told otherwise."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with secure_temporary_file() as file:
        assert Path(file.name).parent == tmp_path
