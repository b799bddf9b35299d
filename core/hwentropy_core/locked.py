"""A generator whose key and block are locked into RAM, in no core dump, gone in a fork.

What this does not protect against: the copies of a key for the time of one call, in
OpenSSL's cipher context and in buffers that are overwritten after it; hibernation,
which writes locked pages too; and who may read this process's memory.
"""

import ctypes
import mmap
from typing import Final

from .drbg import Drbg
from .limits import BLOCK_BYTES, KEY_BYTES
from .memory import MADV_WIPEONFORK

_libc: Final = ctypes.CDLL(None, use_errno=True)


def locked_drbg(purpose: bytes) -> tuple[Drbg, bool]:
    """An unseeded generator, and whether its memory is locked.

    It is not where the limit on locked memory (RLIMIT_MEMLOCK) allows no two pages.
    Raises OSError when there is no memory at all.
    """
    # The key has a page of its own, as the block fills one.
    size = mmap.PAGESIZE + BLOCK_BYTES
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_DONTDUMP)
    pages.madvise(MADV_WIPEONFORK)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    locked = _libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0
    view = memoryview(pages)
    return Drbg(purpose, key=view[:KEY_BYTES], block=view[mmap.PAGESIZE :]), locked
