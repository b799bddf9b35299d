"""The kernel's own generator, read with getrandom(2): the kind `os`.

Non-blocking reads until the kernel says that its generator is initialised, so a
machine that has just booted makes this source late, not the daemon hung.

What this does not protect against: getrandom's output is a ChaCha20 stream, so
no test of ours could tell a badly seeded kernel from a good one.  Its entropy
is credited by policy (we trust the kernel we run on), not by measurement.
"""

import ctypes
import errno
import os
import re
import time
from collections.abc import Callable
from typing import ClassVar, Final

from hwentropy_core.memory import wipe
from hwentropy_sources.contract import Claim, Description, Source, SourceConfig, SourceError

#: The independence group of everything that comes out of the kernel's generator.
KERNEL_GROUP: Final = "kernel-crng"

#: Bits of the key that all output comes from (CHACHA_KEY_SIZE, 32 bytes, of base_crng in
#: Linux's drivers/char/random.c).
KERNEL_STRENGTH: Final = 256


def reseed_interval(release: str) -> float:
    """Seconds between two of the kernel's own reseeds (CRNG_RESEED_INTERVAL in random.c).

    60 from Linux 5.18, 300 before.  For two minutes after the start it reseeds more often.
    """
    version = re.match(r"(\d+)\.(\d+)", release)
    return 60.0 if version and (int(version[1]), int(version[2])) >= (5, 18) else 300.0


RESEED_INTERVAL: Final = reseed_interval(os.uname().release)

#: 8 of 8 bits: what the kernel promises once it is initialised (getrandom(2)).
KERNEL_CLAIM: Final = Claim(
    bits_per_sample=8,
    min_entropy=8.0,
    provenance="the kernel's CRNG is credited by policy, not by measurement",
    strength=KERNEL_STRENGTH,
    renewal=f"the kernel reseeds it every {RESEED_INTERVAL:g} s",
    renewal_seconds=RESEED_INTERVAL,
)

#: Seconds between two tries while the generator is not initialised: a
#: hundredth of the default deadline of 5 s, so waiting costs 20 calls a second.
POLL_SECONDS: Final = 0.05

libc_getrandom: Final = ctypes.CDLL(None, use_errno=True).getrandom
libc_getrandom.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
libc_getrandom.restype = ctypes.c_ssize_t

Clock = Callable[[], float]
Sleep = Callable[[float], None]


def getrandom_into(view: memoryview) -> int:
    """Fill the beginning of a view that is not empty; returns how much of it.

    Raises OSError.  In place of `os.getrandom`, whose `bytes` nobody can overwrite.
    """
    start = ctypes.addressof(ctypes.c_char.from_buffer(view))
    got = int(libc_getrandom(start, len(view), os.GRND_NONBLOCK))
    if got < 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            return 0
        raise OSError(code, os.strerror(code))
    return got


def read_kernel(
    size: int, timeout: float, clock: Clock = time.monotonic, sleep: Sleep = time.sleep
) -> bytearray:
    """`size` bytes of getrandom(2) within `timeout` seconds.

    Raises SourceError when the kernel's generator is not initialised by then.
    """
    out = bytearray(size)
    view = memoryview(out)
    filled = 0
    give_up = clock() + timeout
    while filled < size:
        try:
            filled += getrandom_into(view[filled:])
        except BlockingIOError:
            left = give_up - clock()
            if left <= 0:
                raise SourceError(
                    f"the kernel's random generator was not initialised within {timeout:g} s",
                    "wait, or give the kernel entropy (a hardware RNG, "
                    "systemd-random-seed.service)",
                ) from None
            sleep(min(POLL_SECONDS, left))
            continue
        except OSError as error:
            wipe(out)
            raise SourceError(
                f"getrandom failed: {error.strerror}",
                "allow the getrandom system call in the daemon's sandbox",
            ) from None
    return out


class OsRandom(Source):
    """getrandom(2) as a noise source.  There is nothing to open or close."""

    kind: ClassVar[str] = "os"

    def __init__(
        self,
        config: SourceConfig | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.config = config if config is not None else SourceConfig()
        self._clock = clock
        self._sleep = sleep

    def describe(self) -> Description:
        """Known without a device: getrandom is a system call."""
        return Description(KERNEL_GROUP, KERNEL_CLAIM, {"reads": "getrandom"})

    def open(self) -> None:
        """Nothing to do."""

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says; a sample is one byte."""
        return read_kernel(samples, timeout, self._clock, self._sleep)

    def close(self) -> None:
        """Nothing to do."""
