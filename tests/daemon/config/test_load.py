"""The configuration: what is read, what wins, and what an error says."""

import os
import re
import socket
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from pytest_mock import MockerFixture
from tools.keys import KEY, SHIPPED, TABLES, shipped

from hwentropy_sources import registry
from hwentropy_sources.contract import Claim, Description, Source, SourceConfig
from hwentropy_sources.registry import default_kinds
from hwentropyd.command import main
from hwentropyd.config import words as config_words
from hwentropyd.config.load import MAX_FILE_BYTES, ConfigError, load
from hwentropyd.config.schema import LimitsConfig, PoolConfig, ServerConfig

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.toml"))

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file."""

    def written(text: str) -> Path:
        path = tmp_path / "hwentropyd.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def built_in(tmp_path: Path, mocker: MockerFixture) -> Any:
    """What is used with no configuration file at all."""
    mocker.patch("hwentropyd.config.load.DEFAULT_FILE", tmp_path / "none" / "hwentropyd.toml")
    return load()


def fields_of(struct: type[Any]) -> dict[str, Any]:
    """Keys of a structure."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def test_the_shipped_file_says_what_holds_without_it(built_in: Any) -> None:
    """Nothing changes when somebody installs it."""
    shipped = load(SHIPPED)
    assert shipped.pool == built_in.pool == PoolConfig()
    assert shipped.server == built_in.server == ServerConfig()
    assert shipped.limits == built_in.limits == LimitsConfig()
    assert shipped.access == built_in.access
    assert (shipped.limits_for, built_in.limits_for) == ((), ())
    assert [(one.name, one.kind, one.config) for one in shipped.sources] == [
        (one.name, one.kind, one.config) for one in built_in.sources
    ]
    assert [one.name for one in shipped.sources] == list(default_kinds())
    assert (shipped.files, built_in.files) == ((SHIPPED,), ())


@pytest.mark.parametrize("table", TABLES)
def test_the_shipped_file_shows_every_key(table: str) -> None:
    """A key that the code knows is there: set, or commented out where it has no default."""
    shown = shipped()[table]
    common = set() if table == "sources.os" else set(fields_of(SourceConfig))
    fields = fields_of(TABLES[table])
    wanted = set(fields) - (common if table.startswith("sources.") else set())
    assert wanted <= shown.keys()
    for key in wanted:
        off = shown[key].off
        assert off == (
            fields[key].required or (fields[key].default in {None, ""} and key != "tcti")
        )


def test_the_shipped_file_holds_no_key_of_nobody() -> None:
    """Neither a table nor a key, set or commented out, that the code does not know."""
    shown = shipped()
    assert shown.keys() == TABLES.keys()
    for table, keys in shown.items():
        assert keys.keys() <= fields_of(TABLES[table]).keys()


def test_what_the_shipped_file_has_commented_out_would_be_accepted(write: Write) -> None:
    """Somebody who takes a `#` away gets what the comment shows."""
    lines = []
    for line in SHIPPED.read_text().splitlines():
        match = KEY.fullmatch(line)
        lines.append(f"{match['key']} = {match['value']}" if match and match["off"] else line)
    assert [one.name for one in load(write("\n".join(lines))).sources] == list(default_kinds())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_load_and_change_something(example: Path) -> None:
    """A drop-in that is shipped works, and is not the default."""
    changed, shipped = load(example), load(SHIPPED)
    assert (changed.pool, changed.sources) != (shipped.pool, shipped.sources)


def test_there_are_examples() -> None:
    """The test above has something to look at."""
    assert len(EXAMPLES) >= 3


# Which file says it


