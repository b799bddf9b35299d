"""`hwentropy status` and `hwentropy sources`: what feeds the daemon, and how well."""

import json
import pwd
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from hwentropy.control import (
    SeedLogStatus,
    ServiceStatus,
    SourceStatus,
    UserStatus,
    WorkerStatus,
    convert,
)

from .exits import ExitCode
from .layout import Cell, printable, show_lines, show_table, state_cell
from .runtime import Runtime

_DAY: Final = timedelta(days=1)
_ILL: Final = frozenset({"suspect", "failed"})
_NUMBERS: Final = ("SAMPLES", "ALARMS", "HOLDS", "CREDITED")
_HEADINGS: Final = ("NAME", "KIND", "GROUP", "STATE", "SINCE", *_NUMBERS)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as a JSON object.")
@click.pass_obj
def status(runtime: Runtime, *, as_json: bool) -> ExitCode:
    """Show the state of the service.

    Ends with 1 if it is not `ok`, or if a source is suspect or failed.  A source
    that is absent from this machine is not a failure.
    """
    with runtime.control() as control:
        raw = control.raw_status()
    answer = convert(raw, ServiceStatus)
    if as_json:
        click.echo(json.dumps(raw, indent=2))
    else:
        show_table(_status_rows(answer))
    well = answer.state == "ok" and not _ill(answer.sources)
    return ExitCode.FINE if well else ExitCode.UNHEALTHY


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as a JSON list.")
@click.pass_obj
def sources(runtime: Runtime, *, as_json: bool) -> ExitCode:
    """Show every source: its state, since when, why, and what it gave.

    Ends with 1 if one is suspect or failed.
    """
    with runtime.control() as control:
        raw = control.raw_sources()
    answer = convert(raw, list[SourceStatus])
    if as_json:
        click.echo(json.dumps(raw, indent=2))
    else:
        terminal = sys.stdout.isatty()
        show_table(_source_rows(answer, terminal=terminal))
        if terminal:
            show_lines(_remarks(answer))
    return ExitCode.UNHEALTHY if _ill(answer) else ExitCode.FINE


def _ill(listed: Sequence[SourceStatus]) -> bool:
    return any(source.state in _ILL for source in listed)


def _status_rows(answer: ServiceStatus) -> list[tuple[Cell, Cell]]:
    def row(name: str, value: str) -> tuple[Cell, Cell]:
        return Cell(name), Cell(printable(value))

    by_state: dict[str, list[str]] = {}
    for source in answer.sources:
        by_state.setdefault(source.state, []).append(source.name)
    served = sum(worker.requests for worker in answer.workers)
    connections = sum(worker.connections for worker in answer.workers)
    policy = answer.policy
    rows = [(Cell("state"), state_cell(answer.state))]
    if answer.reason:
        rows.append(row("reason", answer.reason))
    rows += [
        row("generation", f"{answer.generation}, reseeded {_number(answer.reseeds, 'time')}"),
        row("seeded at", _seeded(answer.seeded_at)),
        *([row("seed", _seed(answer))] if answer.seed_groups else []),
        *(
            (
                Cell(f"{printable(state)} sources"),
                state_cell(state)._replace(text=_names(names)),
            )
            for state, names in by_state.items()
        ),
        row(
            "policy",
            f"{policy.min_bits} bits from {policy.min_groups} or more groups of sources",
        ),
        row(
            "workers",
            f"{_workers(answer.workers)}, {_number(connections, 'connection')}, "
            f"{_number(served, 'request')} answered",
        ),
        row("seed log", _seed_log(answer.seed_log)),
        *([row("copies", _copies(answer))] if answer.clone_signs else []),
        *(row("refused", _refused(user)) for user in answer.users if _refusals(user)),
        row("daemon", f"version {answer.version}, process {answer.pid}"),
        row("running for", _duration(answer.uptime_seconds)),
        *(row("socket", path) for path in answer.sockets),
    ]
    return rows


def _seed_log(log: SeedLogStatus) -> str:
    if not log.directory:
        return "none is kept"
    kept = f"{_number(log.records, 'record')} in {log.directory}"
    return f"{kept}; {log.problem}" if log.problem else kept


