"""docs/independence.md says what the code counts: its groups, its defaults, its example."""

import re
from pathlib import Path

import pytest

from hwentropy_sources.hwrng import HardwareRng, HwrngConfig, hwrng_group
from hwentropy_sources.registry import default_kinds, make_source, source_class
from hwentropy_sources.tpm2.identity import group_of
from hwentropyd.config.load import load
from hwentropyd.config.schema import PoolConfig
from support.script import ROOT, blocks

TEXT = (ROOT / "docs/independence.md").read_text()


def stated() -> dict[str, tuple[str, str]]:
    """The table of defaults: what is read, its group, and what has the same."""
    section = TEXT.split("## What the defaults count")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| `(.*?)` \| (.*?) \|$", section, re.MULTILINE)
    return {what: (group, same) for what, group, same in rows}


def counted(what: str) -> str:
    """The group that the code gives to what a row reads."""
    kind, *rest = re.findall(r"`(.*?)`", what)
    match kind, rest:
        case "hwrng", [path] if path.startswith("/"):
            source = HardwareRng(HwrngConfig(path=path))
            source.open()
            source.close()
            return source.describe().group
        case "hwrng", [current]:
            return hwrng_group(current)
        case "tpm2", [path]:
            return group_of(f"device:{path}" if path.startswith("/") else path)
        case _:
            return make_source(kind, source_class(kind).Config()).describe().group


@pytest.mark.parametrize("what", stated())
def test_each_group_is_the_codes(what: str) -> None:
    """Row by row."""
    assert counted(what) == stated()[what][0]


def test_every_kind_that_is_used_by_default_is_there() -> None:
    """And `rdrand`, which shares a group with one."""
    kinds = {re.findall(r"`(.*?)`", what)[0] for what in stated()}
    assert kinds == {*default_kinds(), "rdrand"}


def test_who_shares_a_group_is_said() -> None:
    """Each row names every other row of its group, or nothing."""
    rows = stated()
    for what, (group, same) in rows.items():
        others = [one for one, (its, _) in rows.items() if its == group and one != what]
        assert same == (", ".join(others) or "nothing"), what


def test_min_groups_is_what_the_page_says() -> None:
    """No promise rests on the groups unless somebody asks."""
    assert f"`min_groups` is {PoolConfig().min_groups} by default" in TEXT


def test_the_example_makes_one_group_of_the_host(tmp_path: Path) -> None:
    """The configuration that is shown loads, and its two sources share a group."""
    (block,) = blocks("independence.md", "toml")
    file = tmp_path / "one.toml"
    file.write_text(block)
    groups = {setup.name: setup.config.group for setup in load(file).sources}
    assert (groups["hwrng"], groups["tpm2"], groups["os"]) == ("host", "host", None)