def test_drop_ins_override_by_name_and_key_by_key(write: Write) -> None:
    """A later file changes the keys that it sets, and those alone."""
    file = write("[pool]\nmin_bits = 400\nmin_groups = 2\n[sources.os]\ncredit = false\n")
    drop_ins = file.with_name(file.name + ".d")
    drop_ins.mkdir()
    (drop_ins / "20-b.toml").write_text("[pool]\nmin_bits = 600\n")
    (drop_ins / "10-a.toml").write_text("[pool]\nmin_bits = 500\nreseed_seconds = 30\n")
    (drop_ins / "30-not.conf").write_text("[pool]\nmin_bits = 700\n")
    (drop_ins / ".#40-editor.toml").write_text("not TOML at all")
    config = load(file)
    assert config.pool.min_bits == 600
    assert config.pool.min_groups == 2
    assert config.pool.reseed_seconds == 30
    assert not config.sources[0].config.credit
    assert config.files == (file, drop_ins / "10-a.toml", drop_ins / "20-b.toml")


def test_drop_ins_hold_without_a_main_file(tmp_path: Path, mocker: MockerFixture) -> None:
    """Who changes one key needs no copy of the rest."""
    mocker.patch("hwentropyd.config.load.DEFAULT_FILE", tmp_path / "hwentropyd.toml")
    (tmp_path / "hwentropyd.toml.d").mkdir()
    (tmp_path / "hwentropyd.toml.d" / "a.toml").write_text("[server]\nworkers = 3\n")
    assert load().server.workers == 3


@pytest.mark.parametrize(
    ("main_file", "drop_in", "names", "key"),
    [
        ("[pool]\nmin_bits = 400\n", "[pool]\nmin_bits = 3\n", "drop-in", "pool.min_bits"),
        ("[pool]\nmin_bits = 3\n", "[pool]\nmin_groups = 2\n", "main", "pool.min_bits"),
        ("[pool]\nmin_bits = 3\n", "[pool]\nmin_bits = 4\n", "drop-in", "pool.min_bits"),
        ("[pool]\nmin_bits = 400\n", "pool = 3\n", "drop-in", "pool"),
        ("", "[sources.tpm2]\ntcit = ''\n", "drop-in", "sources.tpm2.tcit"),
        ("[sources.a]\nkind = 'b'\n", "[sources.a]\ncredit = true\n", "main", "sources.a.kind"),
    ],
)
def test_an_error_names_the_file_that_set_the_key(
    write: Write, main_file: str, drop_in: str, names: str, key: str
) -> None:
    """The one of several files that has to be mended."""
    file = write(main_file)
    other = file.with_name(file.name + ".d") / "50-mine.toml"
    other.parent.mkdir()
    other.write_text(drop_in)
    with pytest.raises(ConfigError) as caught:
        load(file)
    culprit = other if names == "drop-in" else file
    assert str(caught.value).startswith(f"{culprit}: {key}: ")


