"""A process copied as the snapshot of a virtual machine copies it.

    other = in_a_copy(draw)     # what the copy draws, from the state that this process has
    own = draw()                # and this one, from the same state

A fork, but for what tells a forked child: no handler of Python's runs, what the kernel
would wipe stays, and the generation page is the copy's own, shared by nobody outside it.
"""

import ctypes
import fcntl
import gc
import mmap
import os
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# linux/mman.h
_MADV_WIPEONFORK = 18
_MADV_KEEPONFORK = 19
_MAP_FIXED = 0x10
_F_SEAL_FUTURE_WRITE = 0x10

_PAGE = "/memfd:hwentropy-generation"

#: Keeps the interpreter's lock through a call, so the child has it too.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


@dataclass
class _Mapping:
    """A line of /proc/self/smaps with its flags."""

    start: int
    size: int
    access: str
    inode: int
    path: str
    flags: list[str]


def in_a_copy(call: Callable[[], bytes]) -> bytes:
    """What `call` gives in a copy of this process; its exception is an AssertionError."""
    # What it frees later would be unmapped between the list and its use.
    gc.collect()
    gc.disable()
    try:
        wiped = [one for one in _mappings() if "wf" in one.flags]
        _advise(wiped, _MADV_KEEPONFORK)
        reader, writer = os.pipe()
        child = _libc.fork()
        if not child:
            _run(call, writer)
        _advise(wiped, _MADV_WIPEONFORK)
    finally:
        gc.enable()
    os.close(writer)
    with open(reader, "rb") as told:  # noqa: PTH123 (a descriptor)
        result = told.read()
    os.waitpid(child, 0)
    assert result[:1] == b"+", result[1:].decode()
    return result[1:]


def _run(call: Callable[[], bytes], writer: int) -> None:
    try:
        _own_pages()
        result = b"+" + call()
    except BaseException:  # noqa: BLE001 (told to the other)
        result = b"-" + traceback.format_exc().encode()
    while result:
        result = result[os.write(writer, result) :]
    os._exit(0)


def _advise(mappings: list[_Mapping], advice: int) -> None:
    for one in mappings:
        done = _libc.madvise(ctypes.c_void_p(one.start), ctypes.c_size_t(one.size), advice)
        assert done == 0, os.strerror(ctypes.get_errno())


def _own_pages() -> None:
    """Put in the place of each page one with its content, at the same addresses."""
    copies: dict[int, int] = {}
    for one in _mappings():
        if not one.path.startswith(_PAGE):
            continue
        if one.inode not in copies:
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            copies[one.inode] = os.memfd_create("hwentropy-generation", flags)
            os.write(copies[one.inode], ctypes.string_at(one.start, one.size))
        access = mmap.PROT_READ | (mmap.PROT_WRITE if "w" in one.access else 0)
        at = _libc.mmap(
            ctypes.c_void_p(one.start),
            ctypes.c_size_t(one.size),
            access,
            mmap.MAP_SHARED | _MAP_FIXED,
            copies[one.inode],
            ctypes.c_long(0),
        )
        assert at == one.start, os.strerror(ctypes.get_errno())
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (names only)
        try:
            copy = copies.get(os.fstat(number).st_ino)
        except OSError:
            continue  # what listed them
        if copy is not None and copy != number:
            os.dup2(copy, number, inheritable=False)
    for copy in copies.values():
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)


def _mappings() -> Iterator[_Mapping]:
    head = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)")
    found: _Mapping | None = None
    for line in Path("/proc/self/smaps").read_text(errors="replace").splitlines():
        if match := head.fullmatch(line):
            start, end = int(match[1], 16), int(match[2], 16)
            found = _Mapping(start, end - start, match[3], int(match[4]), match[5], [])
        elif line.startswith("VmFlags:") and found is not None:
            found.flags = line.split()[1:]
            yield found
