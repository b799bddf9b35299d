"""A process that finds itself under another kernel."""

from pathlib import Path

import pytest

from hwentropyd.events import boot_id
from hwentropyd.events.sign import UnwatchedError


def test_another_id_is_a_sign_once(tmp_path: Path) -> None:
    """As where a saved process was restored after a boot."""
    path = tmp_path / "boot_id"
    path.write_text("f74bd492-827d-4b1f-ae91-6014e90580cc\n")
    watcher = boot_id.watch(path)
    assert not watcher.look()
    path.unlink()
    path.write_text("00000000-827d-4b1f-ae91-6014e90580cc\n")
    assert watcher.look()
    assert not watcher.look()
    watcher.close()


def test_the_kernels_own_stays() -> None:
    """While this kernel runs."""
    assert not boot_id.watch().look()


def test_without_one_nothing_is_watched(tmp_path: Path) -> None:
    """And it is said why."""
    with pytest.raises(UnwatchedError, match=r"boot_id cannot be read \(No such file"):
        boot_id.watch(tmp_path / "boot_id")
