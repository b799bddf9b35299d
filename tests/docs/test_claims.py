"""Figures that stand in several documents are those of the code."""

import re
from pathlib import Path

import pytest

from hwentropy.history import CLOCK_STEP
from hwentropy.lease import drbg as lease
from hwentropyd.config.schema import PoolConfig, SeedLogConfig
from hwentropyd.confinement import landlock
from hwentropyd.confinement.system_calls import ARCHITECTURES
from hwentropyd.events import clock, clones
from hwentropyd.operating.logs import BURST, PERIOD
from hwentropyd.operating.seed_recorder import QUEUE_RECORDS
from hwentropyd.worker.connection import CHUNK_BYTES
from hwentropyd.worker.engine import THREADS
from hwentropyd.worker.protocols.native import FAST_PATH_BYTES

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


@pytest.mark.parametrize("path", ["client/hwentropy/command/history.py", "docs/history.md"])
def test_when_a_log_is_signed_first_is_told(path: str) -> None:
    """By default."""
    assert f"{SeedLogConfig().sign_records} records" in read(path)


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


def test_the_platforms_are_those_of_the_filters() -> None:
    """The columns that have system call filters are the tables that there are."""
    table = (ROOT / "docs/platforms.md").read_text().split("\n\n")
    rows = next(one for one in table if "| x86-64 |" in one).splitlines()
    names = [cell.strip().replace("-", "_") for cell in rows[0].strip("|").split("|")]
    filters = next(row for row in rows if "filters" in row).strip("|").split("|")
    assert {name for name, has in zip(names, filters, strict=True) if has.strip() == "yes"} == {
        *ARCHITECTURES
    }


def test_landlocks_versions_are_those_of_the_code() -> None:
    """Which kernel brings which of what the daemon uses."""
    assert landlock.__doc__
    used = re.findall(r"(\d+\.\d+)\s+(?:ABI )?(\d) ", landlock.__doc__)
    assert int(used[-1][1]) == landlock.NEWEST_ABI
    told = re.findall(
        r"^\| (\d+\.\d+) \| Landlock (?:\(ABI )?(\d)",
        (ROOT / "docs/platforms.md").read_text(),
        re.MULTILINE,
    )
    assert told == used


def test_the_errors_have_one_name_in_all_languages() -> None:
    """docs/client.md tells when each comes; the other pages point to its rows."""
    told = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/client.md").read_text(), re.MULTILINE)
    )
    rows = re.findall(
        r"^\| `\w+` \| `HWENTROPY_.*\| `(\w+)` \|$",
        (ROOT / "docs/cpp.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 8
    node = (ROOT / "client/node/lib/errors.js").read_text()
    for name in rows:
        assert name in told
        assert re.search(rf"\b{name}\b", node)


@pytest.mark.parametrize(
    "words",
    [
        "at the next look, every 0.5 s",
        "the wall clock was set, by 0.1 s or more",
        "of a large one (over 16 KiB) a piece of 128 KiB, in each of its five threads",
        "with its piece of 16 MiB. The bytes that are ready (128 KiB in Python)",
        "draws for 50 ms more, 250 ms where the daemon does not answer",
    ],
)
def test_what_a_copy_repeats_is_bounded_as_in_the_code(words: str) -> None:
    """The DRBG's document, section "Copies of a machine"."""
    assert words in read("docs/drbg.md")
    assert (clones.LOOK_SECONDS, clock.STEP) == (0.5, 100_000_000)
    assert (FAST_PATH_BYTES, CHUNK_BYTES, THREADS) == (16 << 10, 128 << 10, 5)
    assert (lease.PIECE_BYTES, lease.BLOCK_BYTES) == (16 << 20, 128 << 10)
    assert "HWENTROPY_PIECE_BYTES ((size_t)16 << 20)" in read("client/c/hwentropy.h")
    shared = read("client/node/lib/shared.js")
    assert "const MAX_AGE = 50;" in shared
    assert "const PATIENCE = 250;" in shared


def test_every_sign_of_a_copy_is_in_the_table() -> None:
    """By the name that the status gives it."""
    section = read("docs/drbg.md").partition("## Copies of a machine")[2].partition("## ")[0]
    for sign in clones.SIGNS:
        assert f"| `{sign}`: " in section


def test_what_the_seed_log_holds_back_is_told() -> None:
    """Its document has the figures of its code."""
    told = read("docs/history.md")
    config = SeedLogConfig()
    assert (config.max_bytes, config.sign_records) == (64 << 20, 60)
    assert "64 MiB (`max_bytes`)" in told
    assert "every 60th record (`sign_records`)" in told
    assert f"on their way ({QUEUE_RECORDS} at most" in told
    assert (CLOCK_STEP, "and ten minutes." in told) == (600, True)
