"""The configuration: TOML in, typed values or one helpful sentence out.

`FILE`, then `FILE.d/*.toml` by name; a later file overrides key by key.  The
structures below are the one place where a key, its type, its limits and its
default stand; `config/hwentropyd.toml` documents them, and a test holds the two
together.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hwentropy_core.errors import HwentropyError
from hwentropy_sources import registry
from hwentropy_sources.contract import SourceConfig

from .pool import Policy

#: Read when no --config is given, if it is there.
DEFAULT_FILE: Final = Path("/etc/hwentropy/hwentropyd.toml")


class ConfigError(HwentropyError):
    """The configuration cannot be used; names file, key and what is allowed."""


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[pool]`: what makes a seed, and when a new one is due."""

    # 320 = 256 + 64: SP 800-90C's margin, see hwentropy_core.limits.
    min_bits: Annotated[int, Meta(ge=320, le=2048)] = 320
    min_groups: Annotated[int, Meta(ge=1, le=16)] = 1
    reseed_seconds: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    reseed_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    poll_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    degraded_seconds: Annotated[float, Meta(ge=0, le=604800)] = 3600.0
    degraded_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 1 << 30

    def policy(self) -> Policy:
        """The part that the pool needs."""
        return Policy(self.min_bits, self.min_groups)


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: who serves, and how many at once."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    max_connections: Annotated[int, Meta(ge=1, le=65536)] = 4096
    prediction_resistance_seconds: Annotated[float, Meta(ge=0.1, le=600)] = 10.0


class SourceSetup(msgspec.Struct, frozen=True):
    """One `[sources.<name>]` table."""

    name: str
    kind: str
    config: SourceConfig


class Config(msgspec.Struct, frozen=True):
    """All of it."""

    pool: PoolConfig
    server: ServerConfig
    sources: tuple[SourceSetup, ...]
    """The enabled ones, built-in defaults first."""
    files: tuple[Path, ...] = ()


_TABLES: Final = {"pool": PoolConfig, "server": ServerConfig}
_Origins = dict[tuple[str, ...], Path]


def load(file: Path | None = None) -> Config:
    """Read a configuration file and its drop-ins, or the built-in defaults.

    Raises ConfigError.  `None` means DEFAULT_FILE if it is there.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"{file}: no such configuration file; name one with --config")
    base = file or DEFAULT_FILE
    files = [base] if base.is_file() else []
    files += sorted(base.with_name(base.name + ".d").glob("*.toml"))
    merged: dict[str, Any] = {}
    origins: _Origins = {}
    for one in files:
        _merge(merged, _parse(one), one, origins, ())
    return _build(merged, origins, files)


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None


def _merge(
    into: dict[str, Any],
    table: Mapping[str, Any],
    file: Path,
    origins: _Origins,
    path: tuple[str, ...],
) -> None:
    for key, value in table.items():
        here = (*path, key)
        origins[here] = file
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, file, origins, here)
        elif isinstance(value, dict):
            into[key] = {}
            _merge(into[key], value, file, origins, here)
        else:
            into[key] = value


def _build(merged: dict[str, Any], origins: _Origins, files: list[Path]) -> Config:
    allowed = [*_TABLES, "sources"]
    for name in merged:
        if name not in allowed:
            raise _error((name,), origins, f"unknown table; allowed are {_listed(allowed)}")
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
        sources=tuple(_sources(sources, origins)),
        files=tuple(files),
    )


def _sources(tables: Mapping[str, Any], origins: _Origins) -> Iterable[SourceSetup]:
    defaults = registry.default_kinds()
    for name in [*defaults, *(name for name in tables if name not in defaults)]:
        table = tables.get(name, {})
        path = ("sources", name)
        if not isinstance(table, dict):
            raise _error(path, origins, f"must be a table: [sources.{name}]")
        kind = table.get("kind") or name
        if not isinstance(kind, str):
            raise _error((*path, "kind"), origins, "must be a string")
        if table.get("enabled") is False and name not in defaults:
            continue
        try:
            cls = registry.source_class(kind)
        except HwentropyError as error:
            at = (*path, "kind") if "kind" in table else path
            raise _error(at, origins, str(error)) from None
        config = _convert(table, cls.Config, path, origins)
        if config.enabled:
            yield SourceSetup(name, kind, config)


def _convert(table: Any, struct: type[Any], path: tuple[str, ...], origins: _Origins) -> Any:
    fields = [field.encode_name for field in msgspec.structs.fields(struct)]
    if not isinstance(table, dict):
        raise _error(path, origins, f"must be a table: [{'.'.join(path)}]")
    for key in table:
        if key not in fields:
            raise _error((*path, key), origins, f"unknown key; allowed are {_listed(fields)}")
    # One key at a time, so that the error is of that key.
    for key, value in table.items():
        try:
            msgspec.convert({key: value}, struct)
        except msgspec.ValidationError as error:
            what = str(error).split(" - at ", maxsplit=1)[0]
            if "missing required field" not in what:
                raise _error((*path, key), origins, what) from None
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        raise _error(path, origins, str(error).split(" - at ", maxsplit=1)[0]) from None


def _error(path: tuple[str, ...], origins: _Origins, what: str) -> ConfigError:
    file = origins.get(path) or origins.get(path[:-1])
    return ConfigError(f"{file or 'built-in defaults'}: {'.'.join(path)}: {what}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
