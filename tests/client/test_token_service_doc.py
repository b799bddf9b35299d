"""docs/token-service.md: its examples run, and it names every public call."""

import inspect
from pathlib import Path

import pytest

from hwentropy.token_service import Reason, TokenService
from support.daemon import Daemon
from support.script import blocks, run_block

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "token-service.md").read_text()


@pytest.mark.parametrize("example", blocks("token-service.md"))
def test_the_examples_run(example: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Against the real daemon, with warnings as errors and no word on standard error."""
    assert run_block(example, real_daemon.directory, tmp_path)


def test_every_call_and_reason_is_named() -> None:
    """The public methods, their keywords, and the reasons of a refusal."""
    for name, method in inspect.getmembers(TokenService, inspect.isfunction):
        if name.startswith("_") or name == "close":
            continue
        assert f"`{name}(" in TEXT
        for parameter in inspect.signature(method).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                assert f"{parameter.name}=" in TEXT, (name, parameter.name)
    assert all(f"`{reason}`" in TEXT for reason in Reason)


def test_a_real_api_key_is_issued_and_checked(real_daemon: Daemon, tmp_path: Path) -> None:
    """With nothing injected: the key has the format of hwentropy.apikeys and is accepted."""
    script = (
        "import hwentropy\n"
        "with hwentropy.TokenService('tokens.db') as service:\n"
        "    issued = service.create_api_key('alice', prefix='acme_live')\n"
        "    assert hwentropy.parse_api_key(issued.token).prefix == 'acme_live'\n"
        "    print(service.validate(issued.token).owner)\n"
    )
    assert run_block(script, real_daemon.directory, tmp_path) == "alice\n"
