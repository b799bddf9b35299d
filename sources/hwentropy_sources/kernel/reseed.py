"""RDRAND and RDSEED by way of the kernel: the kind `cpu`.

    ask     RNDRESEEDCRNG: the kernel reseeds its generator, into which it mixes
            fresh RDSEED words (RDRAND where RDSEED has none ready)
    read    getrandom(2)
    report  which of the two instructions the kernel uses, and random.trust_cpu

So what is read is the output of the kernel's generator, the same as that of the
kind `os`; both share one independence group and are credited once.  What `cpu`
adds is that the generator was reseeded from the CPU shortly before, and that an
operator sees whether it was.  Without the right to ask, the kernel still
reseeds by itself, once a minute (CRNG_RESEED_INTERVAL in Linux's random.c).

A reseed that was asked for renews the generator's state from the CPU alone, whose words
`cpu.rdseed` takes for half of what they seem.  So it is not credited: the claim is that
of `os`, with the kernel's own interval.

What this does not protect against: a CPU whose instructions lie, which the
kernel hashes together with all else it has; and a kernel that does not do what
it says.  For samples of the instruction itself see `cpu.rdseed`.
"""

import errno
import fcntl
import os
import re
import time
from pathlib import Path
from typing import ClassVar, Final

from hwentropy_sources.contract import (
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)

from .getrandom import KERNEL_CLAIM, KERNEL_GROUP, Clock, Sleep, read_kernel

#: _IO('R', 0x07) of linux/random.h; needs CAP_SYS_ADMIN.
RNDRESEEDCRNG: Final = 0x5207

#: Seconds between two requests to reseed.  One takes 4 us (measured), and makes
#: every CPU and every vDSO user in the machine rekey before its next byte: once
#: a second costs nobody anything and is 60 times as often as the kernel does it.
RESEED_SECONDS: Final = 1.0

INSTRUCTIONS: Final = ("rdrand", "rdseed")

CPUINFO: Final = Path("/proc/cpuinfo")
CMDLINE: Final = Path("/proc/cmdline")
RANDOM_DEVICE: Final = Path("/dev/urandom")


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The instructions of ours that every processor listed in /proc/cpuinfo has.

    The kernel leaves out what it found broken or was told not to use.
    """
    processors = [
        line.partition(":")[2].split()
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() == "flags"
    ]
    if not processors:
        return frozenset()
    return frozenset(INSTRUCTIONS).intersection(*processors)


def trust_cpu(cmdline: str, release: str) -> str:
    """Whether the kernel credits the CPU's words at boot, in words for the operator.

    The last `random.trust_cpu=` on its command line counts.  Without one, it is
    on from Linux 6.2 (which dropped CONFIG_RANDOM_TRUST_CPU), and before that
    was chosen when the kernel was built.
    """
    # The values are those of the kernel's kstrtobool.
    named = re.findall(r"(?:^|\s)random\.trust_cpu=([yYtT1nNfF0]|[oO][nNfF])", cmdline)
    if named:
        last = named[-1].lower()
        return f"{'on' if last in {'y', 't', '1', 'on'} else 'off'} (kernel command line)"
    version = re.match(r"(\d+)\.(\d+)", release)
    if version and (int(version[1]), int(version[2])) >= (6, 2):
        return "on (the kernel's default)"
    return "as the kernel was built (CONFIG_RANDOM_TRUST_CPU)"


class CpuViaKernel(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "cpu"

    def __init__(
        self,
        config: SourceConfig | None = None,
        *,
        cpuinfo: Path = CPUINFO,
        cmdline: Path = CMDLINE,
        device: Path = RANDOM_DEVICE,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.config = config if config is not None else SourceConfig()
        self._cpuinfo = cpuinfo
        self._cmdline = cmdline
        self._device = device
        self._clock = clock
        self._sleep = sleep
        self._fd = -1
        self._facts: dict[str, str] = {}
        self._ask_at: float | None = None

    def describe(self) -> Description:
        """Its facts are those of the last `open` and `read`."""
        facts = {"reads": "getrandom, the output of the kernel's generator", **self._facts}
        return Description(KERNEL_GROUP, KERNEL_CLAIM, facts)

    def open(self) -> None:
        """Find out what the CPU has, and whether the kernel lets us ask for a reseed."""
        self.close()
        try:
            flags = cpu_flags(self._cpuinfo.read_text(errors="replace"))
        except OSError as error:
            raise SourceAbsent(
                f"cannot read {self._cpuinfo}: {error.strerror}",
                "leave /proc/cpuinfo visible to the daemon (no ProcSubset=pid)",
            ) from None
        if not flags:
            raise SourceAbsent(
                "the kernel uses neither RDRAND nor RDSEED on this CPU",
                "use the source `os`; in a virtual machine, pass the host's CPU model through",
            )
        self._facts = {
            "flags": " ".join(sorted(flags)),
            "random.trust_cpu": self._trust_cpu(),
            "reseed": "not asked yet",
        }
        try:
            self._fd = os.open(self._device, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._facts["reseed"] = f"cannot be asked: {self._device}: {error.strerror}"
        else:
            self._ask_at = self._clock()

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says; a sample is one byte."""
        if not self._facts:
            raise SourceError("the cpu source is not open")
        self._reseed()
        return read_kernel(samples, timeout, self._clock, self._sleep)

    def close(self) -> None:
        """Let go of the device that requests to reseed go to."""
        self._ask_at = None
        self._facts = {}
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _trust_cpu(self) -> str:
        try:
            return trust_cpu(self._cmdline.read_text(errors="replace"), os.uname().release)
        except OSError as error:
            return f"unknown: {self._cmdline}: {error.strerror}"

    def _reseed(self) -> None:
        """Ask for a reseed if it is time; a refusal is a fact, not a failure."""
        if self._ask_at is None or self._clock() < self._ask_at:
            return
        try:
            fcntl.ioctl(self._fd, RNDRESEEDCRNG)
        except OSError as error:
            if error.errno == errno.ENODATA:
                # Not initialised yet: read_kernel waits, the next read asks again.
                self._facts["reseed"] = "the kernel's generator is not initialised"
                return
            self._ask_at = None
            not_permitted = error.errno in {errno.EPERM, errno.EACCES}
            why = "needs CAP_SYS_ADMIN" if not_permitted else str(error.strerror)
            self._facts["reseed"] = (
                f"{'not permitted' if not_permitted else 'not possible'} ({why}): "
                "the kernel reseeds by itself once a minute"
            )
        else:
            self._ask_at = self._clock() + RESEED_SECONDS
            self._facts["reseed"] = "asked before reads, at most once a second"