def _copies(answer: ServiceStatus) -> str:
    watched = [sign for sign, how in answer.clone_signs.items() if how == "watched"]
    return f"{answer.clones} noticed of this machine, watching {_names(watched) or 'no sign'}"


def _refusals(user: UserStatus) -> int:
    return user.refused_connections + user.over_quota + user.not_permitted


def _refused(user: UserStatus) -> str:
    """Of one user, what is not zero."""
    counts = [
        f"{count} {what}"
        for count, what in (
            (user.refused_connections, "over its share of connections"),
            (user.over_quota, "over its rates"),
            (user.not_permitted, "not permitted"),
        )
        if count
    ]
    return f"{_whose(user)}: {', '.join(counts)}"


def _whose(user: UserStatus) -> str:
    if user.uid is None:
        return f"control group {printable(user.cgroup)}"
    where = f" in {printable(user.cgroup)}" if user.cgroup else _account(user.uid)
    return f"uid {user.uid}{where}"


def _account(uid: int) -> str:
    try:
        return f" ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return ""


def _workers(listed: Sequence[WorkerStatus]) -> str:
    serving = sum(worker.serving for worker in listed)
    return f"{serving}" if serving == len(listed) else f"{serving} of {len(listed)} serving"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _seeded(text: str | None) -> str:
    return "not yet" if text is None else _moment(text, terminal=False)


def _seed(answer: ServiceStatus) -> str:
    """What the seed in force is worth."""
    groups = f"{_number(len(answer.seed_groups), 'group')}: {', '.join(answer.seed_groups)}"
    all_of_it = ", all that is held" if answer.seed_bits < answer.policy.min_bits else ""
    return f"{answer.seed_bits} bits{all_of_it}, from {groups}"


def _names(names: list[str]) -> str:
    return printable(", ".join(names))


def _source_rows(answer: list[SourceStatus], *, terminal: bool) -> list[list[Cell]]:
    """A pipe gets the reasons as the last column, a terminal as lines below.

    A terminal's 80 columns have no room for kinds that are the names once more.
    """
    rows = [[Cell(text, "bold", right=text in _NUMBERS) for text in _HEADINGS]]
    rows.extend(
        [
            Cell(printable(source.name)),
            Cell(printable(source.kind)),
            Cell(printable(source.group)),
            state_cell(source.state),
            Cell(_moment(source.since, terminal=terminal)),
            Cell(str(source.samples), right=True),
            Cell(str(source.alarms), right=True),
            Cell(_holds(source), right=True),
            Cell(str(source.credited_bits) if source.credit else "never", right=True),
        ]
        for source in answer
    )
    if terminal and all(source.kind == source.name for source in answer):
        for row in rows:
            del row[_HEADINGS.index("KIND")]
    if not terminal:
        rows[0].append(Cell("REASON"))
        for row, source in zip(rows[1:], answer, strict=True):
            row.append(Cell(_why(source, terminal=terminal)))
    return rows


def _holds(source: SourceStatus) -> str:
    """Bits of the state behind it; nothing where the daemon does not say."""
    if source.live:
        return "live"
    return "" if source.strength is None else str(source.strength)


def _why(source: SourceStatus, *, terminal: bool) -> str:
    """The reason, the remedy, and when one that failed is tried again."""
    again = ""
    if source.state == "failed" and source.tried_again is not None:
        again = f"tried again at {_moment(source.tried_again, terminal=terminal)}"
    return printable("; ".join(filter(None, (source.reason, source.remedy, again))))


def _moment(text: str, *, terminal: bool) -> str:
    """A time to the second: on a terminal short and local, on a pipe ISO 8601 in UTC."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return printable(text)
    if not terminal:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    age = abs(datetime.now(UTC) - moment)
    # As ls does: what stays unambiguous in the width of a time, then the whole date.
    form = "%H:%M:%S" if age < _DAY else "%b %d" if age < 180 * _DAY else "%Y-%m-%d"
    return moment.astimezone().strftime(form)


def _remarks(answer: list[SourceStatus]) -> list[list[Cell]]:
    """A line for every source whose state needs explaining."""
    return [
        [
            Cell(f"{printable(source.name)} "),
            state_cell(source.state),
            Cell(f": {_why(source, terminal=True)}"),
        ]
        for source in answer
        if source.reason
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    # The two largest units say enough.
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2])
