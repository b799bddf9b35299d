"""What each process gives up for good, before it meets anybody.

    process       core dumps, being debugged, new privileges, capabilities
    landlock      files, TCP, signals to others
    reach         ... and which of these a kind of process keeps
    seccomp       system calls: loads a filter on all threads
    filters       ... and which each kind of process keeps
    bpf           ... as a program for the kernel
    system_calls  ... and their numbers

docs/security.md says what is left to each process, and a test of each tries the rest.
What the kernel does not have is left out: `missing` says what that is.

Each function here is called before other threads start: capabilities and Landlock hold
for the thread that gives them up and those it starts.  Each raises OSError when the
kernel refuses what it has.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from . import filters, landlock, seccomp
from .landlock import Access
from .process import (
    CAP_DAC_OVERRIDE,
    CAP_SYS_ADMIN,
    drop_capabilities,
    forbid_new_privileges,
    protect_memory,
    raise_descriptor_limit,
)
from .reach import KEEP, NETWORK, READ, USE, Reach, interpreter, readable

__all__ = [
    "NETWORK",
    "Reach",
    "confine_collector",
    "confine_supervisor",
    "confine_template",
    "confine_worker",
    "missing",
    "protect_memory",
    "raise_descriptor_limit",
]


def confine_worker() -> None:
    """Leave this process its memory, its threads and what it has open."""
    protect_memory()
    forbid_new_privileges()
    drop_capabilities()
    landlock.restrict({})
    seccomp.install(filters.worker(os.getpid()))


def confine_template() -> None:
    """Leave the parent of all children what the most demanding of them needs.

    A device may belong to another user than root (a TPM to tss), so a daemon that root
    started by hand keeps, for collectors, the right to open files of others.
    """
    protect_memory()
    forbid_new_privileges()
    drop_capabilities([CAP_DAC_OVERRIDE])


def confine_collector(reach: Reach) -> None:
    """Leave this process the system's libraries, the devices and the sockets in `reach`."""
    confine_template()
    landlock.restrict(
        {**_system(reach), **dict.fromkeys(reach.devices, USE)}, tcp=reach.network
    )
    seccomp.install(filters.collector(os.getpid(), reach.families, programs=reach.programs))


def confine_supervisor(
    reach: Reach,
    *,
    runtime: Iterable[Path],
    state: Iterable[Path],
    read: Iterable[Path],
    reseeds_kernel: bool,
) -> None:
    """Leave this process what it needs once it listens.

    `reach` is its sources' and its collectors', as a template that is started anew
    inherits from it.  From the directories `runtime` it removes its sockets, in those of
    `state` it keeps files; where no source needs programs it executes this Python only.
    `reseeds_kernel`: a source asks the kernel to reseed (CAP_SYS_ADMIN).
    """
    protect_memory()
    forbid_new_privileges()
    drop_capabilities([CAP_DAC_OVERRIDE, *([CAP_SYS_ADMIN] if reseeds_kernel else [])])
    landlock.restrict(
        {
            **_system(reach),
            # Files there are replaced by new ones, which a rule for the old does not cover.
            Path("/etc"): READ,
            **dict.fromkeys(read, READ),
            **dict.fromkeys(reach.devices, USE),
            **dict.fromkeys(runtime, READ | Access.REMOVE_FILE),
            **dict.fromkeys(state, KEEP),
            **dict.fromkeys(interpreter(), READ | Access.EXECUTE),
        },
        tcp=reach.network,
        # Its children are the template's, which was there before: they are outside of what
        # it confines itself to, and it has to be able to end them.
        scoped=False,
    )
    seccomp.install(filters.supervisor(reach.families))


def _system(reach: Reach) -> dict[Path, Access]:
    more = Access.EXECUTE if reach.programs else Access(0)
    return {path: access | more for path, access in readable().items()}


def missing() -> list[str]:
    """What this kernel lacks of all this, a sentence's part each."""
    lacks: list[str] = []
    if why := seccomp.unavailable():
        lacks.append(f"system calls are not filtered ({why})")
    version = landlock.abi()
    if not version:
        lacks.append("files are not confined (a kernel without Landlock: 5.13 has it)")
    elif version < landlock.NEWEST_ABI:
        lacks.append(
            f"Landlock is of ABI {version} and not {landlock.NEWEST_ABI} (Linux 6.12): what "
            "it lacks of TCP, devices and signals is left to the system call filters"
        )
    return lacks
