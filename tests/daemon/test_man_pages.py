"""docs/man/hwentropyd.8 and hwentropyd.toml.5 say what the daemon and its keys do.

How the pages format and install is in tests/client/test_man_pages.py.
"""
# pyright: reportPrivateUsage=false

import argparse
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hwentropy_core import paths
from hwentropy_core.page import ServiceState
from hwentropy_core.varlink import INTERFACE
from hwentropy_sources.contract import SourceConfig
from hwentropy_sources.health.monitor import SourceState
from hwentropy_sources.registry import BUILT_IN, default_kinds, source_class
from hwentropyd import command
from hwentropyd.config.load import DEFAULT_FILE, load
from hwentropyd.config.schema import (
    AccessConfig,
    LimitsConfig,
    PoolConfig,
    SeedLogConfig,
    ServerConfig,
)
from hwentropyd.events import kernel_log
from hwentropyd.operating import signals
from hwentropyd.serving import listeners
from support.mdoc import ROOT, Page, environment_read_by

DAEMON = Page("hwentropyd.8")
KEYS = Page("hwentropyd.toml.5")

#: The directories whose code runs in the daemon.
CODE = [
    ROOT / "core" / "hwentropy_core",
    ROOT / "sources" / "hwentropy_sources",
    ROOT / "daemon" / "hwentropyd",
]

#: Headings of the tables that are no kind of source -> their keys.
TABLES: dict[str, type[Any]] = {
    "[pool]": PoolConfig,
    "[server]": ServerConfig,
    "[limits]": LimitsConfig,
    "[access]": AccessConfig,
    "[seed_log]": SeedLogConfig,
    "[sources.NAME]": SourceConfig,
}


def actions() -> list[argparse.Action]:
    """The options of hwentropyd."""
    return command._parser()._actions


def keys_of(heading: str) -> dict[str, Any]:
    """The keys that a section has to describe; a kind's are those that it adds."""
    struct = TABLES.get(heading) or source_class(heading).Config
    fields = {one.encode_name: one for one in msgspec.structs.fields(struct)}
    if heading in TABLES:
        return fields
    common = {one.encode_name for one in msgspec.structs.fields(SourceConfig)}
    return {key: one for key, one in fields.items() if key not in common}


# hwentropyd


def test_the_options_are_those_of_the_daemon() -> None:
    """All of them and no other, each with its value and its default."""
    items = DAEMON.section("DESCRIPTION").items
    documented = {tuple(item.flags): item for item in items}
    assert len(items) == len(documented)
    assert documented.keys() == {tuple(action.option_strings) for action in actions()}
    for action in actions():
        item = documented[tuple(action.option_strings)]
        assert item.named("Ar") == ([action.metavar] if action.metavar else [])
        assert item.named("Cm") == list(action.choices or ())
        said = re.findall(r"default (\S+?)\.(?= |$)", item.text)
        assert said == ([action.default] if action.choices else [])


def test_the_synopsis_has_every_option_once() -> None:
    """In two lines: to serve, and to look something up."""
    named = [f"-{name}" for name in DAEMON.section("SYNOPSIS").every("Fl")]
    known = [spelling for action in actions() for spelling in action.option_strings]
    assert sorted(named) == sorted(known)
    assert DAEMON.flags == set(known)


def test_the_exit_codes_are_those_of_the_daemon() -> None:
    """Each of them, in order, and no other."""
    codes = [value for name, value in vars(command).items() if name.startswith("EXIT_")]
    items = DAEMON.section("EXIT STATUS").items
    assert [item.head for item in items] == [[str(code)] for code in sorted(codes)]


def test_the_signals_are_those_that_it_handles() -> None:
    """The supervisor's; its workers follow it."""
    handled = [number.name for number in signals.STOP]
    items = DAEMON.section("SIGNALS").items
    assert [item.named("Dv") for item in items] == [handled]


def test_the_environment_is_what_the_code_reads() -> None:
    """Every variable that the three packages ask for."""
    documented = {
        name for item in DAEMON.section("ENVIRONMENT").items for name in item.named("Ev")
    }
    assert documented == environment_read_by(*CODE) | {
        paths.ENVIRONMENT_VARIABLE,
        paths.STATE_ENVIRONMENT_VARIABLE,
    }
    assert DAEMON.every("Ev") == documented


