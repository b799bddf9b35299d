"""The documents' tables of configuration keys are made from the shipped file."""

from pathlib import Path

import pytest

from tools import keys


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped file in its place, to be written to."""
    copy = tmp_path / "hwentropyd.toml"
    copy.write_text(keys.SHIPPED.read_text())
    monkeypatch.setattr(keys, "SHIPPED", copy)
    return copy


def test_the_documents_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """`make documents` would change none of them."""
    assert keys.write(keys.documents(), ["--check"]) == 0, capsys.readouterr().out


def test_a_comment_that_changed_is_seen(
    changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every document that shows the key is named."""
    changed.write_text(changed.read_text().replace("# Serving processes.", "# Its `workers`."))
    assert keys.write(keys.documents(), ["--check"]) == 1
    said = capsys.readouterr().out
    assert "docs/configuration.md" in said
    assert "docs/man/hwentropyd.toml.5" in said
    assert "| Its `workers`. |" in keys.documents()[keys.GUIDE]
    assert "\nIts\n.Cm workers .\n" in keys.documents()[keys.MANUAL]


@pytest.mark.parametrize(
    ("was", "line", "complaint"),
    [
        ("# A whole number from 1 to 64.", "# From 1 to 64.", "no line of workers begins"),
        ("# Not set: the fair share.", "# Fair.", "what holds where connections is not set"),
    ],
)
def test_a_comment_that_does_not_say_what_holds_is_refused(
    changed: Path, was: str, line: str, complaint: str
) -> None:
    """What a key takes, and what holds where it has no default, stand in its comment."""
    changed.write_text(changed.read_text().replace(was, line))
    with pytest.raises(ValueError, match=complaint):
        keys.documents()


def test_a_document_without_a_place_is_refused() -> None:
    """Rather than left as it is."""
    with pytest.raises(ValueError, match="no place for the keys"):
        keys.replaced("# Nothing\n", "## `[pool]`", "\n## ", r"^\| .*\n", "new")
