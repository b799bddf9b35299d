"""Figures that stand in several documents are those of the code."""

import re
from pathlib import Path

import pytest

from hwentropyd.config.schema import PoolConfig
from hwentropyd.operating.logs import BURST, PERIOD

ROOT = Path(__file__).parents[2]


def read(path: str) -> str:
    """A file of the tree, on one line."""
    return " ".join((ROOT / path).read_text().split())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("README.md", "serves on as `degraded` for an hour or 1 GiB, whichever comes first"),
        ("docs/man/hwentropyd.8", "an hour and 1 GiB unless configured otherwise"),
    ],
)
def test_what_degraded_serves_is_what_is_configured(path: str, words: str) -> None:
    """Without a configuration."""
    assert words in read(path)
    assert (PoolConfig().degraded_seconds, PoolConfig().degraded_bytes) == (3600, 1 << 30)


@pytest.mark.parametrize("path", ["README.md", "docs/man/hwentropyd.8"])
def test_the_default_trusts_the_kernel_alone(path: str) -> None:
    """One group makes a seed (what the kernel alone does: tests/daemon/process)."""
    assert "generator alone makes the seed" in read(path)
    assert PoolConfig().min_groups == 1


@pytest.mark.parametrize("path", ["docs/systemd.md", "docs/man/hwentropyd.8"])
def test_the_limit_of_the_log_is_told(path: str) -> None:
    """Lines of one kind."""
    assert PERIOD == 60
    assert re.search(rf"Of one kind of line .*?at most {BURST} ", read(path))


def test_the_age_of_what_node_knows_is_told() -> None:
    """How long after a reseed the Node.js client may go on with a lease."""
    found = re.search(r"MAX_AGE = (\d+);", read("client/node/lib/shared.js"))
    assert found
    told = f"{found[1]} ms before the draw beg"
    assert told in read("docs/protocol.md")
    assert told in read("docs/node.md")
