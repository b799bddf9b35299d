"""Alarms are warnings to the journal, and plain lines to everybody else."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropyd.command import main
from hwentropyd.operating.logs import BURST, PERIOD, Sparing
from support.daemon import ROOT
from support.terminal import in_terminal

SCRIPT = """
import logging
from hwentropyd.operating import logs
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


def test_a_terminal_gets_the_time_of_day() -> None:
    """Somebody who looks at it later has no journal to ask when that was."""
    code, shown = in_terminal([sys.executable, "-c", SCRIPT], JOURNAL_STREAM="1:2")
    assert code == 0
    lines = shown.decode().splitlines()
    assert re.fullmatch(r"[0-2]\d:[0-5]\d:[0-6]\d two", lines[1])
    assert lines[3] == "lines"


@pytest.mark.parametrize(("limit", "warnings"), [(1000, 1), (2064, 0)])
def test_too_few_descriptors_are_warned_of(
    tmp_path: Path,
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
    limit: int,
    warnings: int,
) -> None:
    """Where the default 4,096 connections do not fit into two workers."""
    confinement = mocker.patch("hwentropyd.command.confinement")
    confinement.raise_descriptor_limit.return_value = limit
    (tmp_path / "file").touch()
    assert main(["--runtime-dir", str(tmp_path / "file" / "run")]) == 1
    said = [text for text in caplog.messages if "descriptors" in text]
    assert len(said) == warnings
    for text in said:
        assert re.search(r"1000 descriptors only, so 1968 connections .* the 4096 of", text)


def test_with_fewer_descriptors_than_it_needs_it_does_not_start(
    tmp_path: Path, mocker: MockerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and no socket made; with what is asked for it would go on."""
    confinement = mocker.patch("hwentropyd.command.confinement")
    (tmp_path / "file").touch()
    said = []
    for limit in (20, 1000):
        confinement.raise_descriptor_limit.return_value = limit
        assert main(["--runtime-dir", str(tmp_path / "file" / "run")]) == 1
        said.append(capsys.readouterr().err)
    needed = re.search(r"20 descriptors only, and the supervisor needs (\d+): raise", said[0])
    assert needed
    assert "not a directory" in said[1]


def record(
    line: int, text: str = "%s is full", level: int = logging.WARNING
) -> logging.LogRecord:
    """A record that was made in this line of a file."""
    return logging.LogRecord("test", level, "file.py", line, text, ("disk",), None)


def test_a_flood_of_one_kind_leaves_room_for_the_others() -> None:
    """BURST lines of a place in the code, with a word on the rest; another place is heard."""
    now = [0.0]
    spare = Sparing(lambda: now[0])
    flood = [record(1) for _ in range(1000)]
    passed = [one.getMessage() for one in flood if spare.filter(one)]
    assert passed == ["disk is full"] * (BURST - 1) + [
        "disk is full (more of these are left out for 60 s)"
    ]
    other = record(2)
    assert spare.filter(other)
    assert other.getMessage() == "disk is full"
    now[0] = PERIOD
    after = [one for one in (record(1), record(1)) if spare.filter(one)]
    assert [one.getMessage() for one in after] == [
        f"disk is full ({1000 - BURST} more were left out before)",
        "disk is full",
    ]


def test_debug_lines_are_never_left_out() -> None:
    """Who asks for them wants all of them."""
    spare = Sparing(lambda: 0.0)
    assert all(spare.filter(record(1, level=logging.DEBUG)) for _ in range(1000))


def test_lines_whose_texts_differ_are_of_one_kind() -> None:
    """What a peer can put into a text does not make it a kind of its own."""
    spare = Sparing(lambda: 0.0)
    assert sum(spare.filter(record(1, f"task {n} %s")) for n in range(1000)) == BURST
