"""A wall clock that was set: a machine that was copied is told the time anew.

CLOCK_REALTIME and CLOCK_BOOTTIME are one counter with two offsets, so what adjusts the
rate (slewing: adjtimex's frequency, tick and offset) moves both alike and explains no
difference at all.  A suspend moves both alike too, as CLOCK_BOOTTIME counts it.  Their
difference changes where the clock is set, by a time service (in a copy: once it has
noticed), by the hypervisor's agent, by an administrator, and by a leap second.  The last two
are false alarms that cost a reseed each.

The kernel cancels a timer that asks for it when the clock is set (timerfd_create(2),
TFD_TIMER_CANCEL_ON_SET), so this needs no looking again and again.

CLOCK_TAI knows no leap second, but is moved by 37 s where a time service first tells the
kernel of it; CLOCK_MONOTONIC_RAW is not slewed, so it parts from the others at 500 ppm and
more by itself.

What this does not protect against: a copy whose clock nobody sets, and what runs before.
"""

import ctypes
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from hwentropyd.confinement.kernel import checked

from .sign import UnwatchedError

#: A smaller change is none, in nanoseconds: reading two clocks takes below a microsecond
#: but for a thread that is put aside in between, and services that set a clock do so from
#: 0.128 s on (ntpd), 0.4 s (systemd-timesyncd), 1 s (chrony), and slew what is less.
STEP: Final = 100_000_000

#: linux/timerfd.h; Python has the calls from 3.13 on.
_TFD_TIMER_ABSTIME: Final = 1
_TFD_TIMER_CANCEL_ON_SET: Final = 2

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Difference:
    """Wall clock less boot time, in nanoseconds: something from `least` to `most`."""

    least: int
    most: int

    @classmethod
    def between(cls, before: int, wall: int, after: int) -> Self:
        """The wall clock was read after one reading of the boot time and before another."""
        return cls(wall - after, wall - before)

    def apart(self, other: Self) -> int:
        """Nanoseconds that the two differ by at least; 0 where they may be one."""
        return max(self.least - other.most, other.least - self.most, 0)


class WallClock:
    """Whether it was set since the last look.  Pure: what it reads comes in."""

    def __init__(self, first: Difference) -> None:
        self._last = first

    def look(self, now: Difference) -> bool:
        """Whether this difference is another than the last."""
        if self._last.apart(now) >= STEP:
            self._last = now
            return True
        # Small changes do not add up; a reading that took long says too little.
        if now.most - now.least < STEP:
            self._last = now
        return False


def read_difference(
    boot: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    wall: Callable[[], int] = time.time_ns,
) -> Difference:
    """As it is now."""
    before = boot()
    return Difference.between(before, wall(), boot())


class _Spec(ctypes.Structure):
    """struct itimerspec of two timespecs."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("value_seconds", ctypes.c_long),
        ("value_nanoseconds", ctypes.c_long),
    )


class SetTimer:
    """A timer that the kernel cancels when the clock is set, and that never ends else."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.fd = checked(
            _libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        )
        """Readable when the clock was set."""
        try:
            self._arm()
        except BaseException:
            os.close(self.fd)
            raise

    def renew(self) -> None:
        """Set it anew if it was cancelled.  Raises OSError."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            self._arm()

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def _arm(self) -> None:
        # For ever; a time that the kernel's nanoseconds (of 292 years) hold.
        spec = _Spec(0, 0, int(time.time()) + 100 * 31_556_952, 0)
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        checked(_libc.timerfd_settime(self.fd, flags, ctypes.byref(spec), None))


class ClockWatcher:
    """The machine's clocks."""

    def __init__(
        self, timer: SetTimer, read: Callable[[], Difference] = read_difference
    ) -> None:
        """The timer belongs to this from now on."""
        self._timer = timer
        self._read = read
        self._clock = WallClock(read())

    @property
    def wakes(self) -> int:
        """Readable when the clock is set."""
        return self._timer.fd

    def look(self) -> bool:
        """Whether the clock was set by STEP or more."""
        self._timer.renew()
        return self._clock.look(self._read())

    def close(self) -> None:
        """Stop watching."""
        self._timer.close()


def watch(make_timer: Callable[[], SetTimer] = SetTimer) -> ClockWatcher:
    """Watch the clocks.  Raises UnwatchedError."""
    try:
        return ClockWatcher(make_timer())
    except OSError as error:
        raise UnwatchedError(f"no timer that tells of it ({error.strerror})") from None
