"""Seccomp filters as classic BPF: which system calls with which arguments.

    allowed    goes through
    refused    fails with an errno, as working code tries it and copes
    newer      than this table: ENOSYS, as on an older kernel, so that a newer libc
               falls back instead of dying
    the rest   kills the process with SIGSYS, or what else is wanted

Pure: rules in, program out.  What this does not do: look behind a pointer (a path,
an address), which no seccomp filter can.
"""

import errno
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .system_calls import NEWEST, Architecture

# linux/seccomp.h
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
KILL_PROCESS: Final = 0x80000000

# linux/bpf_common.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

#: struct sock_filter: code, jump if true, jump if false, value.
_INSTRUCTION: Final = struct.Struct("=HBBI")
# struct seccomp_data: int nr, u32 arch, u64 instruction_pointer, u64 args[6].
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16


@dataclass(frozen=True, slots=True)
class Check:
    """Holds when `argument & mask` is one of `values`; with `other`, when it is none.

    Looks at the low 32 bits: of what is checked here (descriptors' commands, flags,
    options, process ids) the kernel reads no more, or gives the rest no meaning.
    """

    argument: int
    """0 is the first."""
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    other: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a check needs a value to compare with")


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows a system call when every check holds; one rule of several suffices."""

    name: str
    checks: tuple[Check, ...] = ()


def assemble(
    architecture: Architecture,
    allowed: Iterable[Rule],
    refused: Mapping[str, int],
    rest: int = KILL_PROCESS,
) -> bytes:
    """The program.  Names that this architecture does not have are left out.

    `refused` gives the errno by name, and comes after `allowed`; `rest` is the verdict on
    what is neither.  The kernel remembers (since 5.11) which calls always pass, so the
    order matters only before that.
    """
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        # Unsigned, so x86-64's x32 calls (bit 30) are among the newer ones.
        (_GREATER, 0, 1, NEWEST),
        (_RETURN, 0, 0, ERRNO | errno.ENOSYS),
    ]
    for rule in allowed:
        number = architecture.numbers.get(rule.name)
        if number is not None:
            body = _checks(rule.checks)
            program += [(_EQUAL, 0, len(body), number), *body]
    for name, error in refused.items():
        number = architecture.numbers.get(name)
        if number is not None:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, ERRNO | error)]
    program.append((_RETURN, 0, 0, rest))
    return b"".join(_INSTRUCTION.pack(*one) for one in program)


def _checks(checks: tuple[Check, ...]) -> list[tuple[int, int, int, int]]:
    """Instructions that allow if all checks hold, and else go on behind themselves."""
    body = [(_RETURN, 0, 0, ALLOW)]
    if checks:
        body.append((_LOAD, 0, 0, _NUMBER))  # for the rules that follow
    for check in reversed(checks):
        # To the last instruction of `body`, which loads the number again.
        fail = len(body) - 1
        last = len(check.values) - 1
        if check.other:
            tests = [
                (_EQUAL, last - at + fail, 0, value) for at, value in enumerate(check.values)
            ]
        else:
            tests = [
                (_EQUAL, last - at, fail if at == last else 0, value)
                for at, value in enumerate(check.values)
            ]
        load = (_LOAD, 0, 0, _ARGUMENTS + 8 * check.argument)
        body = [load, (_AND, 0, 0, check.mask), *tests, *body]
    return body
