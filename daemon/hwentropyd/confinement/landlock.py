"""Landlock: which files, TCP ports, signals and abstract sockets are left.

    Linux 5.13  ABI 1  files
          6.2       3  ... and truncating them
          6.7       4  TCP: bind and connect
          6.10      5  ioctl of devices
          6.12      6  signals to, and abstract Unix sockets of, others than its children

An older kernel does what it has.  What this does not protect against: connecting to a
Unix socket by its path, and stat(2); see `filters`.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path
from typing import Final

from . import kernel

# The same numbers on every architecture (asm-generic/unistd.h).
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446

_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
#: struct landlock_ruleset_attr: files, network, scopes; as much of it as the ABI has.
_RULESET: Final = struct.Struct("=QQQ")
#: struct landlock_path_beneath_attr, packed.
_PATH_BENEATH: Final = struct.Struct("=Qi")

_TCP: Final = 0x3  # LANDLOCK_ACCESS_NET_BIND_TCP | _CONNECT_TCP
_SCOPES: Final = 0x3  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | _SIGNAL

#: The ABI that brings all that the table above names.
NEWEST_ABI: Final = 6


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_* of linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_FILE_ACCESS: Final = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
#: Bits of `Access` by ABI; those of 5 hold for every later one.
_ACCESS_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15}


def abi() -> int:
    """The kernel's Landlock ABI; 0 without Landlock."""
    try:
        return kernel.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(allowed: Mapping[Path, Access], *, tcp: bool = False, scoped: bool = True) -> None:
    """Leave this thread, and those it starts, these accesses below these paths.

    A path that is not there is left out.  `tcp`: whether TCP stays; `scoped`: whether
    signals and abstract sockets are confined.  Raises OSError; does nothing on a kernel
    without Landlock.
    """
    version = abi()
    if not version:
        return
    handled = (1 << _ACCESS_BITS.get(version, 16)) - 1
    attributes = _RULESET.pack(handled, 0 if tcp else _TCP, _SCOPES if scoped else 0)
    size = 8 if version < 4 else 16 if version < NEWEST_ABI else 24
    rules = kernel.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path, access in allowed.items():
            _allow(rules, path, access & handled)
        kernel.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, access: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            access &= _FILE_ACCESS
        rule = _PATH_BENEATH.pack(access, beneath)
        kernel.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)
