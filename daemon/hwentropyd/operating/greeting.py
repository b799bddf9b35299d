"""What the daemon prints once it knows its sources: one line each, then what to do next."""

import shlex
import sys
from pathlib import Path

from hwentropy_core.paths import ENVIRONMENT_VARIABLE, client_runtime_dir
from hwentropy_core.status import ServiceStatus, SourceStatus

_COLOURS = {"healthy": "32", "suspect": "33", "failed": "31", "absent": "2", "starting": "33"}


def greet(status: ServiceStatus) -> None:
    """Print the greeting to standard output."""
    colour = sys.stdout.isatty()
    print(
        "",
        "sources:",
        *(_source_line(source, colour=colour) for source in status.sources),
        "",
        "sockets:",
        *(f"  {path}" for path in status.sockets),
        "",
        *_seed(status),
        _next_step(Path(status.sockets[0]).parent),
        "",
        sep="\n",
        flush=True,
    )


def _seed(status: ServiceStatus) -> list[str]:
    """What it is worth, or what it takes."""
    if status.seeded_at is not None:
        held = status.seed_bits < status.policy.min_bits
        worth = f"{status.seed_bits} bits{', all that is held' if held else ''}"
        return [f"seed: {worth}, from {', '.join(status.seed_groups)}", ""]
    policy = status.policy
    what = f"{policy.min_bits} credited bits from {policy.min_groups} or more groups"
    return [f"not seeded yet, so nothing is served: a seed takes {what} of sources", ""]


def _source_line(source: SourceStatus, *, colour: bool) -> str:
    state = f"{source.state:<8}"
    if colour:
        state = f"\033[{_COLOURS[source.state]}m{state}\033[0m"
    detail = source.reason or _what(source)
    if source.remedy:
        detail += f"; {source.remedy}"
    return f"  {source.name:<8} {state} {detail}"


def _what(source: SourceStatus) -> str:
    credited = (
        f"{source.min_entropy:g} of {source.bits_per_sample} bits credited per sample"
        if source.credit
        else "mixed in, not credited"
    )
    if source.credit and source.strength is not None:
        credited += f", {source.strength} a seed at most"
    facts = ", ".join(f"{name}: {value}" for name, value in source.facts.items())
    return f"{credited} (group {source.group}{'; ' if facts else ''}{facts})"


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
