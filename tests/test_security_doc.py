"""docs/security.md, "Keys in memory": its table and the tests that search memory agree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("tests/daemon/process/test_erased.py", "tests/client/test_erased.py")


def rows() -> list[list[str]]:
    """The cells of the table, without its two head lines."""
    page = (ROOT / "docs/security.md").read_text()
    section = page.split("## Keys in memory")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names() -> set[str]:
    """The names of all tests in those files."""
    return {
        name
        for file in FILES
        for name in re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text(), re.MULTILINE)
    }


def test_the_table_names_every_test_and_no_other() -> None:
    """A test that goes takes its row's word with it; a new one says what it holds."""
    named = {name for row in rows() for name in re.findall(r"`(test_\w+)`", row[-1])}
    assert named == names()


def test_what_no_test_holds_says_what_stays() -> None:
    """Each row says who overwrites, and has a test or names what is not overwritten."""
    table = rows()
    assert len(table) > 10
    for secret, _, who, stays, held in table:
        assert who, secret
        assert held or stays, secret
