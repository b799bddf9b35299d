"""The memory of all the daemon's processes together, without and with a TPM.

    without a TPM          the other sources of the shipped configuration that this machine has
    with a software TPM    and swtpm's, with the collector that talks to it
    N workers              without a TPM, with another number of workers than the default

Each after its workers have served.  PSS counts a page that processes share by each one's
part of it, so that its sum is what the service takes; resident would count it in each.
swtpm itself is not in it: a real TPM is a chip.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench import load, machine, measure, service
from bench.table import Section, number
from tools import run as tools_run

#: 10^6 bytes, with a TPM.
SUPERVISOR_LIMIT: Final = 36.0
ALL_LIMIT: Final = 64.0
MEGABYTE: Final = 1e6
#: Seconds for every source to have been tested, on a busy machine.
PATIENCE: Final = 30.0
#: Seconds after the load, for what it needed to be given back.
SETTLE: Final = 2.0

WITHOUT: Final = "without a TPM"
WITH: Final = "with a software TPM"
#: Case -> [server] workers; the other cases have the default, two.
WORKERS: Final = {f"{count} worker{'s' * (count > 1)}": count for count in (1, 4, 8)}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of one daemon, in bytes."""

    case: str
    sources: tuple[str, ...]
    """The healthy ones."""
    supervisor: machine.Memory
    others: tuple[machine.Memory, ...]
    """Template, workers and collectors."""

    @property
    def proportional(self) -> int | None:
        """Of all of them; None where the kernel did not say it of each."""
        every = [one.proportional for one in (self.supervisor, *self.others)]
        known = [one for one in every if one is not None]
        return sum(known) if len(known) == len(every) else None


def report_of(footprints: Sequence[Footprint]) -> dict[str, Any]:
    """Cells and targets; without a footprint with a TPM the targets have no values."""
    cells: list[dict[str, Any]] = [
        {
            "case": one.case,
            "sources": list(one.sources),
            "processes": 1 + len(one.others),
            "supervisor_mb": one.supervisor.resident / MEGABYTE,
            "all_pss_mb": None if one.proportional is None else one.proportional / MEGABYTE,
            "each": [asdict(memory) for memory in (one.supervisor, *one.others)],
        }
        for one in footprints
    ]
    full: dict[str, Any] = next((cell for cell in cells if cell["case"] == WITH), {})
    targets: list[dict[str, Any]] = []
    for what, key, limit in (
        ("supervisor", "supervisor_mb", SUPERVISOR_LIMIT),
        ("all processes, PSS", "all_pss_mb", ALL_LIMIT),
    ):
        value = full.get(key)
        name, sense, unit = f"memory {WITH}, {what}", "at most", "MB"
        met = None if value is None else measure.Verdict(name, value, limit, sense, unit).met
        targets.append(
            {
                "name": name,
                "value": value,
                "limit": limit,
                "sense": sense,
                "unit": unit,
                "met": met,
            }
        )
    return {"cells": cells, "targets": targets}


def missing_tpm() -> str:
    """Why it cannot be measured with a TPM; nothing when it can."""
    return "" if shutil.which("swtpm") else "swtpm is not installed (apt-get install swtpm)"


def measure_memory(
    client: load.Client, seconds: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """All of them, but the one with a TPM where swtpm is not installed; BenchError."""
    cases = (WITHOUT, *((WITH,) if not missing_tpm() else ()), *WORKERS)
    footprints: list[Footprint] = []
    for case in cases:
        progress(f"memory {case}")
        with (
            tempfile.TemporaryDirectory(prefix="hwm-", dir="/tmp") as name,
            _config(case, Path(name)) as config,
            service.start_daemon(Path(name) / "daemon", config) as daemon,
        ):
            footprints.append(_footprint(case, daemon, client, seconds))
    return report_of(footprints)


@contextmanager
def _config(case: str, directory: Path) -> Generator[Path]:
    """The daemon's configuration, with a software TPM running where the case has one."""
    if case != WITH:
        config = directory / "hwentropyd.toml"
        workers = f"[server]\nworkers = {WORKERS[case]}\n" if case in WORKERS else ""
        config.write_text(f"{workers}[sources.tpm2]\nenabled = false\n")
        yield config
        return
    state = directory / "tpm"
    state.mkdir()
    try:
        swtpm = tools_run.start_swtpm(state)
    except SystemExit as error:
        raise service.BenchError(str(error)) from None
    try:
        yield tools_run.configure_swtpm(state, None)
    finally:
        tools_run.stop_swtpm(swtpm)


def _footprint(
    case: str, daemon: service.Server, client: load.Client, seconds: float
) -> Footprint:
    daemon.first_byte()
    sources = _healthy(daemon, tpm=case == WITH)
    for size, connections in ((32, 4), (1 << 20, 4)):
        client.run(
            str(daemon.path), size=size, connections=connections, depth=1, seconds=seconds
        )
    service.settle(SETTLE)
    return Footprint(
        case=case,
        sources=sources,
        supervisor=machine.memory(daemon.pid),
        others=tuple(machine.memory(pid) for pid in machine.descendants(daemon.pid)),
    )


def _healthy(daemon: service.Server, *, tpm: bool) -> tuple[str, ...]:
    """The healthy sources, once none starts; BenchError when a TPM's is not among them."""
    from hwentropy.control import Control  # noqa: PLC0415 - as in client.py

    deadline = time.monotonic() + PATIENCE
    with Control(daemon.path.with_name("control.sock"), timeout=PATIENCE) as control:
        while True:
            sources = control.sources()
            if all(one.state != "starting" for one in sources):
                break
            if time.monotonic() > deadline:
                raise service.BenchError(f"a source is starting after {PATIENCE:.0f} s")
            time.sleep(0.05)
    healthy = [one for one in sources if one.state == "healthy"]
    if tpm and not any(one.kind == "tpm2" for one in healthy):
        said = "; ".join(f"{one.name}: {one.state}, {one.reason}" for one in sources)
        raise service.BenchError(f"the software TPM's source is not healthy: {said}")
    return tuple(one.name for one in healthy)


def section(cells: Sequence[Mapping[str, Any]]) -> Section:
    """The table of it."""
    rows = tuple(
        (
            f"{one['case']}: {', '.join(one['sources'])}",
            str(one["processes"]),
            number(one["supervisor_mb"]),
            number(one["all_pss_mb"]),
        )
        for one in cells
    )
    columns = ("memory", "processes", "supervisor MB", "all, PSS MB")
    return Section("Memory of all processes together, after a load", columns, rows)
