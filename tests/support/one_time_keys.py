"""Keys for hwentropy's NumPy bit generator without a daemon, and a look at its memory."""

import ctypes
import os
from collections.abc import Callable
from typing import Any, Final

#: A key of the tests' own, each byte different.
KEY: Final = bytes(range(32))
#: What client/hwentropy/_bitgen.c has for each bit generator.
PAGE_BYTES: Final = 4096
#: Blocks that it makes at most at a time.
BLOCKS: Final = 32
#: As `Keys.key`: the kernel's bytes, new ones each time.
FRESH: Final = object()


class Keys:
    """What the bit generator draws its keys with; counts them."""

    def __init__(self) -> None:
        self.drawn = 0
        self.key: Any = FRESH
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def take(self, size: int) -> bytes | None:
        """Nothing is ready every other time, as may be with the real one."""
        assert size == 32
        return None if self.drawn % 2 else self.random_bytes(size)

    def random_bytes(self, size: int) -> bytes:
        """The next key."""
        self.drawn += 1
        if self.error:
            raise self.error
        self.meanwhile()
        key: bytes = os.urandom(size) if self.key is FRESH else self.key
        return key


def page_of(bits: Any) -> "ctypes.Array[ctypes.c_ubyte]":
    """The page of memory that a bit generator's callbacks work on."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # numpy/random/bitgen.h: the state is the first of the struct's pointers.
    state = ctypes.c_void_p.from_address(pointer(bits.capsule, b"BitGenerator")).value
    assert state
    return (ctypes.c_ubyte * PAGE_BYTES).from_address(state)
