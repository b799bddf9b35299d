"""What a process gives up without naming a system call or a file.

Core dumps, being debugged or read by others of its user, privileges that a program
it executes would bring, and every capability.  What this does not protect against:
root outside the daemon, and whoever controls the kernel.
"""

import contextlib
import ctypes
import resource
import struct
from collections.abc import Iterable
from typing import Final

from . import kernel

# linux/prctl.h
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

#: linux/capability.h, _LINUX_CAPABILITY_VERSION_3: 64 bits in two words of each set.
_CAPABILITY_VERSION: Final = 0x20080522
#: Effective, permitted and inheritable, low words and then high words.
_SETS: Final = struct.Struct("=6I")

CAP_DAC_OVERRIDE: Final = 1
CAP_SETPCAP: Final = 8
CAP_SYS_ADMIN: Final = 21


def protect_memory() -> None:
    """Keep this process's memory out of core dumps and debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Let no program that this thread, or one it starts, executes gain anything by it.

    Landlock and seccomp ask for it.
    """
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)


def raise_descriptor_limit() -> int:
    """Allow as many descriptors as the hard limit does; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def drop_capabilities(keep: Iterable[int] = ()) -> None:
    """Give up every capability but these, of which only those stay that are there.

    Holds for this thread and those it starts.  Raises OSError.
    """
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    kernel.capget(header, sets)
    effective, permitted, inheritable, *high = _SETS.unpack(sets.raw)
    if not (permitted or inheritable or any(high)):
        return  # an ordinary user; and in the unit's sandbox capset is not to be had
    mask = sum(1 << number for number in keep)
    if effective & 1 << CAP_SETPCAP:
        # The bounding set: not even a program run as root gets them back.  EINVAL comes
        # past the last one that this kernel knows.
        with contextlib.suppress(OSError):
            for number in range(64):
                if not mask & 1 << number:
                    kernel.prctl(_PR_CAPBSET_DROP, number)
    kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    kept = permitted & mask
    kernel.capset(header, _SETS.pack(kept, kept, 0, 0, 0, 0))
