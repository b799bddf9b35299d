"""The report as text: rich on a terminal, plain aligned columns elsewhere.

`sections` turns a report (plan.Report's dictionary, the same that --json
writes) into titles, columns and cells; `print_report` draws them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table

UNKNOWN: Final = "-"
#: Above these the head says that the machine was not quiet (docs/bench.md).
BUSY_LOAD_PER_CORE: Final = 0.5
BUSY_STOLEN_PERCENT: Final = 1.0
WIDE_SPREAD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Section:
    """One table: the first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def size_name(size: int) -> str:
    """32 B, 4 KiB, 1 MiB."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def number(value: float | None) -> str:
    """Three significant digits without an exponent; whole above 1,000."""
    if value is None:
        return UNKNOWN
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The tables of a report, those that have rows."""
    made = [
        _targets(report["targets"]),
        _round_trips(report["cells"]),
        _bulk(report["cells"]),
        _processes(report["processes"]),
        _start(report["start"]),
    ]
    return [section for section in made if section.rows]


def _targets(targets: Sequence[Mapping[str, Any]]) -> Section:
    rows = tuple(
        (
            one["name"],
            UNKNOWN if one["value"] is None else f"{number(one['value'])} {one['unit']}",
            f"{one['sense']} {one['limit']:g} {one['unit']}",
            "not measured" if one["met"] is None else "met" if one["met"] else "MISSED",
        )
        for one in targets
    )
    return Section("Targets", ("figure", "measured", "target", ""), rows)


def _round_trips(cells: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        (
            f"{name} x{cell['connections']}{', one CPU' if cell['one_cpu'] else ''}",
            number(one["p50_us"]),
            number(one["p99_us"]),
            number(one["p999_us"]),
            number(one["per_second"]),
            number(cell["ratio_to_floor"].get(name)),
            f"{100 * one['spread']:.0f} %",
        )
        for cell in cells
        if cell["kind"] == "round trip"
        for name, one in cell["figures"].items()
    ]
    columns = ("32 B round trip", "p50 us", "p99 us", "p99.9 us", "per s", "x floor", "spread")
    return Section("One request at a time (x connections)", columns, tuple(rows))


def _bulk(cells: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        (
            f"{size_name(cell['size'])}  {name} x{cell['connections']}",
            number(one["gigabytes_per_second"]),
            number(cell["ratio_to_urandom"].get(name)),
            number(cell["ratio_to_floor"].get(name)),
            f"{100 * one['spread']:.0f} %",
        )
        for cell in cells
        if cell["kind"] == "bulk"
        for name, one in cell["figures"].items()
    ]
    columns = ("bulk", "GB/s", "x urandom", "x floor", "spread")
    return Section("Bulk (x connections)", columns, tuple(rows))


def _processes(processes: Sequence[Mapping[str, Any]]) -> Section:
    rows = tuple(
        (
            one["role"],
            f"{one['idle_percent']:.3f}",
            number(one["resident_mb"]),
            number(one["proportional_mb"]),
            number(one["peak_mb"]),
        )
        for one in processes
    )
    columns = ("process", "idle % of a core", "resident MB", "PSS MB", "peak MB")
    return Section("Processes, after the load, nobody asking", columns, rows)


def _start(start: Mapping[str, Any] | None) -> Section:
    if start is None:
        return Section("", (), ())
    row = (
        "start to first byte",
        number(start["median_s"]),
        number(start["fastest_s"]),
        number(start["slowest_s"]),
        str(len(start["rounds"])),
    )
    return Section("Start", ("", "median s", "fastest s", "slowest s", "starts"), (row,))


def head(report: Mapping[str, Any]) -> list[str]:
    """What was measured, on what, and what to make of it."""
    machine, settings, noise = report["machine"], report["settings"], report["noise"]
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['virtual']}, "
        f"{machine['kernel']}, {machine['python']}"
    )
    how = (
        f"medians of {settings['rounds']} interleaved rounds of {settings['seconds']:g} s; "
        f"client in {settings['client']}, {settings['pinning']}; bulk keeps "
        f"{settings['depth']} requests on the way; load before {noise['load_before']:.2f}, "
        f"stolen {noise['stolen_percent']:.1f} %"
    )
    lines = [where, how]
    lines += [f"note: {note}" for note in report["notes"]]
    busy = noise["load_before"] > BUSY_LOAD_PER_CORE * machine["cores"]
    stolen = noise["stolen_percent"] > BUSY_STOLEN_PERCENT
    if busy or stolen:
        lines.append("note: the machine was not quiet: trust ratios, not absolute figures")
    wide = max((f["spread"] for c in report["cells"] for f in c["figures"].values()), default=0)
    if wide > WIDE_SPREAD:
        lines.append(f"note: rounds differ by up to {100 * wide:.0f} %: see spread, run again")
    return lines


def plain(section: Section) -> list[str]:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [section.columns, *section.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(section.columns))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def print_report(
    report: Mapping[str, Any], out: TextIO = sys.stdout, more: Sequence[Section] = ()
) -> None:
    """Draw the whole report on `out`, and what other parts drew up themselves."""
    fancy = out.isatty()
    console = Console(file=out, highlight=False)
    print(*head(report), sep="\n", file=out)
    for section in [*sections(report), *(one for one in more if one.rows)]:
        print(file=out)
        if fancy:
            drawn = Table(title=section.title, title_justify="left")
            for at, column in enumerate(section.columns):
                drawn.add_column(column, justify="left" if at == 0 else "right")
            for row in section.rows:
                missed = row[-1] == "MISSED"
                drawn.add_row(*row, style="bold red" if missed else None)
            console.print(drawn)
        else:
            print(section.title, *plain(section), sep="\n", file=out)
