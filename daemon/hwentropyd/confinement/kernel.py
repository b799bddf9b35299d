"""prctl(2) and syscall(2), for what Python has no function for."""

import ctypes
import os
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int = 0, more: int = 0) -> int:
    """prctl(2).  Raises OSError."""
    return checked(_libc.prctl(option, value, more, 0, 0))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2); integers of 64 bits as a ctypes type.  Raises OSError."""
    return checked(_libc.syscall(number, *arguments))


def capget(header: bytes, sets: "ctypes.Array[ctypes.c_char]") -> None:
    """capget(2).  Raises OSError."""
    checked(_libc.capget(header, sets))


def capset(header: bytes, sets: bytes) -> None:
    """capset(2).  Raises OSError."""
    checked(_libc.capset(header, sets))


def checked(result: int) -> int:
    """The result of a call of libc's, or the OSError that errno tells of."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
