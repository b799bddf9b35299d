"""The generation page: how everyone learns of a reseed with one memory read.

One page of sealed shared memory that the supervisor writes and everybody else
maps read-only (for a service, what the kernel's vDSO getrandom does).  Layout,
native byte order, in 64-bit words:

    word 0   magic, the number 0x31475054_4E455748 ("HWENTPG1" in little-endian)
    word 1   generation: moves when every child has to rekey before its next byte
    word 2   service state, see `ServiceState`
    word 3   lease epoch: moves with the generation, and when the service fails closed
    word 4   until when the service is `ok` unless its supervisor says otherwise, else 0
    word 5   until when it serves at all, `ok` or `degraded`, else 0

The times are CLOCK_BOOTTIME in nanoseconds.  They follow from the age of the seed and
the policy, so that a supervisor that is stuck, and cannot write, holds nobody to `ok`.

Whoever finds the generation other than their own rekeys, so a read that raced
with a write costs one rekey too many at worst.  The holder of a lease reads the
epoch alone: one read tells both that a new seed is due and that there is none
to be had any more.

What this does not protect against: bytes that are drawn while the supervisor is
stuck are not counted towards `reseed_bytes` and `degraded_bytes`; the times alone
hold.  A process that the supervisor forks without exec inherits its writable mapping.
"""

import fcntl
import mmap
import os
import time
from enum import IntEnum
from typing import Final

from .errors import ProtocolError

PAGE_BYTES: Final = 4096
MAGIC: Final = int.from_bytes(b"HWENTPG1", "little")
_MAGIC_WORD, _GENERATION_WORD, _STATE_WORD, _EPOCH_WORD, _OK_UNTIL_WORD, _SERVES_UNTIL_WORD = (
    range(6)
)

#: The latest time there is; C clients hold times in signed numbers.
NEVER: Final = (1 << 63) - 1

# linux/fcntl.h; Python names it only from 3.13 on: existing writable mappings
# stay writable, new ones are refused.
_F_SEAL_FUTURE_WRITE: Final = 0x0010

#: What makes the page safe to map and to pass on: it keeps its size, so that no
#: reader meets SIGBUS, and nobody but its creator ever writes it.
_SEALS: Final = (
    fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL
)


class ServiceState(IntEnum):
    """What the daemon may hand out."""

    STARTING = 0
    """Not seeded yet: nothing."""
    OK = 1
    DEGRADED = 2
    """No healthy credited source is left: for a limited time and amount."""
    FAILED = 3
    """Failed closed: nothing, until a full-strength reseed."""

    @property
    def label(self) -> str:
        """The name used in status output and in INFO."""
        return self.name.lower()


def boottime() -> int:
    """The clock of the page: CLOCK_BOOTTIME nanoseconds, which go on in suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class PageWriter:
    """The supervisor's side: creates the page and writes it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("hwentropy-generation", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, PAGE_BYTES)
        self._words = memoryview(mmap.mmap(self.fd, PAGE_BYTES)).cast("Q")
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self._words[_MAGIC_WORD] = MAGIC

    @property
    def generation(self) -> int:
        """The generation that readers see; 0 before the first seed."""
        return self._words[_GENERATION_WORD]

    @generation.setter
    def generation(self, value: int) -> None:
        self._words[_GENERATION_WORD] = value
        self._words[_EPOCH_WORD] += 1

    @property
    def state(self) -> ServiceState:
        """The state that readers see."""
        return ServiceState(self._words[_STATE_WORD])

    @state.setter
    def state(self, value: ServiceState) -> None:
        self.publish(value)

    def publish(
        self, state: ServiceState, ok_until: int = NEVER, serves_until: int = NEVER
    ) -> None:
        """Show a state, and until when it holds if nothing more is said (`boottime`)."""
        is_ok = state is ServiceState.OK
        serves = is_ok or state is ServiceState.DEGRADED
        self._words[_OK_UNTIL_WORD] = ok_until if is_ok else 0
        self._words[_SERVES_UNTIL_WORD] = serves_until if serves else 0
        failed = state is ServiceState.FAILED and self.state is not state
        self._words[_STATE_WORD] = state
        self._words[_EPOCH_WORD] += failed


class PageReader:
    """Everybody else's side: maps the page read-only.

    `words[…]` is what a hot path reads; `OK_UNTIL` and `SERVES_UNTIL` are by `boottime`.
    """

    GENERATION: Final = _GENERATION_WORD
    STATE: Final = _STATE_WORD
    EPOCH: Final = _EPOCH_WORD
    OK_UNTIL: Final = _OK_UNTIL_WORD
    SERVES_UNTIL: Final = _SERVES_UNTIL_WORD

    def __init__(self, fd: int) -> None:
        """Map the page behind `fd`; raises ProtocolError when it is not one.

        `fd` stays its caller's, who may close it.
        """
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
            mapped = mmap.mmap(fd, PAGE_BYTES, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            msg = "the generation page cannot be mapped"
            raise ProtocolError(msg) from None
        if not sealed:
            msg = "the generation page is not sealed"
            raise ProtocolError(msg)
        self.words = memoryview(mapped).cast("Q")
        if self.words[_MAGIC_WORD] != MAGIC:
            msg = "the generation page does not start with its magic"
            raise ProtocolError(msg)

    @property
    def generation(self) -> int:
        """The current generation."""
        return self.words[_GENERATION_WORD]

    def state_at(self, now: int) -> ServiceState:
        """The state at a time by `boottime`: the one written, or what its age makes of it.

        Raises ProtocolError as `state` does.
        """
        state = self.state
        if state is ServiceState.STARTING:
            return state
        if now < self.words[_OK_UNTIL_WORD]:
            return ServiceState.OK
        if now < self.words[_SERVES_UNTIL_WORD]:
            return ServiceState.DEGRADED
        return ServiceState.FAILED

    @property
    def state(self) -> ServiceState:
        """The state as it was written; raises ProtocolError when it is not a known one."""
        value = self.words[_STATE_WORD]
        try:
            return ServiceState(value)
        except ValueError:
            msg = f"the generation page holds the unknown state {value}"
            raise ProtocolError(msg) from None