# What an error says


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[pol]",
            "pol: unknown table; allowed are pool, server, limits, access, seed_log, sources",
        ),
        ("workers = 2", "workers: stands in no table; put it below [server]"),
        (
            "worker = 2",
            (
                "worker: unknown table; allowed are pool, server, limits, access, seed_log, "
                "sources"
            ),
        ),
        (
            "[access]\nstream = ['alice']",
            'access.stream: each must be "*", "user:NAME", "group:NAME" or ',
        ),
        (
            "[access]\nstream = ['user:no-such-user']",
            "access.stream: there is no user 'no-such-user' on this machine",
        ),
        (
            "[limits.users.no-such-user]\nconnections = 1",
            "limits.users.no-such-user: there is no user 'no-such-user' on this machine",
        ),
        (
            "[limits.groups.0]\nconnections = 0",
            "limits.groups.0.connections: must be a whole number from 1 to 65536, not 0",
        ),
        (
            "[limits.units.nginx]\nconnections = 1",
            "limits.units.nginx: 'nginx' is no name of a unit: write NAME.service or ",
        ),
        (
            "[limits.units.nginx.service]\nconnections = 1",
            "limits.units.nginx: 'nginx' is no name of a unit: write NAME.service or ",
        ),
        ("[limits]\nusers = 3", "limits.users: must be tables: [limits.users.<name>]"),
        (
            "[limits.users.root]\nunread_bytes = 3",
            "limits.users.root.unread_bytes: unknown key; allowed are connections, ",
        ),
        ("[server]\nworker = 2", "server.worker: unknown key; allowed are workers, "),
        (
            "[sources.os]\npath = ''",
            "sources.os.path: unknown key; allowed are kind, enabled, ",
        ),
        ("pool = 3", "pool: must be a table: [pool]"),
        ("sources = []", "sources: must be tables: [sources.<name>]"),
        ("[sources]\ntpm2 = true", "sources.tpm2: must be a table: [sources.tpm2]"),
        ("[[pool]]\nmin_bits = 400", "pool: must be a table: [pool]"),
        (
            "[pool]\nmin_bits = 256",
            "pool.min_bits: must be a whole number from 320 to 2048, not 256",
        ),
        (
            "[pool]\nmin_bits = 400.0",
            "pool.min_bits: must be a whole number from 320 to 2048, not 400.0",
        ),
        (
            '[server]\nworkers = "two"',
            'server.workers: must be a whole number from 1 to 64, not "two"',
        ),
        (
            "[server]\nworkers = true",
            "server.workers: must be a whole number from 1 to 64, not true",
        ),
        (
            "[server]\nworkers = [2]",
            "server.workers: must be a whole number from 1 to 64, not an array",
        ),
        (
            "[server]\nworkers = {}",
            "server.workers: must be a whole number from 1 to 64, not a table",
        ),
        (
            "[server]\nworkers = 2026-01-31",
            "server.workers: must be a whole number from 1 to 64, not 2026-01-31",
        ),
        (
            "[pool]\nreseed_seconds = nan",
            "pool.reseed_seconds: must be a number from 1 to 86400, not nan",
        ),
        (
            "[pool]\nreseed_seconds = inf",
            "pool.reseed_seconds: must be a number from 1 to 86400, not inf",
        ),
        (
            f"[pool]\nreseed_seconds = 1{'0' * 400}",
            f"pool.reseed_seconds: must be a number from 1 to 86400, not 1{'0' * 59}…",
        ),
        ("[sources.os]\nenabled = 'no'", 'sources.os.enabled: must be true or false, not "no"'),
        ("[sources.os]\ngroup = 3", "sources.os.group: must be a string, not 3"),
        ("[sources.os]\nkind = 3", "sources.os.kind: must be a string, not 3"),
        ("[sources.os]\nkind = 0", "sources.os.kind: must be a string, not 0"),
        (
            "[sources.os]\nmin_entropy = 0",
            "sources.os.min_entropy: must be a number from 0.03125 to 64, not 0",
        ),
        (
            "[sources.os]\nmin_entropy = 8.5",
            "sources.os.min_entropy: must be at most 8, the bits of a sample, not 8.5",
        ),
        (
            "[sources.replay]\npath = 'x'\nbits_per_sample = 1\nmin_entropy = 2",
            "sources.replay.min_entropy: must be at most 1, the bits of a sample, not 2",
        ),
        ('[sources.""]\nkind = "os"', "sources.: the name must have printable characters"),
        (
            '[sources."a\\u001b[31m"]\nkind = "os"',
            r"sources.'a\x1b[31m': the name must have printable characters",
        ),
        (
            "[sources.tpm2]\nsession = 'open'",
            'sources.tpm2.session: must be one of "encrypted", "plain", not "open"',
        ),
        ("[sources.replay]", "sources.replay.path: has to be set: a string"),
        (
            "[sources.replay]\npath = 'x'\nbits_per_sample = 12",
            "sources.replay: recording x: bits_per_sample is 12: 1 to 8, 16, 32 or 64",
        ),
        (
            "[sources.replay]\nenabled = false\nloop = 3",
            "sources.replay.loop: must be true or false, not 3",
        ),
        (
            "[sources.cubes]",
            "sources.cubes: there is no source kind 'cubes'; known are os, cpu, ",
        ),
        (
            "[sources.a]\nkind = 'cubes'",
            "sources.a.kind: there is no source kind 'cubes'; known",
        ),
        ("min_bits == 3", "not TOML: "),
        ("a = " + "[" * 5000, "not TOML: nested too deeply"),
        ("a = " + "1" * 5000, "not TOML: a number has too many digits"),
        (
            "[server]\nworkers = 0x" + "f" * 5000,
            f"server.workers: must be a whole number from 1 to 64, not 0x{'f' * 58}…",
        ),
        (
            f"[server]\n{'w' * 5000} = 2",
            f"server.{'w' * 60}…: unknown key; allowed are workers, ",
        ),
        (".".join("a" * 500) + " = 1", "a: tables are nested more than 16 deep"),
        ("[" + ".".join("a" * 500) + "]", "a: tables are nested more than 16 deep"),
        (
            "[sources.os]\na = " + "{a = " * 100 + "1" + "}" * 100,
            "sources: tables are nested more than 16 deep",
        ),
    ],
)
def test_an_error_is_one_sentence_that_names_file_key_and_what_is_allowed(
    write: Write, text: str, said: str
) -> None:
    """Somebody who reads it can mend the file without reading anything else."""
    file = write(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dots", [1500, 100_000])
def test_a_key_of_very_many_parts_is_not_parsed(write: Write, dots: int) -> None:
    """The parser would take minutes for it; the line is named."""
    file = write("\n" + "a." * dots + "b = 1\n")
    with pytest.raises(
        ConfigError, match=r"toml: line 2 has more than 500 dots; write it as several$"
    ):
        load(file)


def test_a_file_that_is_not_utf8_is_said_to_be_so(tmp_path: Path) -> None:
    """With the place, and without a traceback."""
    file = tmp_path / "a.toml"
    file.write_bytes(b"# caf\xe9\n")
    with pytest.raises(
        ConfigError, match=r"a\.toml: not UTF-8 at byte 5; TOML files are UTF-8"
    ):
        load(file)


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    """A typing error in --config is not the built-in defaults."""
    with pytest.raises(
        ConfigError, match="there is no such file; --config names one that is there"
    ):
        load(tmp_path / "typo.toml")


def fifo(path: Path) -> Path:
    """A FIFO: to open it blocks until somebody writes."""
    os.mkfifo(path)
    return path


def socket_file(path: Path) -> Path:
    """A socket's file."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    return path


def link_to(target: str) -> Callable[[Path], Path]:
    """Makes a symbolic link to this."""

    def linked(path: Path) -> Path:
        path.symlink_to(target)
        return path

    return linked


def directory(path: Path) -> Path:
    """A directory."""
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (fifo, "a FIFO"),
        (socket_file, "a socket"),
        (directory, "a directory"),
        (link_to("/dev/zero"), "a device"),
        (link_to("/dev/tty"), "a device"),
    ],
)
def test_only_a_regular_file_is_read(make: Callable[[Path], Path], kind: str) -> None:
    """Neither for --config nor among the drop-ins: one sentence, and no wait."""
    said = rf"a\.toml: cannot be read \(it is {kind}\); name a regular file"
    # Not tmp_path: its name may be too long for a socket's path.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        with pytest.raises(ConfigError, match=said):
            load(make(Path(name) / "a.toml"))
        file = Path(name) / "main.toml"
        file.touch()
        drop_ins = Path(name) / "main.toml.d"
        drop_ins.mkdir()
        make(drop_ins / "a.toml")
        with pytest.raises(ConfigError, match=said):
            load(file)


def test_a_link_to_a_file_is_read(write: Write, tmp_path: Path) -> None:
    """As configuration management leaves them."""
    file = write("[server]\nworkers = 7\n")
    assert load(link_to(str(file))(tmp_path / "link.toml")).server.workers == 7


def test_a_fifo_put_in_the_place_of_the_file_is_not_waited_for(
    write: Write, mocker: MockerFixture
) -> None:
    """Between the look at it and its opening."""
    file = write("")
    regular = file.stat()
    file.unlink()
    fifo(file)
    mocker.patch.object(Path, "stat", return_value=regular)
    with pytest.raises(ConfigError, match=r"cannot be read \(it is a FIFO\)"):
        load(file)


def test_a_file_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """At most MAX_FILE_BYTES; a comment may fill them."""
    file = tmp_path / "a.toml"
    file.write_bytes(b"#" * MAX_FILE_BYTES)
    load(file)
    with file.open("ab") as stream:
        stream.truncate(1 << 40)  # a sparse file
    with pytest.raises(ConfigError, match=f"longer than {MAX_FILE_BYTES} bytes"):
        load(file)


def test_drop_ins_that_may_not_be_read_are_an_error(
    write: Write, mocker: MockerFixture
) -> None:
    """A drop-in that raises min_groups must not be passed over in silence."""
    file = write("")
    mocker.patch.object(Path, "iterdir", side_effect=PermissionError(13, "Permission denied"))
    with pytest.raises(ConfigError, match=r"toml\.d: cannot be read \(Permission denied\)"):
        load(file)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user may look into (those of pytest are its user's own)."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def as_nobody() -> Generator[None, None, None]:
    """Without root's rights for a moment."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_may_not_be_read_is_an_error(open_dir: Path, mocker: MockerFixture) -> None:
    """As another user: the drop-ins, the file, and the default file's directory."""
    file = open_dir / "etc" / "hwentropyd.toml"
    file.parent.mkdir()
    file.touch(mode=0o644)
    (open_dir / "etc" / "hwentropyd.toml.d").mkdir(mode=0o700)
    with as_nobody(), pytest.raises(ConfigError, match=r"toml\.d: cannot be read \(Permission"):
        load(file)
    file.chmod(0o600)
    with as_nobody(), pytest.raises(ConfigError, match=r"\.toml: cannot be read \(Permission"):
        load(file)
    file.parent.chmod(0o700)
    mocker.patch("hwentropyd.config.load.DEFAULT_FILE", file)
    with as_nobody(), pytest.raises(ConfigError, match=r"\.toml: cannot be read \(Permission"):
        load()


@pytest.mark.parametrize("table", TABLES)
def test_every_key_refuses_what_is_no_value_of_it(write: Write, table: str) -> None:
    """A table in the place of a value: the error is of that key and says what it takes."""
    for key in fields_of(TABLES[table]):
        file = write(f"[{table}]\n{key} = {{ a = 1 }}\n")
        with pytest.raises(ConfigError) as caught:
            load(file)
        takes = config_words.allowed(TABLES[table], key)
        assert str(caught.value) == f"{file}: {table}.{key}: must be {takes}, not a table"


@pytest.mark.parametrize(
    ("table", "struct"),
    [("pool", PoolConfig), ("server", ServerConfig), ("sources.os", SourceConfig)],
)
def test_both_ends_of_every_range_are_allowed_and_the_next_are_not(
    write: Write, table: str, struct: type[Any]
) -> None:
    """The words `from 1 to 64` mean what they say."""
    for key in fields_of(struct):
        match = re.search(
            r"number from ([\d.]+) to ([\d.]+)", config_words.allowed(struct, key)
        )
        if match is None:
            continue
        low, high = match.groups()
        # What a sample can hold is a limit of its own.
        allowed = (low, "8") if key == "min_entropy" else (low, high)
        for value in allowed:
            load(write(f"[{table}]\n{key} = {value}\n"))
        for value in (f"-{high}", str(float(low) - 0.01), f"{high}1"):
            with pytest.raises(ConfigError, match=re.escape(f"{table}.{key}: must be ")):
                load(write(f"[{table}]\n{key} = {value}\n"))


# Sources


def test_a_name_and_a_kind_of_its_own(write: Write) -> None:
    """Two TPMs are two tables of one kind; the default ones stay."""
    config = load(write("[sources.second]\nkind = 'tpm2'\ntcti = 'device:/dev/tpmrm1'\n"))
    assert [one.name for one in config.sources] == [*default_kinds(), "second"]
    assert config.sources[-1].kind == "tpm2"


def test_a_default_source_can_be_switched_off(write: Write) -> None:
    """And is then not there, whatever else its table says."""
    config = load(write("[sources.tpm2]\nenabled = false\nsession = 'plain'\n"))
    assert "tpm2" not in [one.name for one in config.sources]


class DiceConfig(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys of a plug-in."""

    sides: int
    faces: list[str] = msgspec.field(default_factory=list)
    above: float | None = None


class Dice(Source):
    """A plug-in."""

    kind: ClassVar[str] = "dice"
    Config: ClassVar[type[SourceConfig]] = DiceConfig

    def __init__(self, config: SourceConfig) -> None:
        """Keep nothing."""

    def describe(self) -> Description:
        """A die."""
        return Description("dice", Claim(8, 2.0, "six sides"))

    def open(self) -> None:
        """Nothing to open."""

    def read(self, samples: int, timeout: float) -> bytes:
        """Never asked in these tests."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def loads(mocker: MockerFixture) -> list[str]:
    """Installs the plug-in; holds the kinds whose code was loaded."""
    loaded: list[str] = []

    class Point:
        name = "dice"
        value = "my_package.dice:Dice"
        dist = None

        def load(self) -> type[Source]:
            loaded.append(self.name)
            return Dice

    def points(*, group: str, name: str = "dice") -> list[EntryPoint | Point]:
        assert group == registry.ENTRY_POINT_GROUP
        return [Point()] if name == "dice" else []

    mocker.patch.object(registry, "entry_points", points)
    return loaded


def test_a_plug_in_is_loaded_when_it_is_named(write: Write, loads: list[str]) -> None:
    """With its own keys, checked as the built-in ones are."""
    config = load(write("[sources.d]\nkind = 'dice'\nsides = 6\n"))
    assert config.sources[-1].config == DiceConfig(kind="dice", sides=6)
    assert loads


@pytest.mark.parametrize("text", ["", "[sources.dice]\nenabled = false\nsides = 'x'\n"])
def test_a_plug_in_that_is_not_used_runs_no_code(
    write: Write, loads: list[str], text: str
) -> None:
    """An installed package, even one whose table is switched off."""
    load(write(text))
    assert loads == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "sources.dice.sides: has to be set: a whole number"),
        ("sides = 'x'", 'sources.dice.sides: must be a whole number, not "x"'),
        ("sides = 6\nfaces = 3", "sources.dice.faces: must be an array, each a string, not 3"),
        ("sides = 6\nface = 3", "sources.dice.face: unknown key; allowed are kind, enabled, "),
        ("sides = 6\nabove = true", "sources.dice.above: must be a number, not true"),
    ],
)
def test_a_plug_ins_keys_are_explained_too(
    write: Write, loads: list[str], text: str, said: str
) -> None:
    """From its own structure."""
    file = write(f"[sources.dice]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {said}")


