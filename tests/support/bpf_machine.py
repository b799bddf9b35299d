"""Runs a seccomp filter as the kernel does, one instruction after the other.

Written from Documentation/networking/filter.rst, apart from the code under test.
"""

import struct
from collections.abc import Sequence

_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06


def run(program: bytes, audit: int, number: int, arguments: Sequence[int] = ()) -> int:
    """The filter's verdict on a system call; raises ValueError where it is no filter."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, audit, 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    at, accumulator = 0, 0
    while at < len(instructions):
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == _LOAD:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == _AND:
            accumulator &= value
        elif code == _EQUAL:
            at += if_true if accumulator == value else if_false
        elif code == _GREATER:
            at += if_true if accumulator > value else if_false
        elif code == _RETURN:
            return int(value)
        else:
            raise ValueError(f"instruction {code:#x}")
    raise ValueError("the filter has no end")
