"""docs/token-service.md: its examples run, and it names every public call."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwentropy.token_service import Reason, TokenService
from support.daemon import Daemon

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "token-service.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(example: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Against the real daemon, with warnings as errors and no word on standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env=os.environ
        | {
            "HWENTROPY_RUNTIME_DIR": str(real_daemon.directory),
            "PYTHONPATH": f"{ROOT / 'client'}:{ROOT / 'core'}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


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
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ
        | {
            "HWENTROPY_RUNTIME_DIR": str(real_daemon.directory),
            "PYTHONPATH": f"{ROOT / 'client'}:{ROOT / 'core'}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("alice\n", "")
