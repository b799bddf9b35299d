"""The documents' tables of commands and options are made from the command's code."""

import click
import pytest

from hwentropy.command.cli import cli
from tools import commands, keys


def test_the_documents_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """`make documents` would change none of them."""
    assert keys.write(commands.documents(), ["--check"]) == 0, capsys.readouterr().out


def test_an_option_that_changed_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its value, its default and what it names."""
    count = click.Option(
        ["--new-count"], metavar="K", default=3, show_default=True, help="K, as --json has."
    )
    monkeypatch.setattr(cli.commands["int"], "params", [count])
    assert keys.write(commands.documents(), ["--check"]) == 1
    said = capsys.readouterr().out
    assert "docs/commands.md" in said
    assert "docs/man/hwentropy.1" in said
    page = commands.documents()[commands.MANUAL]
    assert ".It Fl -new\\-count Ar K\n.Ar K ,\nas\n.Fl -json\nhas; default 3.\n" in page
