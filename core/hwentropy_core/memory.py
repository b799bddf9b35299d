"""Overwriting what was secret.

What this does not protect against: copies that CPython or a library made.
`bytes` objects cannot be overwritten, so secrets live in `bytearray`s here; a
`bytes` that a library's API insists on is freed, not erased.  Pages may have
been swapped before (the daemon's unit forbids that with MemorySwapMax=0).
"""

from typing import Final, TypeAlias

#: madvise(2), linux/mman.h (asm-generic); the mmap module of no CPython here has a name
#: for it.
MADV_WIPEONFORK: Final = 18

Buffer: TypeAlias = bytes | bytearray | memoryview

#: Zeros to copy from: overwrites without allocating, and the plaintext whose
#: encryption is the keystream.  64 KiB stays in a core's second-level cache.
ZEROS: Final = memoryview(bytes(64 * 1024))


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a writable buffer with zeros."""
    view = memoryview(buffer).cast("B")
    for start in range(0, len(view), len(ZEROS)):
        part = view[start : start + len(ZEROS)]
        part[:] = ZEROS[: len(part)]
