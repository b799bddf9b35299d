"""The kernel's hardware RNG device, /dev/hwrng: the kind `hwrng`.

    find     pyudev, subsystem misc, name hw_random (or `path` in the configuration)
    know     by its device number, wherever its node is and whatever links lead there:
             10:183 is the hwrng, 1:8 and 1:9 are the kernel's own generator
    ask      rng_current and rng_quality beside the hwrng in /sys: which device the
             kernel reads at present, and what its driver says it is worth
    read     small non-blocking reads until the samples are there or time is up

`rng_current` gives the independence group: `tpm-rng-0` is TPM 0, the same as
the kind `tpm2` on /dev/tpmrm0, and is credited once.  The kernel may change it
at any time, so that name is checked after every read: samples of a device that has
changed are thrown away with an error, and the next `open` has the new group.
The kernel's own generator has the group and the claim of the kind `os`.  A virtio-rng is
the host's generator, and a TPM has one too: neither is live.

What this does not protect against: a driver that overstates its quality (never
more than 4 of 8 bits are claimed); a device that is a DRBG and that this module does
not know for one, taken for live; up to 64 bytes of the former device that the kernel
still holds after a change, which fall into the startup test and are not credited.
/dev/hwrng has no poll(2), and a read may wait, non-blocking or not, for another reader
whom the device keeps waiting: the sampler's own watch covers that.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from hwentropy_core.memory import wipe

from .contract import Claim, Description, Source, SourceAbsent, SourceConfig, SourceError
from .discovery import find_hwrng, tpm_group
from .kernel.getrandom import KERNEL_CLAIM, KERNEL_GROUP, Clock, Sleep, read_kernel

SYSFS: Final = Path("/sys/class/misc/hw_random")

#: The device that SYSFS speaks of: MISC_MAJOR, and HWRNG_MINOR of
#: linux/miscdevice.h.  What `path` names may be another one.
HWRNG_NUMBER: Final = "10:183"

#: The kernel's generator: MEM_MAJOR, with the minors of /dev/random and /dev/urandom
#: (Documentation/admin-guide/devices.txt in Linux).
KERNEL_NUMBERS: Final = frozenset({"1:8", "1:9"})

#: Bytes of one read: the kernel's buffer (rng_buffer_size in its hw_random
#: core, one cache line); a longer read would loop in there, past our deadline.
READ_BYTES: Final = 64

#: Pauses in seconds while the device has nothing: 64 bytes take 6.4 ms at the
#: 10 kB/s of a virtio-rng, and a slow device is not asked more than 20 times a second.
FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.05

#: Bits of min-entropy a sample of 8 is taken for at most, whatever its driver
#: says: half, as for the CPU's instructions.  What it is worth where nobody
#: says: an eighth.
MOST_BITS: Final = 4.0
LEAST_BITS: Final = 1.0

#: What "all of it" is in the kernel's rng_quality, and from Linux 6.2 on also what it shows
#: where the driver said nothing (hwrng_init in drivers/char/hw_random/core.c; before, 0).
#: One cannot be told from the other, so it is taken for nothing on every kernel.
FULL_QUALITY: Final = 1024

#: Bits that the generator behind a virtio-rng holds: its host is asked for random bytes
#: (Virtual I/O Device 1.2, 5.4), which QEMU takes from the host kernel's generator or from
#: another one; and a TPM's, as of the kind `tpm2`.
GENERATOR_STRENGTH: Final = 256

_PERMISSION_REMEDY: Final = (
    "install the udev rule 70-hwentropy.rules and add the user to the group hwentropy "
    "(in a unit, see also its DeviceAllow=)"
)


def hwrng_group(current: str | None) -> str:
    """The independence group of what `rng_current` names; None where nobody knows."""
    if not current:
        return "hwrng"
    tpm = re.fullmatch(r"tpm-rng-(\d+)", current)
    return tpm_group(int(tpm[1])) if tpm else f"hwrng:{current}"


def is_stated(quality: int | None) -> bool:
    """Whether the driver said what its device is worth; else rng_quality is a default."""
    return quality is not None and 0 < quality < FULL_QUALITY


def hwrng_claim(quality: int | None, current: str | None = None) -> Claim:
    """H of a byte by rng_quality, in 1/1024 of its bits; live unless `current` is known."""
    strength, renewal = _generator_behind(current or "")
    if quality is None or not is_stated(quality):
        said = "nothing usable" if quality is None else f"{quality}, its default"
        bits = LEAST_BITS
        provenance = f"an eighth, since the kernel's rng_quality says {said}"
    else:
        bits = min(MOST_BITS, 8 * quality / FULL_QUALITY)
        provenance = (
            f"the kernel's rng_quality of {quality}/{FULL_QUALITY}, and never more than half"
        )
    return Claim(8, bits, provenance, strength=strength, renewal=renewal)


def _generator_behind(current: str) -> tuple[int | None, str]:
    """Strength and renewal of the DRBG that a device is known to be; none for others."""
    if current.startswith("virtio_rng"):
        return GENERATOR_STRENGTH, "not known: it is the host's"
    if re.fullmatch(r"tpm-rng-\d+", current):
        return GENERATOR_STRENGTH, "not known: no TPM tells when it reseeds"
    return None, ""


class HwrngConfig(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys of a `hwrng` table."""

    path: str | None = None
    """A character device; None: the one that the kernel has."""


