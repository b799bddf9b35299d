"""The registry, and what every kind of source promises by the contract."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.errors import HwentropyError
from hwentropy_sources.contract import Source, SourceConfig, SourceError
from hwentropy_sources.registry import (
    BUILT_IN,
    BrokenPlugin,
    UnknownKind,
    default_kinds,
    is_foreign,
    known_kinds,
    make_source,
    source_class,
)
from hwentropy_sources.replay import ReplayConfig

PLUGIN = """
from hwentropy_sources.contract import Claim, Description, Source

class Dice(Source):
    kind = "six-faces"
    def __init__(self, config):
        self.config = config
    def describe(self):
        return Description("six-faces", Claim(3, 2.5, "six faces"))
    def open(self):
        pass
    def read(self, samples, timeout):
        return bytes(samples)
    def close(self):
        pass

class Fussy(Dice):
    kind = "fussy"
    def __init__(self, config):
        raise ValueError("not today\\nnor tomorrow")

class Half(Source):
    kind = "half"

number = 4
"""


@pytest.fixture
def installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Install a package (its metadata and its module) that offers a kind at a target."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "hwplugin_good.py").write_text(PLUGIN)
    (site / "hwplugin_raises.py").write_text("raise RuntimeError('no such dongle\\nsee log')")
    (site / "hwplugin_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(site))

    def install(kind: str, target: str, package: str = "hwplugin") -> None:
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[hwentropy.sources]\n{kind} = {target}\n")

    yield install
    for name in ("hwplugin_good", "hwplugin_raises", "hwplugin_exits"):
        sys.modules.pop(name, None)


def test_default_kinds_are_in_the_order_of_a_status() -> None:
    """The kinds used without a configuration, in their order."""
    assert default_kinds() == ("os", "cpu", "rdseed", "hwrng", "tpm2", "jitter")


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_table_says_what_the_class_says(kind: str) -> None:
    """Name and `by_default` of the table are those of the class."""
    found = source_class(kind)
    assert issubclass(found, Source)
    assert found.kind == kind
    assert found.by_default == BUILT_IN[kind].by_default


def test_only_recordings_are_not_creditable() -> None:
    """Of the built-in kinds only `replay` refuses credit."""
    assert [kind for kind in BUILT_IN if not source_class(kind).credited] == ["replay"]


def test_asking_for_the_defaults_imports_no_source() -> None:
    """Neither the registry nor its defaults import a source, pyudev or tpm2-pytss."""
    script = (
        "import sys; from hwentropy_sources import registry; registry.default_kinds();"
        "print(*(name for name in sys.modules"
        " if name.startswith(('hwentropy_sources.', 'pyudev', 'tpm2_pytss'))))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ).stdout.split()
    assert set(out) == {"hwentropy_sources.contract", "hwentropy_sources.registry"}


@pytest.mark.parametrize("kind", [kind for kind in BUILT_IN if BUILT_IN[kind].by_default])
def test_loading_a_kind_imports_neither_pyudev_nor_pytss(kind: str) -> None:
    """A source's heavy library is imported when it is opened, not when it is loaded."""
    script = (
        "import sys; from hwentropy_sources.registry import source_class;"
        f"source_class({kind!r});"
        "print(*{'pyudev', 'tpm2_pytss'} & sys.modules.keys())"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert not out.stdout.strip()


def test_an_unknown_kind_names_the_known_ones(installed: Callable[[str, str], None]) -> None:
    """A wrong name gets the right ones, those of plug-ins included."""
    installed("six-faces", "hwplugin_raises:Dice")
    with pytest.raises(UnknownKind) as raised:
        source_class("rdsed")
    assert isinstance(raised.value, HwentropyError)
    for kind in (*BUILT_IN, "six-faces"):
        assert kind in str(raised.value)
    ours = (*BUILT_IN, "six-faces")
    assert tuple(kind for kind in known_kinds() if kind in ours) == ours
    assert "hwplugin_raises" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "foreign"), [("os", False), ("hwrng", False), ("tpm2", True), ("six-faces", True)]
)
def test_what_runs_other_peoples_code_is_foreign(
    installed: Callable[[str, str], None],
    kind: str,
    foreign: bool,  # noqa: FBT001 (a table)
) -> None:
    """A library's or a plug-in's; to know that imports nothing."""
    installed("six-faces", "hwplugin_raises:Dice")
    assert is_foreign(kind) is foreign
    assert "hwplugin_raises" not in sys.modules


def test_a_plug_in_is_loaded_by_its_name(installed: Callable[[str, str], None]) -> None:
    """An installed plug-in is found when it is asked for, and only then imported."""
    installed("six-faces", "hwplugin_good:Dice")
    assert "hwplugin_good" not in sys.modules
    source = make_source("six-faces", SourceConfig())
    assert source.describe().group == "six-faces"


def test_a_plug_in_cannot_take_a_built_in_name(installed: Callable[[str, str], None]) -> None:
    """`os` stays ours, whatever is installed."""
    installed("os", "hwplugin_good:Dice")
    assert [point.value for point in entry_points(group="hwentropy.sources", name="os")]
    assert source_class("os").__module__ == "hwentropy_sources.kernel.getrandom"
    assert "hwplugin_good" not in sys.modules
    assert known_kinds().count("os") == 1


