"""What the machine is and what its processes use, read from /proc and sysfs.

`text -> value` parsers first, then the thin functions that open the files.
Nothing here measures time but `cpu_ns`, which reads a process's own CPU clock.
"""

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


def parse_cpu_model(cpuinfo: str) -> str:
    """The CPU's name out of /proc/cpuinfo, or "unknown CPU"."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return "unknown CPU"


def parse_kilobytes(text: str, key: str) -> int | None:
    """Bytes of a `Key:  123 kB` line of /proc/PID/status or smaps_rollup; None without it."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def parse_parent(stat: str) -> int:
    """The parent out of /proc/PID/stat, whose name field may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def parse_stolen(stat: str) -> tuple[int, int]:
    """(stolen, all) clock ticks over all CPUs out of /proc/stat (proc_stat(5), `cpu`)."""
    fields = [int(value) for value in stat.splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory in bytes; None where the kernel did not say."""

    resident: int
    proportional: int | None
    peak: int | None


def describe() -> dict[str, str | int]:
    """Name the machine, for the table's head."""
    try:
        model = parse_cpu_model((PROC / "cpuinfo").read_text())
    except OSError:
        model = "unknown CPU"
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "cores_of_machine": os.cpu_count() or 0,
        "kernel": f"{platform.system()} {platform.release()}",
        "virtual": _hypervisor(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _hypervisor() -> str:
    try:
        flags = (PROC / "cpuinfo").read_text()
    except OSError:
        return "unknown"
    return "virtual machine" if " hypervisor" in flags else "no hypervisor seen"


def stolen() -> tuple[int, int]:
    """(stolen, all) clock ticks so far."""
    return parse_stolen((PROC / "stat").read_text())


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process, ended ones too, in ns; OSError when it is gone.

    The clock of clock_getcpuclockid(3), which Python does not wrap; its number
    on Linux is ~pid * 8 + 2 (CPUCLOCK_SCHED).  /proc/PID/schedstat shows the
    first thread only, /proc/PID/stat counts in ticks of 10 ms.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def memory(pid: int) -> Memory:
    """Resident, proportional and peak memory of a process; OSError when it is gone."""
    status = (PROC / str(pid) / "status").read_text()
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except PermissionError:
        rollup = ""
    return Memory(
        resident=parse_kilobytes(status, "VmRSS") or 0,
        proportional=parse_kilobytes(rollup, "Pss"),
        peak=parse_kilobytes(status, "VmHWM"),
    )


def descendants(pid: int) -> list[int]:
    """Every living process below this one, in order of their numbers."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = parse_parent((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
    found: list[int] = []
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += level
    return sorted(found)


def place(pids: Iterable[int], cpus: set[int]) -> None:
    """Bind every thread of these processes, and what they start later, to `cpus`."""
    for pid in pids:
        for thread in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # ended while we looked
                os.sched_setaffinity(int(thread.name), cpus)


def command_line(pid: int) -> str:
    """The arguments of a process, joined by spaces; empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