def test_the_sockets_are_those_that_it_makes() -> None:
    """Each with its file name and mode, and how systemd may name them."""
    section = DAEMON.section("SOCKETS")
    documented = {item.named("Pa")[0]: item.text for item in section.items}
    assert documented.keys() == {file for file, _ in listeners.SOCKETS.values()}
    for file, mode in listeners.SOCKETS.values():
        assert f"Mode 0{mode:o}" in documented[file]
    assert set(section.every("Ql")) == {*listeners.SOCKETS, listeners.GROUP, INTERFACE}


def test_the_files_are_those_that_it_reads_and_makes() -> None:
    """The configuration, the kernel's log, the directories and the lock."""
    lock = re.search(r'directory / "(\.\w+)"', inspect.getsource(listeners))
    assert lock
    assert [item.named("Pa") for item in DAEMON.section("FILES").items] == [
        [str(DEFAULT_FILE)],
        [f"{DEFAULT_FILE}.d/*.toml"],
        [str(kernel_log.PATH)],
        [str(paths.SYSTEM_DIR)],
        [str(paths.SYSTEM_DIR / lock[1])],
        [str(paths.SYSTEM_STATE_DIR)],
    ]


def test_the_states_are_those_of_service_and_source() -> None:
    """As `hwentropy status` and `hwentropy sources` show them."""
    below = DAEMON.below("DESCRIPTION")
    told = {name: [item.named("Cm") for item in part.items] for name, part in below.items()}
    assert told == {
        "States of the service": [[state.label] for state in ServiceState],
        "States of a source": [[state.value] for state in SourceState],
    }


@pytest.mark.parametrize(
    "line",
    [
        line
        for display in DAEMON.section("EXAMPLES").displays
        for line in display.splitlines()
        if line[2:].startswith("hwentropyd ")
    ],
)
def test_the_examples_can_be_typed(line: str) -> None:
    """The daemon takes the options as they stand there."""
    _, *options = shlex.split(line[2:].split("&&", maxsplit=1)[0])
    assert options
    command._parser().parse_args(options)


# hwentropyd.toml


def test_the_tables_are_those_that_the_daemon_knows() -> None:
    """Of the sources each built-in kind, in the order of a status."""
    assert list(KEYS.below("TABLES")) == [*TABLES, *BUILT_IN]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_kind_is_used_by_default_where_the_page_says_so(kind: str) -> None:
    """The first sentence of each."""
    first = KEYS.below("TABLES")[kind].lines[0]
    assert first == ("Used by default." if kind in default_kinds() else "Not used by default.")


def test_no_key_is_named_that_does_not_exist() -> None:
    """Neither in a list nor in a sentence, on either page."""
    known = {key for heading in [*TABLES, *BUILT_IN] for key in keys_of(heading)}
    assert KEYS.every("Cm") <= known | set(BUILT_IN) | {"history"}
    assert {word for word in DAEMON.every("Cm") if "_" in word} <= known


def test_the_pages_options_are_those_of_the_daemon() -> None:
    """What the page on the configuration says of the command line."""
    text = "\n".join(KEYS.lines).replace("\\-", "-")
    named = KEYS.flags | set(re.findall(r"(?<!-)--[a-z-]+", text))
    assert named <= {spelling for action in actions() for spelling in action.option_strings}
    assert KEYS.section("FILES").items[0].named("Pa") == [str(DEFAULT_FILE)]
    assert KEYS.section("FILES").items[1].named("Pa") == [f"{DEFAULT_FILE}.d/*.toml"]


@pytest.mark.parametrize("example", KEYS.section("EXAMPLES").displays)
def test_the_examples_load(example: str, tmp_path: Path) -> None:
    """Each is a drop-in that can be copied, and changes something."""
    file = tmp_path / "example.toml"
    file.write_text(example)
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    changed, standard = load(file), load(empty)
    assert (changed.pool, changed.sources) != (standard.pool, standard.sources)
