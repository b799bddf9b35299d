"""What each process gives up for good, before it meets anybody.

    process       core dumps, being debugged, new privileges, capabilities
    landlock      files, TCP, signals to others
    seccomp       system calls: loads a filter on all threads
    filters       ... and which each kind of process keeps
    bpf           ... as a program for the kernel
    system_calls  ... and their numbers

docs/security.md says what is left to each process, and a test of each tries the rest.
What the kernel does not have is left out: `missing` says what that is.
"""

import os

from . import filters, landlock, seccomp
from .process import (
    drop_capabilities,
    forbid_new_privileges,
    protect_memory,
    raise_descriptor_limit,
)

__all__ = ["confine_worker", "missing", "protect_memory", "raise_descriptor_limit"]


def confine_worker() -> None:
    """Leave this process its memory, its threads and what it has open.

    Call it before other threads start: capabilities and Landlock hold for the thread
    that gives them up and those it starts.  Raises OSError when the kernel refuses
    what it has.
    """
    protect_memory()
    forbid_new_privileges()
    drop_capabilities()
    landlock.restrict({})
    seccomp.install(filters.worker(os.getpid()))


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
