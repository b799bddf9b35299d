"""docs/recipes.md and hwentropy.examples, run against a real daemon."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import hwentropy
from hwentropy import examples
from hwentropy_core.wire import Op, Refusal, Request, Status, encode_reply
from support.daemon import Daemon
from support.fake_server import FakeDaemon, Peer
from support.script import blocks, run_block, run_python

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "docs" / "recipes.md").read_text()


def run(
    arguments: list[str], runtime: Path, cwd: Path, stdout: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[str]":
    """A fresh Python with warnings as errors, that finds its daemon in `runtime`."""
    return run_python("-W", "error", *arguments, runtime=runtime, cwd=cwd, stdout=stdout)


@pytest.mark.parametrize("example", blocks("recipes.md"))
def test_every_recipe_runs(example: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Each block runs by itself, with nothing on standard error."""
    run_block(example, real_daemon.directory, tmp_path)


def test_every_name_has_a_recipe_or_a_row() -> None:
    """What the package exports of these modules is used in the recipes or told in client.md."""
    client = (ROOT / "docs" / "client.md").read_text()
    for name in hwentropy.__all__:
        assert re.search(rf"\b{name}\b", RECIPES + client), name


def test_the_examples_walk_through_everything(real_daemon: Daemon, tmp_path: Path) -> None:
    """All sections are printed, each with something below it, and no two runs agree."""
    first, second = (
        run(["-m", "hwentropy.examples"], real_daemon.directory, tmp_path) for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")
    titles = [section.__doc__ for section in examples.SECTIONS]
    blocks = first.stdout.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == titles
    assert all(len(block.splitlines()) > 1 for block in blocks)
    assert list(tmp_path.iterdir()) == []
    fresh = {block for block in blocks if "install numpy" not in block}
    assert not fresh & set(second.stdout.strip().split("\n\n"))


def test_a_reader_that_has_seen_enough_ends_the_examples(
    real_daemon: Daemon, tmp_path: Path
) -> None:
    """As with `| head`: by SIGPIPE, and without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run(["-m", "hwentropy.examples"], real_daemon.directory, tmp_path, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_the_examples_take_no_arguments(tmp_path: Path) -> None:
    """A name that means nothing is refused, and --help draws nothing."""
    assert run(["-m", "hwentropy.examples", "hashing"], tmp_path, tmp_path).returncode == 2
    done = run(["-m", "hwentropy.examples", "--help"], tmp_path, tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")


def test_a_refusal_ends_the_examples_with_a_sentence(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    """A daemon that failed closed: exit code 1, as of the command."""

    def refused(peer: Peer, request: Request | Refusal) -> None:
        assert isinstance(request, Request)
        info = request.op is Op.INFO
        peer.send(
            peer.reply(request) if info else encode_reply(Status.FAILED_CLOSED, request.tag)
        )

    daemon.handler = refused
    done = run(["-m", "hwentropy.examples"], daemon.directory, tmp_path)
    assert done.returncode == 1
    assert "no source to trust" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_daemon_there_are_no_examples(tmp_path: Path) -> None:
    """One sentence with the remedy, and the command's exit code for it."""
    done = run(["-m", "hwentropy.examples"], tmp_path, tmp_path)
    assert done.returncode == 3
    assert "start it with" in done.stderr
    assert "Traceback" not in done.stderr
