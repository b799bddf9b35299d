"""Which kinds of noise source there are, and how a kind's class is found.

Built-in kinds are a table of "module:Class", imported when asked for, so an
unused kind costs nothing.  Every other name is looked for among the entry points
of installed packages (group `hwentropy.sources`) and loaded only because
somebody named it: an installed package does not get to run code in the daemon
by itself, and it cannot take the name of a built-in kind.

A kind that runs other people's code is *foreign*: every plug-in, and what of ours
calls a library for its device.  The daemon has a process of its own for such a source
and imports its class there only.
"""

from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from hwentropy_core.errors import HwentropyError

from .contract import Source, SourceConfig

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

#: The entry point group of plug-ins.
ENTRY_POINT_GROUP: Final = "hwentropy.sources"


class BuiltIn(NamedTuple):
    """Where a built-in kind lives."""

    target: str
    """`module:Class`, the module relative to this package."""
    by_default: bool
    """The class's `by_default`, repeated so that asking imports nothing."""
    foreign: bool = False
    """Whether it runs other people's code, in a process of its own."""


#: In the order in which a status lists them.
BUILT_IN: Final[dict[str, BuiltIn]] = {
    "os": BuiltIn("kernel.getrandom:OsRandom", by_default=True),
    "cpu": BuiltIn("kernel.reseed:CpuViaKernel", by_default=True),
    "rdseed": BuiltIn("cpu.rdseed:Rdseed", by_default=True),
    "hwrng": BuiltIn("hwrng:HardwareRng", by_default=True),
    "tpm2": BuiltIn("tpm2.source:Tpm2", by_default=True, foreign=True),
    "jitter": BuiltIn("jitter:Jitter", by_default=True),
    "rdrand": BuiltIn("cpu.rdseed:Rdrand", by_default=False),
    "replay": BuiltIn("replay:Replay", by_default=False),
}


class UnknownKind(HwentropyError):  # noqa: N818 - says what is wrong
    """No built-in kind and no installed plug-in has this name."""


class BrokenPlugin(HwentropyError):  # noqa: N818 - says what is wrong
    """A plug-in of this name is installed, and is of no use."""


def entry_points(**selection: str) -> "EntryPoints":
    """importlib.metadata's; loaded when a plug-in is asked for, as it takes 1.5 MB."""
    from importlib import metadata  # noqa: PLC0415

    return cast("EntryPoints", metadata.entry_points(**selection))


def default_kinds() -> tuple[str, ...]:
    """The kinds that are used when no configuration names any.  Imports nothing."""
    return tuple(kind for kind, built_in in BUILT_IN.items() if built_in.by_default)


def is_foreign(kind: str) -> bool:
    """Whether sources of a kind run other people's code.  Imports nothing."""
    built_in = BUILT_IN.get(kind)
    return built_in is None or built_in.foreign


def known_kinds() -> tuple[str, ...]:
    """Every name `source_class` would try: built-in first.  Loads no plug-in."""
    plugged_in = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN, *sorted(plugged_in - BUILT_IN.keys()))


def source_class(kind: str) -> type[Source]:
    """The class of a kind.

    Raises `UnknownKind`, naming the known ones, and `BrokenPlugin` with one
    sentence that names the package and its entry point.
    """
    built_in = BUILT_IN.get(kind)
    if built_in is not None:
        module, _, name = built_in.target.partition(":")
        return cast("type[Source]", getattr(import_module(f".{module}", __package__), name))
    points = tuple(entry_points(group=ENTRY_POINT_GROUP, name=kind))
    if not points:
        raise UnknownKind(
            f"there is no source kind {kind!r}; known are {', '.join(known_kinds())}"
        )
    return _load(kind, *points)


def make_source(kind: str, config: SourceConfig) -> Source:
    """A new source of a kind, not opened.

    `config` is an instance of the class's `Config`.  Every source class takes
    it as its one positional argument.  Raises as `source_class` does, and
    `BrokenPlugin` when a plug-in's class cannot be constructed.
    """
    cls = source_class(kind)
    try:
        return cls(config)
    except HwentropyError:
        raise
    except Exception as error:
        if kind in BUILT_IN:
            raise
        raise BrokenPlugin(
            f"the source kind {kind!r} of {cls.__module__} cannot be constructed: "
            f"{_first_line(error)}; repair or uninstall that package"
        ) from None


def _load(kind: str, point: "EntryPoint", *others: "EntryPoint") -> type[Source]:
    if others:
        raise BrokenPlugin(
            f"more than one installed package offers the source kind {kind!r} "
            f"({', '.join(map(_origin, (point, *others)))}); uninstall all but one"
        )
    try:
        loaded: object = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code may raise anything
        # `from None`: one sentence for the operator, not a stranger's traceback.
        raise BrokenPlugin(
            f"the source kind {kind!r} of {_origin(point)} failed to load with "
            f"{_first_line(error)}; repair or uninstall that package"
        ) from None
    if not (isinstance(loaded, type) and issubclass(loaded, Source)) or isabstract(loaded):
        raise BrokenPlugin(
            f"the source kind {kind!r} of {_origin(point)} is not a complete subclass of "
            "hwentropy_sources.contract.Source; repair or uninstall that package"
        )
    if getattr(loaded, "kind", None) != kind:
        raise BrokenPlugin(
            f"the source kind {kind!r} of {_origin(point)} calls itself "
            f"{getattr(loaded, 'kind', None)!r}; repair or uninstall that package"
        )
    return loaded


def _origin(point: "EntryPoint") -> str:
    package = point.dist.name if point.dist is not None else "an unnamed package"
    return f"{package} ({point.value})"


def _first_line(error: BaseException) -> str:
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
