"""UUIDs of version 4 and 7 (RFC 9562), their random bits from the daemon.

    version 4   122 random bits                                            section 5.4
    version 7   48 bits of Unix time in milliseconds, a 12-bit counter,    section 5.7
                62 fresh random bits

Those of version 7 grow strictly within a process, over all its threads, by
section 6.2, method 1 (fixed-length dedicated counter): the counter takes the
place of rand_a, starts in every new millisecond at a random number whose highest
bit is 0 (so at least 2,048 of them fit), and goes up by one for each UUID of the
same millisecond.  When it is full, the embedded time goes one millisecond ahead
("Counter Rollover Handling").  A clock that steps back is not followed: the last
time stays until the clock has passed it, as section 6.2 advises.  The 62 bits
below the counter are fresh for every UUID, so neighbours do not help to guess one,
and two processes, or a parent and its forked child, differ in them.

What this does not protect against: a UUID is a name, not a key.  Section 8 warns
of using one as a capability; version 7 also shows when it was made.  For secrets
use `token_bytes`.  A process that starts anew knows nothing of the last one's times.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from hwentropy.generator import random_bytes

#: Section 4.1: the two highest bits of octet 8 are 10.
_VARIANT: Final = 0b10 << 62
_VERSION_7: Final = 0x7 << 76
_RANDOM_BITS: Final = 62
_RANDOM_MASK: Final = (1 << _RANDOM_BITS) - 1
_COUNTER_MASK: Final = 0xFFF
#: A new millisecond's counter: 12 bits with the highest 0.
_START_MASK: Final = 0x7FF
_TIME_MASK: Final = (1 << 48) - 1
_NS_PER_MS: Final = 1_000_000


class Version7:
    """Makes the UUIDs of one sequence.

    `clock` gives Unix time in ns, `draw` random bytes (None: this module's).
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.time_ns,
        draw: Callable[[int], bytes] | None = None,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._last = -1
        """48 bits of milliseconds above 12 of counter: what the last UUID began with."""

    def make(self) -> UUID:
        """The next UUID, above every earlier one of this sequence.

        Raises OverflowError when the time does not fit 48 bits (the year 10889).
        """
        # 62 bits for rand_b and, above them, 11 for a counter that starts anew.
        drawn = int.from_bytes((self._draw or random_bytes)(10), "big")
        now = (self._clock() // _NS_PER_MS) << 12
        start = now | drawn >> _RANDOM_BITS & _START_MASK
        with self._lock:
            # The carry of a full counter moves the time one millisecond ahead.
            ours = start if start > self._last | _COUNTER_MASK else self._last + 1
            if ours >> 12 > _TIME_MASK:
                raise OverflowError("the clock is past what a version 7 UUID can hold")
            self._last = ours
        above = (ours >> 12) << 80 | _VERSION_7 | (ours & _COUNTER_MASK) << 64
        return UUID(int=above | _VARIANT | drawn & _RANDOM_MASK)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


_process = Version7()
os.register_at_fork(after_in_child=_process.after_fork)


def token_uuid4() -> UUID:
    """A UUID of version 4: 122 random bits (RFC 9562 section 5.4)."""
    return UUID(bytes=random_bytes(16), version=4)


def token_uuid7() -> UUID:
    """A UUID of version 7: the time in milliseconds, a counter, and 62 random bits.

    Above every one that this process made before (RFC 9562 sections 5.7 and 6.2).
    """
    return _process.make()