@pytest.mark.parametrize(
    ("kind", "target", "told"),
    [
        ("six-faces", "hwplugin_raises:Dice", "RuntimeError: no such dongle"),
        ("six-faces", "hwplugin_exits:Dice", "SystemExit: 3"),
        ("six-faces", "hwplugin_good:Missing", "AttributeError"),
        ("six-faces", "hwplugin_nowhere:Dice", "ModuleNotFoundError"),
        ("six-faces", "hwplugin_good:number", "not a complete subclass"),
        ("half", "hwplugin_good:Half", "not a complete subclass"),
        ("cubes", "hwplugin_good:Dice", "calls itself 'six-faces'"),
    ],
)
def test_a_broken_plug_in_gives_one_sentence(
    installed: Callable[[str, str], None], kind: str, target: str, told: str
) -> None:
    """The sentence names the kind, the package, the entry point and what is wrong."""
    installed(kind, target)
    with pytest.raises(BrokenPlugin) as raised:
        source_class(kind)
    message = str(raised.value)
    assert repr(kind) in message
    assert f"hwplugin ({target})" in message
    assert told in message
    assert "\n" not in message
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_plug_in_whose_constructor_raises_is_broken(
    installed: Callable[[str, str], None],
) -> None:
    """Constructing a stranger's class never raises a stranger's exception."""
    installed("fussy", "hwplugin_good:Fussy")
    with pytest.raises(BrokenPlugin, match="ValueError: not today;"):
        make_source("fussy", SourceConfig())


def test_two_plug_ins_of_one_name_are_refused(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two packages runs in the daemon is not left to chance."""
    installed("six-faces", "hwplugin_good:Dice")
    installed("six-faces", "hwplugin_raises:Dice", "otherplugin")
    with pytest.raises(BrokenPlugin, match="more than one") as raised:
        source_class("six-faces")
    assert "hwplugin_good:Dice" in str(raised.value)
    assert "otherplugin" in str(raised.value)


def test_an_entry_point_without_a_package_is_named_too(mocker: MockerFixture) -> None:
    """An entry point that belongs to no distribution still gives a sentence."""
    point = EntryPoint("six-faces", "hwplugin_nowhere:Dice", "hwentropy.sources")
    mocker.patch("hwentropy_sources.registry.entry_points", return_value=[point])
    with pytest.raises(BrokenPlugin, match="an unnamed package"):
        source_class("six-faces")


# ---- what the contract asks of every kind ------------------------------------


@pytest.fixture(params=list(BUILT_IN))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    """One source of each built-in kind, not opened."""
    kind: str = request.param
    if kind == "replay":
        recording = tmp_path / "samples"
        recording.write_bytes(bytes(range(256)) * 8)
        config: SourceConfig = ReplayConfig(path=str(recording))
    else:
        config = source_class(kind).Config()
    made = make_source(kind, config)
    yield made
    made.close()


@pytest.fixture
def opened(source: Source) -> Source:
    """The same, open; skipped with the source's own reason where it is absent."""
    try:
        source.open()
    except SourceError as error:
        pytest.skip(f"{source.kind}: {error}")
    return source


def test_a_source_describes_itself_before_open(source: Source) -> None:
    """Group, claim and facts are there before there is a device."""
    description = source.describe()
    assert description.group
    assert description.claim.provenance
    assert all(isinstance(fact, str) for fact in description.facts.values())


def test_close_may_come_at_any_time(source: Source) -> None:
    """Closing before opening, and twice, raises nothing."""
    source.close()
    source.close()


def test_a_closed_source_gives_an_error_or_a_kernel_read(source: Source) -> None:
    """Reading what is not open raises SourceError; `os` has nothing to open."""
    if source.kind == "os":
        assert len(source.read(8, 1.0)) == 8
        return
    with pytest.raises(SourceError):
        source.read(8, 1.0)


def test_an_absent_source_gives_reason_and_remedy(source: Source) -> None:
    """Opening works, or says what is missing and what to do about it."""
    absent: SourceError | None = None
    try:
        source.open()
    except SourceError as error:
        absent = error
    if absent is not None:
        assert absent.reason
        assert absent.remedy
        assert "\n" not in str(absent)


@pytest.mark.parametrize("samples", [1, 7, 64, 100])
def test_a_read_gives_exactly_what_was_asked(opened: Source, samples: int) -> None:
    """`samples * sample_bytes` bytes, for odd numbers too."""
    size = samples * opened.describe().claim.sample_bytes
    assert len(opened.read(samples, 5.0)) == size


def test_two_reads_differ(opened: Source) -> None:
    """16 bytes are not given twice: 2^-16 by chance at the lowest H claimed, 1 bit a byte."""
    assert bytes(opened.read(16, 5.0)) != bytes(opened.read(16, 5.0))


def test_a_source_opens_again_after_close(opened: Source) -> None:
    """Close, close, open, read: as the sampler does after a failure."""
    opened.close()
    opened.close()
    opened.open()
    opened.open()
    assert len(opened.read(8, 5.0)) == 8
    opened.close()


def test_no_byte_shows_in_a_repr_or_a_fact(opened: Source) -> None:
    """Neither the source nor its description keeps what it read."""
    taken = bytes(opened.read(16, 5.0))
    shown = f"{opened!r} {opened.describe()!r} {vars(opened)!r}"
    assert taken.hex() not in shown
    assert repr(taken)[2:-1] not in shown
