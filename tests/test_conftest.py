"""What the suite does about its surroundings: tests/conftest.py and support/needed.py."""

import os
from pathlib import Path

import pytest

from support import needed
from support.fake_server import FakeDaemon


def test_in_ci_what_is_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate does not pass by skipping."""
    monkeypatch.setattr(needed, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="no compiler"):
        needed.check("no compiler")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        needed.module("hwentropy_no_such_module", "not installed")


def test_elsewhere_it_is_a_skip_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's run passes without what is optional."""
    monkeypatch.setattr(needed, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="no compiler"):
        needed.check("no compiler")
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        needed.module("hwentropy_no_such_module", "not installed")


def test_what_is_there_is_neither() -> None:
    """The module itself, and no reason no skip."""
    needed.check("")
    needed.check(None)
    assert needed.module("support.needed", "not installed") is needed


def test_a_socket_finds_room_in_a_temporary_directory(tmp_path: Path) -> None:
    """Whatever TMPDIR and the test are called; 108 bytes are all that its path has."""
    assert len(str(tmp_path)) < 30
    assert not list(tmp_path.iterdir())


def test_a_fake_daemon_that_cannot_start_leaves_no_socket(tmp_path: Path) -> None:
    """A leaked one would be reported in whatever test runs when it is collected."""
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    before = {one.name for one in Path("/proc/self/fd").iterdir()}
    with pytest.raises(OSError, match="path too long"), FakeDaemon(directory):
        pass
    assert {one.name for one in Path("/proc/self/fd").iterdir()} == before


def test_the_callers_daemon_is_not_ours() -> None:
    """What the caller's shell exports for another daemon reaches no test."""
    assert "HWENTROPY_RUNTIME_DIR" not in os.environ
