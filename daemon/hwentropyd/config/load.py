"""The configuration: TOML in, typed values or one helpful sentence out.

`FILE`, then `FILE.d/*.toml` by name; a later file overrides key by key.  Only regular
files of a bounded size are read: a FIFO, a device or a socket could block or never end.
"""

import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from hwentropy_core.errors import HwentropyError
from hwentropy_sources import registry
from hwentropy_sources.contract import SourceConfig

from . import principals, words
from .principals import Principal
from .schema import (
    Access,
    AccessConfig,
    Config,
    LimitsConfig,
    LimitsFor,
    PoolConfig,
    SeedLogConfig,
    ServerConfig,
    SourceSetup,
    UserLimits,
)
from .table import CheckTable, TableError, check, check_keys, convert, listed, wrong

#: Read when no --config is given, if it is there.
DEFAULT_FILE: Final = Path("/etc/hwentropy/hwentropyd.toml")

#: Longest file, in bytes: 30 times the shipped one with its comments (8 kB).  As much as
#: this in lines of a key each is parsed in 0.03 s.
MAX_FILE_BYTES: Final = 256 * 1024

#: Deepest table: `[sources.NAME]` is the second level, its keys the third.  Leaves a
#: plug-in's own tables more than it needs, and Python's recursion limit far away.
MAX_DEPTH: Final = 16

#: Most dots in one line.  tomllib takes time by the square of a dotted key's parts: 26 s
#: for 32,000, below 2 s for a file that is full of keys of 500.
MAX_DOTS: Final = 500

#: What a file is that is not a regular one, for the error.
_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class ConfigError(HwentropyError):
    """The configuration cannot be used; names file, key and what is allowed."""


_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "pool": PoolConfig,
    "server": ServerConfig,
    "limits": LimitsConfig,
    "access": AccessConfig,
    "seed_log": SeedLogConfig,
}

#: Tables below [limits], and the kind of principal that each of their keys names.
_LIMITS_FOR: Final = {"users": "user", "units": "unit", "groups": "group"}
_Path = tuple[str, ...]
_Origins = dict[_Path, Path]


def load(file: Path | None = None, check_table: CheckTable = check) -> Config:
    """Read a configuration file and its drop-ins, or the built-in defaults.

    Raises ConfigError.  `None` means DEFAULT_FILE if it is there.  The daemon has a
    `check_table` that asks a collector where a kind's code is not ours.
    """
    merged: dict[str, Any] = {}
    origins: _Origins = {}
    files: list[Path] = []
    for one in _files(file):
        _merge(merged, _parse(one), one, origins, ())
        files.append(one)
    return _build(merged, origins, files, check_table)


def _files(file: Path | None) -> Iterator[Path]:
    base = file or DEFAULT_FILE
    if file is not None or _is_there(base):
        yield base
    yield from _drop_ins(base.with_name(base.name + ".d"))


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as error:
        # A file that cannot be looked at is not one that is not there.
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None


def _drop_ins(directory: Path) -> list[Path]:
    """The files of a drop-in directory, by name; none when there is no directory."""
    try:
        # Not `glob`: it takes a directory that it may not read for an empty one.
        entries = [one for one in directory.iterdir() if one.suffix == ".toml"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read ({error.strerror})") from None
    # An editor's lock and swap files are hidden ones.
    return sorted(one for one in entries if not one.name.startswith("."))


def _parse(file: Path) -> dict[str, Any]:
    try:
        text = _read(file).decode()
        for number, line in enumerate(text.splitlines(), start=1):
            if line.count(".") > MAX_DOTS:
                raise ConfigError(
                    f"{file}: line {number} has more than {MAX_DOTS} dots; write it as several"
                )
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: there is no such file; --config names one that is there"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: not UTF-8 at byte {error.start}; TOML files are UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    except ValueError:  # int() of more than 4,300 digits
        raise ConfigError(f"{file}: not TOML: a number has too many digits") from None
    except RecursionError:
        raise ConfigError(f"{file}: not TOML: nested too deeply") from None


def _read(file: Path) -> bytes:
    """The bytes of a regular file; raises ConfigError or OSError."""
    # Looked at before it is opened, since to open a device can act on it (a watchdog's
    # starts it), and after, since another file may have taken its place.
    _check_kind(file, file.stat())
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        _check_kind(file, os.fstat(fd))
        # Not by the size that it states: a file of /proc states none.
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{file}: longer than {MAX_FILE_BYTES} bytes; a configuration is shorter"
        )
    return data


