"""docs/man/hwentropy.1 and the command say the same, and every page formats and installs."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from hwentropy.command.cli import cli
from hwentropy.command.completion import VARIABLE
from hwentropy.command.exits import ExitCode
from hwentropy_core import paths
from support import needed
from support.mdoc import FORMATTERS, PAGES, ROOT, Item, Page, complaints, environment_read_by

PAGE = Page("hwentropy.1")
EVERY_PAGE = sorted(path.name for path in PAGES.glob("*.[1-9]"))

#: Of the man-pages project and of systemd.
SYSTEM_PAGES = {
    "getrandom.2",
    "random.4",
    "systemctl.1",
    "systemd.1",
    "systemd.socket.5",
    "unix.7",
}

#: The directories whose code runs in the command.
CODE = [ROOT / "core" / "hwentropy_core", ROOT / "client" / "hwentropy"]


def own_options(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by each of their names, without --help."""
    options = [one for one in command.params if isinstance(one, click.Option)]
    return {flag: one for one in options for flag in (*one.opts, *one.secondary_opts)}


def by_flag(items: list[Item]) -> dict[str, Item]:
    """The entries that describe options; each option stands once."""
    pairs = [(flag, item) for item in items for flag in item.flags]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# The commands


def test_the_page_has_a_section_for_every_command_and_no_other() -> None:
    """COMMANDS are those of the command."""
    assert PAGE.below("COMMANDS").keys() == cli.commands.keys()


@pytest.mark.parametrize("name", cli.commands)
def test_a_command_takes_the_arguments_that_the_page_says(name: str) -> None:
    """The usage line is click's own."""
    command = cli.commands[name]
    pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
    usage = PAGE.below("COMMANDS")[name].usage
    assert usage == f"{name}{''.join(pieces)}".replace("[OPTIONS]", "[options]")


def test_the_global_options_are_those_of_the_group() -> None:
    """With --help in its two spellings, which holds for the commands too."""
    documented = by_flag(PAGE.section("DESCRIPTION").items)
    context = click.Context(cli, **cli.context_settings)
    assert documented.keys() == {*own_options(cli), *context.help_option_names}
    for flag, option in own_options(cli).items():
        metavar = [] if option.is_flag else [option.metavar]
        assert documented[flag].named("Ar") == metavar
    for command in cli.commands.values():
        below = click.Context(command, parent=context)
        assert below.help_option_names == context.help_option_names


def test_no_option_is_named_that_does_not_exist() -> None:
    """Neither in a list nor in a sentence."""
    known = {flag for command in cli.commands.values() for flag in own_options(command)}
    assert PAGE.flags <= known | set(by_flag(PAGE.section("DESCRIPTION").items))


@pytest.mark.parametrize(
    "line",
    [
        line.removeprefix("$ ")
        for display in PAGE.section("EXAMPLES").displays
        for line in display.splitlines()
    ],
)
def test_the_examples_can_be_typed(line: str) -> None:
    """The command takes the words as they stand there."""
    called = [part.strip() for part in line.split("|") if "hwentropy" in part]
    assert called
    for part in called:
        program, name, *rest = shlex.split(part)
        assert program == "hwentropy"
        cli.commands[name].make_context(name, rest)


# Around them


def test_the_exit_codes_are_those_of_the_command() -> None:
    """Each of them, in order, and no other."""
    items = PAGE.section("EXIT STATUS").items
    assert [item.head for item in items] == [[str(code.value)] for code in ExitCode]


def test_the_environment_is_what_the_code_reads() -> None:
    """Every variable that the package asks for, and those of click and rich."""
    documented = set(PAGE.section("ENVIRONMENT").every("Ev"))
    by_libraries = {VARIABLE, "NO_COLOR"}
    by_name = {paths.ENVIRONMENT_VARIABLE, paths.STATE_ENVIRONMENT_VARIABLE}
    assert documented == environment_read_by(*CODE) | by_name | by_libraries
    assert PAGE.every("Ev") == documented


def test_the_files_are_the_sockets() -> None:
    """Those that the command connects to, where the system's daemon has them."""
    sockets = (paths.ENTROPY_SOCKET, paths.CONTROL_SOCKET)
    wanted = [str(paths.SYSTEM_DIR / name) for name in sockets]
    assert PAGE.section("FILES").every("Pa") == wanted


# Every page


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_a_page_is_named_as_its_file(name: str) -> None:
    """`man SECTION NAME` finds what the file says it is."""
    title, section = name.rsplit(".", 1)
    page = Page(name)
    assert page.lines[1] == f".Dt {title.upper()} {section}"
    assert page.section("NAME").lines[0] == f".Nm {title}"


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_a_page_points_to_pages_that_exist(name: str) -> None:
    """All of ours in SEE ALSO, and elsewhere no other than ours and the system's."""
    page = Page(name)

    def called(lines: list[str]) -> set[str]:
        found = re.findall(r"^\.Xr (\S+) (\d)", "\n".join(lines), re.MULTILINE)
        return {f"{title}.{section}" for title, section in found}

    assert set(EVERY_PAGE) - {name} == called(page.section("SEE ALSO").lines) - SYSTEM_PAGES
    assert called(page.lines) <= {*EVERY_PAGE, *SYSTEM_PAGES}


def test_every_page_is_installed() -> None:
    """pyproject.toml puts each where man(1) looks for its section, and no other file."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    files = table["data-files"]
    wanted: dict[str, list[str]] = {}
    for name in EVERY_PAGE:
        wanted.setdefault(f"share/man/man{name[-1]}", []).append(f"docs/man/{name}")
    assert files == wanted


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("name", EVERY_PAGE)
def test_a_page_formats_without_a_complaint(name: str, formatter: str) -> None:
    """Neither a wrong macro nor bad style."""
    told = complaints(formatter, PAGES / name)
    needed.check(None if told is not None else f"{formatter} is not installed")
    assert told == []


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_formatter_does_complain(formatter: str, tmp_path: Path) -> None:
    """Of a macro that does not exist, so that the test above can fail."""
    page = tmp_path / "wrong.1"
    page.write_text((PAGES / "hwentropy.1").read_text() + ".Xx what\n")
    told = complaints(formatter, page)
    needed.check(None if told is not None else f"{formatter} is not installed")
    assert told
