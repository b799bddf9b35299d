"""Alarms are warnings to the journal, and plain lines to everybody else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropyd.command import main
from support.daemon import ROOT

SCRIPT = """
import logging
from hwentropyd import logs
logs.set_up("debug")
log = logging.getLogger("test")
log.debug("one")
log.info("two")
log.warning("three\\nlines")
log.error("four")
log.critical("five")
"""


def logged(tmp_path: Path, *, journal: bool) -> str:
    """What a process writes to a stderr that is, or is not, the journal's stream."""
    file = tmp_path / "stderr"
    with file.open("w") as stream:
        info = os.fstat(stream.fileno())
        inode = info.st_ino if journal else info.st_ino + 1
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            stderr=stream,
            cwd=ROOT,
            env={**os.environ, "JOURNAL_STREAM": f"{info.st_dev}:{inode}"},
            check=True,
        )
    return file.read_text()


def test_the_journal_hears_the_priority_of_every_line(tmp_path: Path) -> None:
    """As sd-daemon(3) has it: `journalctl -p warning` shows the alarms."""
    assert logged(tmp_path, journal=True).splitlines() == [
        *("<7>one", "<6>two", "<4>three", "<4>lines", "<3>four", "<2>five")
    ]


def test_who_is_not_the_journal_gets_plain_lines(tmp_path: Path) -> None:
    """Also where the variable was inherited and stderr leads elsewhere."""
    text = logged(tmp_path, journal=False)
    assert text.splitlines() == ["one", "two", "three", "lines", "four", "five"]


@pytest.mark.parametrize(("limit", "warnings"), [(1000, 1), (2064, 0)])
def test_too_few_descriptors_are_warned_of(
    tmp_path: Path,
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
    limit: int,
    warnings: int,
) -> None:
    """Where the default 4,096 connections do not fit into two workers."""
    hardening = mocker.patch("hwentropyd.command.hardening")
    hardening.raise_descriptor_limit.return_value = limit
    (tmp_path / "file").touch()
    assert main(["--runtime-dir", str(tmp_path / "file" / "run")]) == 1
    said = [text for text in caplog.messages if "descriptors" in text]
    assert len(said) == warnings
    for text in said:
        assert re.search(r"1000 descriptors only, so 1968 connections .* the 4096 of", text)
