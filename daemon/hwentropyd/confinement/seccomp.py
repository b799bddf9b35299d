"""Puts a system call filter on all threads of this process, for good."""

import ctypes
import errno
import platform
import struct
from typing import Final

from . import kernel
from .bpf import KILL_PROCESS, assemble
from .filters import Filter
from .system_calls import ARCHITECTURES, Architecture

# linux/seccomp.h
_SET_MODE_FILTER: Final = 1
_FLAG_TSYNC: Final = 1
_GET_ACTION_AVAIL: Final = 2


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def unavailable() -> str | None:
    """Why there are no filters here, or None."""
    architecture = _architecture()
    if architecture is None:
        return f"no table of the system calls of {platform.machine()}"
    try:
        action = struct.pack("=I", KILL_PROCESS)
        kernel.syscall(architecture.numbers["seccomp"], _GET_ACTION_AVAIL, 0, action)
    except OSError as error:
        return f"the kernel, or a sandbox around this, says {error.strerror}"
    return None


def install(rules: Filter) -> None:
    """Filter this process's system calls; does nothing where `unavailable` says why.

    Raises OSError.
    """
    architecture = _architecture()
    if architecture is None or unavailable():
        return
    program = assemble(architecture, *rules)
    result = kernel.syscall(
        architecture.numbers["seccomp"],
        _SET_MODE_FILTER,
        _FLAG_TSYNC,
        ctypes.byref(_Program(len(program) // 8, program)),
    )
    if result:
        raise OSError(errno.EBUSY, f"thread {result} has a filter of its own")


def _architecture() -> Architecture | None:
    return ARCHITECTURES.get(platform.machine())