def _check_kind(file: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        kind = _KINDS.get(stat.S_IFMT(info.st_mode), "no regular file")
        raise ConfigError(f"{file}: cannot be read (it is {kind}); name a regular file")


def _merge(
    into: dict[str, Any],
    table: Mapping[str, Any],
    file: Path,
    origins: _Origins,
    path: _Path,
) -> None:
    for key, value in table.items():
        here = (*path, key)
        origins[here] = file
        if isinstance(value, dict) and len(here) > MAX_DEPTH:
            raise _error(here[:1], origins, f"tables are nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, file, origins, here)
        elif isinstance(value, dict):
            into[key] = {}
            _merge(into[key], value, file, origins, here)
        else:
            into[key] = value


def _build(
    merged: dict[str, Any], origins: _Origins, files: list[Path], check_table: CheckTable
) -> Config:
    allowed = [*_TABLES, "sources"]
    for name, value in merged.items():
        if name not in allowed:
            homes = _tables_with(name)
            if homes and not isinstance(value, dict):
                raise _error((name,), origins, f"stands in no table; put it below {homes[0]}")
            raise _error((name,), origins, f"unknown table; allowed are {listed(allowed)}")
    merged, special = _split_limits(merged)
    typed = {
        name: _convert(merged.get(name, {}), struct, (name,), origins)
        for name, struct in _TABLES.items()
    }
    sources = merged.get("sources", {})
    if not isinstance(sources, dict):
        raise _error(("sources",), origins, "must be tables: [sources.<name>]")
    return Config(
        pool=typed["pool"],
        server=typed["server"],
        limits=typed["limits"],
        limits_for=tuple(_limits_for(special, origins)),
        access=_access(typed["access"], origins),
        seed_log=typed["seed_log"],
        sources=tuple(_sources(sources, origins, check_table)),
        files=tuple(files),
    )


def _tables_with(key: str) -> list[str]:
    """The tables that have this key: most are in one only."""
    return [
        f"[{name}]"
        for name, struct in _TABLES.items()
        if key in {field.encode_name for field in msgspec.structs.fields(struct)}
    ]


def _split_limits(merged: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables of [limits] that are for one user, unit or group, apart from the rest."""
    limits = merged.get("limits")
    if not isinstance(limits, dict):
        return merged, {}
    special = {kind: limits[kind] for kind in _LIMITS_FOR if kind in limits}
    general = {key: value for key, value in limits.items() if key not in special}
    return {**merged, "limits": general}, special


def _limits_for(tables: Mapping[str, Any], origins: _Origins) -> Iterator[LimitsFor]:
    for kind, table in tables.items():
        path = ("limits", kind)
        if not isinstance(table, dict):
            raise _error(path, origins, f"must be tables: [limits.{kind}.<name>]")
        for name, value in table.items():
            # The name first: of one with a dot and without quotes TOML makes two tables.
            try:
                who = principals.of(_LIMITS_FOR[kind], name)
            except ValueError as error:
                raise _error((*path, name), origins, str(error)) from None
            yield LimitsFor(who, _convert(value, UserLimits, (*path, name), origins))


def _access(config: AccessConfig, origins: _Origins) -> Access:
    def looked_up(key: str, written: tuple[str, ...]) -> tuple[Principal, ...]:
        try:
            return tuple(map(principals.parse, written))
        except ValueError as error:
            raise _error(("access", key), origins, str(error)) from None

    return Access(
        *(looked_up(key, getattr(config, key)) for key in AccessConfig.__struct_fields__)
    )


def _sources(
    tables: Mapping[str, Any], origins: _Origins, check_table: CheckTable
) -> Iterable[SourceSetup]:
    defaults = registry.default_kinds()
    for name in [*defaults, *(name for name in tables if name not in defaults)]:
        table = tables.get(name, {})
        path = ("sources", name)
        if not name.isprintable() or not name.strip():
            # It is shown in logs and on terminals.
            raise _error(
                path, origins, "the name must have printable characters, and no others"
            )
        if not isinstance(table, dict):
            raise _error(path, origins, f"must be a table: [sources.{name}]")
        kind = table.get("kind", "") or name
        if not isinstance(kind, str):
            raise _error((*path, "kind"), origins, wrong(SourceConfig, "kind", kind).what)
        off = table.get("enabled") is False
        if off and kind not in registry.BUILT_IN:
            continue  # its package is not to run
        try:
            if off:
                check_keys(table, registry.source_class(kind).Config)
                continue
            checked = check_table(kind, table)
        except TableError as error:
            raise _error((*path, *error.path), origins, error.what) from None
        yield SourceSetup(name, kind, checked.config, table, checked.description)


def _convert(table: Any, struct: type[Any], path: _Path, origins: _Origins) -> Any:
    if not isinstance(table, dict):
        raise _error(path, origins, f"must be a table: [{'.'.join(path)}]")
    try:
        return convert(table, struct)
    except TableError as error:
        raise _error((*path, *error.path), origins, error.what) from None


def _error(path: _Path, origins: _Origins, what: str) -> ConfigError:
    file = origins.get(path) or origins.get(path[:-1])
    key = ".".join(words.shortened(part if part.isprintable() else repr(part)) for part in path)
    return ConfigError(f"{file or 'built-in defaults'}: {key}: {what}")