# The command


def test_check_config_says_that_it_is_fine(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, and which files it read."""
    file = write("[pool]\nmin_groups = 2\n")
    assert main(["--config", str(file), "--check-config"]) == 0
    assert capsys.readouterr().out == f"configuration fine: {file}\n"


@pytest.mark.parametrize(
    "text", ["[pool]\nmin_bits = 1\n", "[sources.replay]\npath = 'x'\nbits_per_sample = 12\n"]
)
def test_check_config_says_what_is_wrong(
    write: Write, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Exit code 2 and one line on standard error; also where keys cannot go together."""
    file = write(text)
    assert main(["--config", str(file), "--check-config"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hwentropyd: {file}: ")
    assert err.count("\n") == 1


def test_the_shipped_file_is_plain_toml() -> None:
    """As other tools read it: without an end-of-line trick or a key twice."""
    assert tomllib.loads(SHIPPED.read_text())["pool"]["min_bits"] == 320


def test_an_empty_runtime_directory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An unset shell variable must not put the sockets into the working directory."""
    with pytest.raises(SystemExit) as ended:
        main(["--runtime-dir", ""])
    assert ended.value.code == 2
    assert "--runtime-dir: it is empty; name a directory" in capsys.readouterr().err


#: `os` and `cpu`, two ways to one generator.
ONLY_THE_KERNEL = "".join(
    f"[sources.{name}]\nenabled = false\n" for name in ("rdseed", "hwrng", "tpm2", "jitter")
)


@pytest.mark.parametrize(
    ("text", "groups", "counted"),
    [
        ("".join(f"[sources.{name}]\nenabled = false\n" for name in default_kinds()), 1, 0),
        (
            "".join(f"[sources.{name}]\ncredit = false\n" for name in default_kinds())
            + "[sources.replay]\npath = 'x'\n",
            1,
            0,
        ),
        ("[pool]\nmin_groups = 5\n", 5, 4),
        ("[pool]\nmin_groups = 2\n" + ONLY_THE_KERNEL, 2, 1),
        ("[pool]\nmin_groups = 4\n[sources.hwrng]\ngroup = 'tpm0'\n", 4, 3),
    ],
)
def test_a_policy_that_no_seed_can_meet_is_warned_of(
    write: Write,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    text: str,
    groups: int,
    counted: int,
) -> None:
    """By --check-config too; a recording is never credited, whatever its table says."""
    assert main(["--check-config", "--config", str(write(text))]) == 0
    assert capsys.readouterr().out.startswith("configuration fine")
    (said,) = caplog.messages
    assert said == (
        f"pool.min_groups asks for {groups} and the enabled sources that are credited are of "
        f"{counted}: there will be no seed, and nothing is served"
    )


ONLY = "".join(f"[sources.{name}]\nenabled = false\n" for name in ("cpu", "hwrng", "tpm2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pool]\nmin_bits = 321\n" + ONLY_THE_KERNEL, "321 and {} can hold 256"),
        ("[pool]\nmin_bits = 2048\n" + ONLY_THE_KERNEL, "2048 and {} can hold 256"),
        (
            "[sources.rdrand]\n[sources.os]\ncredit = false\n"
            "[sources.rdseed]\nenabled = false\n" + ONLY,
            "320 and {} can hold 128",
        ),
        (
            "[pool]\nmin_bits = 400\nmin_groups = 2\n" + ONLY,
            "400 and {}, without the best 1 of their groups, can hold 256",
        ),
    ],
)
def test_more_bits_than_the_sources_hold_is_warned_of(
    write: Write, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    """No seed will ever come of the generators alone, however much is read of them."""
    assert main(["--check-config", "--config", str(write(text))]) == 0
    told = said.format("the enabled sources that are credited")
    assert caplog.messages == [
        f"pool.min_bits asks for {told}: there will be no seed, and nothing is served"
    ]


def test_a_policy_that_can_be_met_is_not_warned_of(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor are the defaults."""
    assert main(["--check-config", "--config", str(write("[pool]\nmin_groups = 4\n"))]) == 0
    assert caplog.messages == []


@pytest.mark.parametrize("text", ["alice", "unit:", "users:root", "unit:NAME"])
def test_a_string_that_names_nobody_is_quoted(text: str, tmp_path: Path) -> None:
    """So that it is found in the array."""
    file = tmp_path / "a.toml"
    file.write_text(f'[access]\nstream = ["*", "{text}"]\n')
    quoted = text.removeprefix("unit:") or text
    with pytest.raises(ConfigError, match=f"'{quoted}'"):
        load(file)
