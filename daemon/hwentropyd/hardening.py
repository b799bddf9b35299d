"""What a process of the daemon gives up so that its memory stays its own.

No core dump, no ptrace by other processes of the same user; a worker also
gives up every file it has not opened yet.  What this does not protect against:
root, and whoever controls the kernel.
"""

import ctypes
import logging
import resource
from typing import Final

import landlock

_PR_SET_DUMPABLE: Final = 4  # linux/prctl.h

log = logging.getLogger(__name__)


def protect_memory() -> None:
    """Keep this process's memory out of core dumps and debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("this process could not be made undumpable (errno %d)", ctypes.get_errno())


def raise_descriptor_limit() -> int:
    """Allow as many descriptors as the hard limit does; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def forbid_files() -> bool:
    """Give up opening, making and changing any file, for good (Landlock).

    Holds for this thread and those it starts.  False where the kernel has no
    Landlock (before 5.13, or switched off).
    """
    try:
        landlock.Ruleset().apply()
    except (landlock.LandlockError, OSError) as error:
        log.warning(
            "no Landlock on this kernel (%s): workers may open files", type(error).__name__
        )
        return False
    return True
