"""Control groups of a test's own (cgroups(7)), as containers and limits have them.

    with made(named("machine.slice/hwe.scope")) as group:
        (group / "cgroup.procs").write_text("4711")

A group is removed at the end; who is still in it is moved back to where it was made from.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 20.0


def _mounted(kind: str, option: str = "") -> Path | None:
    """Where a hierarchy is mounted, with this option among its own."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, of_kind, options, *_ = line.split()
        if of_kind == kind and (not option or option in options.split(",")):
            return Path(place)
    return None


def named(path: str) -> Path | None:
    """A group of the unified hierarchy, from its root; None where there is none."""
    mounted = _mounted("cgroup2")
    return None if mounted is None else mounted / path


def limited(name: str) -> Path | None:
    """A group below this process's own whose memory can be limited; None where none can."""
    mounted = _mounted("cgroup", "memory")
    if mounted is None:
        return None
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return mounted / path.lstrip("/") / name
    return None


@contextmanager
def made(group: Path) -> Generator[Path]:
    """It exists, with the groups above it; all that did not before are removed."""
    missing = [one for one in (group, *group.parents) if not one.exists()]
    group.mkdir(parents=True)
    try:
        yield group
    finally:
        home = missing[-1].parent
        for one in missing:
            _remove(one, home)


def _remove(group: Path, home: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it has ended
                (home / "cgroup.procs").write_text(pid)
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)  # a process in it is about to end
        else:
            return
