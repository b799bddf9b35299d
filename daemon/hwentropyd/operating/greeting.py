"""What the daemon prints once it knows its sources: one line each, then what to do next."""

import shlex
import sys
from pathlib import Path
from typing import Any

from hwentropy_core.paths import ENVIRONMENT_VARIABLE, client_runtime_dir
from hwentropyd.supervisor import Supervisor

_COLOURS = {"healthy": "32", "suspect": "33", "failed": "31", "absent": "2", "starting": "33"}


def greet(supervisor: Supervisor) -> None:
    """Print the greeting to standard output."""
    colour = sys.stdout.isatty()
    lines = ["", "sources:"]
    lines += [_source_line(source, colour=colour) for source in supervisor.sources()]
    paths = [listener.path for listener in supervisor.listeners.sockets]
    lines += [
        "",
        "sockets:",
        *(f"  {path}" for path in paths),
        "",
        *_not_serving(supervisor),
        _next_step(paths[0].parent),
        "",
    ]
    print("\n".join(lines), flush=True)


def _not_serving(supervisor: Supervisor) -> list[str]:
    if supervisor.root.seeded:
        return []
    policy = supervisor.config.pool
    what = f"{policy.min_bits} counted bits from {policy.min_groups} or more groups"
    return [f"not seeded yet, so nothing is served: a seed takes {what} of sources", ""]


def _source_line(source: dict[str, Any], *, colour: bool) -> str:
    state = f"{source['state']:<8}"
    if colour:
        state = f"\033[{_COLOURS[source['state']]}m{state}\033[0m"
    detail = source["reason"] or _what(source)
    if source["remedy"]:
        detail += f"; {source['remedy']}"
    return f"  {source['name']:<8} {state} {detail}"


def _what(source: dict[str, Any]) -> str:
    counted = (
        f"{source['min_entropy']:g} of {source['bits_per_sample']} bits counted per sample"
        if source["credit"]
        else "mixed in, not counted"
    )
    facts = ", ".join(f"{name}: {value}" for name, value in source["facts"].items())
    return f"{counted} (group {source['group']}{'; ' if facts else ''}{facts})"


def _next_step(directory: Path) -> str:
    command = Path(sys.argv[0]).with_name("hwentropy")
    try:
        shown = command.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        shown = command
    program = str(shown) if command.exists() else "hwentropy"
    prefix = (
        ""
        if client_runtime_dir() == directory
        else f"{ENVIRONMENT_VARIABLE}={shlex.quote(str(directory))} "
    )
    return f"try in another terminal: {prefix}{program} get 32 --hex"
