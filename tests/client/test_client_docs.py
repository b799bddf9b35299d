"""The examples in docs/client.md and docs/commands.md, run against a real daemon."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hwentropy
from hwentropy.command.cli import cli
from support.daemon import Daemon
from support.script import blocks, run_block
from support.script import environment as script_environment

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
CLIENT = (ROOT / "docs" / "client.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()

SHELL = [line[2:] for block in blocks("commands.md", "console") for line in block.splitlines()]


def environment(real_daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """What an example needs: the daemon, the packages, and a `hwentropy` on PATH."""
    script = tmp_path / "bin" / "hwentropy"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m hwentropy "$@"\n')
    script.chmod(0o755)
    return script_environment(
        real_daemon.directory, PATH=f"{script.parent}:{os.environ['PATH']}"
    )


@pytest.mark.parametrize("example", blocks("client.md"))
def test_python_examples_run(example: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Each block runs by itself, with warnings as errors and nothing on standard error."""
    run_block(example, real_daemon.directory, tmp_path)


@pytest.mark.parametrize("example", SHELL)
def test_shell_examples_run(example: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Each command ends with 0 and says something, or leaves a file.

    The daemon's one source is the kernel, whose generator is not live.
    """
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", example],
        env=environment(real_daemon, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    warned = re.fullmatch(
        rb"hwentropy: warning: .* was met by generators alone.*\n", done.stderr
    )
    fresh = "reseed" in example or "--prediction-resistance" in example
    assert (done.returncode, bool(warned)) == (0, fresh)
    assert warned or not done.stderr
    files = [path for path in tmp_path.iterdir() if path.is_file() and path.stat().st_size]
    assert done.stdout or files


def test_every_command_and_option_is_documented() -> None:
    """docs/commands.md names all of them."""
    for name, command in cli.commands.items():
        assert f"hwentropy {name}" in COMMANDS
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("--") or option in COMMANDS


def test_every_exception_is_documented() -> None:
    """docs/client.md names everything the package exports."""
    for name in hwentropy.__all__:
        assert re.search(rf"\b{name}\b", CLIENT), name