class HardwareRng(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "hwrng"
    Config: ClassVar[type[SourceConfig]] = HwrngConfig

    def __init__(
        self,
        config: HwrngConfig | None = None,
        *,
        find: Callable[[], Path | None] = find_hwrng,
        sysfs: Path = SYSFS,
        number: str = HWRNG_NUMBER,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.config = config if config is not None else HwrngConfig()
        self._find = find
        self._sysfs = sysfs
        self._number = number
        self._clock = clock
        self._sleep = sleep
        self._fd = -1
        self._path: Path | None = Path(self.config.path) if self.config.path else None
        self._kernel = False
        """Whether the device is the kernel's own generator."""
        self._current: str | None = None
        self._quality: int | None = None

    def describe(self) -> Description:
        """The group and the claim are those of the device found by the last `open`."""
        device = str(self._path) if self._path else "not found yet"
        if self._kernel:
            facts = {"device": device, "reads": "the kernel's own generator, as `os` does"}
            return Description(KERNEL_GROUP, KERNEL_CLAIM, facts)
        facts = {
            "device": device,
            "rng_current": self._current or "unknown",
            "rng_quality": "unknown" if self._quality is None else str(self._quality),
            "quality": "stated" if is_stated(self._quality) else "default",
        }
        claim = hwrng_claim(self._quality, self._current)
        return Description(hwrng_group(self._current), claim, facts)

    def open(self) -> None:
        """Find the device, open it, and ask the kernel what is behind it."""
        self.close()
        self._path = Path(self.config.path) if self.config.path else self._find()
        if self._path is None:
            raise SourceAbsent(
                "this machine has no hardware RNG that the kernel knows",
                "load its driver (virtio_rng in a virtual machine, tpm_crb for a TPM)",
            )
        self._fd = self._open_device(self._path)
        device = os.fstat(self._fd)
        if not stat.S_ISCHR(device.st_mode):
            self.close()
            raise SourceError(
                f"{self._path} is not a character device",
                "recorded samples are for the kind `replay`",
            )
        number = f"{os.major(device.st_rdev)}:{os.minor(device.st_rdev)}"
        known = number == self._number
        self._kernel = number in KERNEL_NUMBERS
        if self._kernel:
            self._await_kernel()
        self._current = self._attribute("rng_current") if known else None
        quality = self._attribute("rng_quality") if known else None
        self._quality = int(quality) if quality is not None and quality.isdecimal() else None
        if known and not self._current and self.config.group is None:
            # It may be the TPM: beside `tpm2` one origin would be credited twice.
            self.close()
            raise SourceAbsent(
                f"{self._sysfs}/rng_current does not say which device is behind {self._path}",
                "make /sys visible to the daemon, or set `group`",
            )
        if self._current == "none":
            self.close()
            raise self._no_device()

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says; a sample is one byte."""
        if self._fd < 0:
            raise SourceError("the hwrng source is not open")
        out = bytearray(samples)
        try:
            self._fill(out, timeout)
            self._check_unchanged()
        except SourceError:
            wipe(out)
            raise
        return out

    def close(self) -> None:
        """Close the device; what was found stays described."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _fill(self, out: bytearray, timeout: float) -> None:
        view = memoryview(out)
        filled = 0
        pause = FIRST_PAUSE
        give_up = self._clock() + timeout
        while filled < len(out):
            count = self._read_some(view[filled : filled + READ_BYTES])
            if count:
                filled += count
                pause = FIRST_PAUSE
            left = give_up - self._clock()
            if filled < len(out) and left <= 0:
                raise SourceError(
                    f"{self._path} gave {filled} of {len(out)} bytes within {timeout:g} s",
                    "raise `deadline` if the device is only slow",
                )
            if not count:
                self._sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _read_some(self, into: memoryview) -> int:
        """How many bytes the device had for `into`: 0 when it has none yet."""
        try:
            # readv leaves no copy in a `bytes` that could not be overwritten.
            count = os.readv(self._fd, [into])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ENXIO}:
                raise self._no_device() from None
            raise SourceError(f"reading {self._path} failed: {error.strerror}") from None
        if not count:
            raise SourceError(f"{self._path} is at its end", "is it a hardware RNG?")
        return count

    def _check_unchanged(self) -> None:
        if self._current is None:
            return
        now = self._attribute("rng_current")
        if now == "none":
            raise self._no_device()
        if now != self._current:
            raise SourceError(
                f"the kernel changed the device behind {self._path} from "
                f"{self._current} to {now or 'an unknown one'}",
                "nothing to do: it is opened again",
            )

    def _await_kernel(self) -> None:
        """Refuse /dev/urandom's bytes of before the generator was initialised."""
        try:
            wipe(read_kernel(1, 0.0, self._clock, self._sleep))
        except SourceError:
            self.close()
            raise

    def _no_device(self) -> SourceAbsent:
        return SourceAbsent(
            f"there is no hardware RNG behind {self._path}",
            f"load its driver, or write a name from {self._sysfs / 'rng_available'} "
            "to rng_current",
        )

    def _attribute(self, name: str) -> str | None:
        try:
            return (self._sysfs / name).read_text(errors="replace").strip()
        except OSError:
            # Older kernels lack rng_quality, containers lack /sys: both read as unknown.
            return None

    def _open_device(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except PermissionError:
            raise SourceAbsent(f"no permission on {path}", _PERMISSION_REMEDY) from None
        except FileNotFoundError:
            raise SourceAbsent(
                f"{path} does not exist", "load its driver, or correct `path`"
            ) from None
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ENXIO}:
                raise self._no_device() from None
            raise SourceError(f"cannot open {path}: {error.strerror}") from None
