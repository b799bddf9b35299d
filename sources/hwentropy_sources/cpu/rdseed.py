"""RDSEED and RDRAND, the instructions themselves: the kinds `rdseed` and `rdrand`.

Read in this process through the small C extension `_cpurand`, without the
kernel, so the two have an independence group of their own.  One kind never
falls back to the other: an `rdseed` that runs dry is an error.  `rdrand` is off
by default, since it is the output of a generator that RDSEED's noise feeds
(Intel: reseeded at least every 511 samples of 128 bits).

What this does not protect against: a CPU made to lie.  What comes is
conditioned in silicon, so the health tests catch only gross failures.  They do
catch the known ones, all of them words that repeat: AMD CPUs whose RDRAND gives
all ones with "success" after a resume, and AMD's Zen 5, whose RDSEED gives 0
with "success" (AMD-SB-7055).  Where the kernel has switched an instruction off
for such a reason, this source is absent.
"""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Final

from hwentropy_sources.contract import (
    Claim,
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)
from hwentropy_sources.extension import load_extension
from hwentropy_sources.kernel.reseed import CPUINFO, cpu_flags

#: Samples of one origin, whichever of the two instructions draws them.
INSTRUCTION_GROUP: Final = "cpu-instruction"

#: 4 of 8 bits: half of the full entropy that Intel and AMD state for RDSEED.
#: Nobody outside can measure it: what the instruction gives is conditioned.
RDSEED_CLAIM: Final = Claim(
    bits_per_sample=8,
    min_entropy=4.0,
    provenance="half of the full entropy that the CPU vendors state for RDSEED; "
    "no independent measurement",
)

#: The vendors state no entropy of RDRAND, only that it is a DRBG seeded by the noise that
#: RDSEED gives: half a bit for a bit, as there.  Intel's is CTR_DRBG with AES-128, of 128
#: bits of security although its seed has 256 (Digital Random Number Generator Software
#: Implementation Guide); AMD does not say, and is taken for the same.
RDRAND_CLAIM: Final = Claim(
    bits_per_sample=8,
    min_entropy=4.0,
    provenance="half, by policy, as for RDSEED whose noise seeds this DRBG; "
    "no independent measurement",
    strength=128,
    renewal="not known in seconds: Intel reseeds it after at most 511 samples of 128 bits",
)


def load_cpurand() -> ModuleType:
    """The C extension; raises SourceAbsent when it was not built or does not load."""
    return load_extension("hwentropy_sources.cpu._cpurand")


class CpuInstruction(Source):
    """What the two kinds share; `kind` is the name of the instruction."""

    claim: ClassVar[Claim]

    def __init__(
        self,
        config: SourceConfig | None = None,
        *,
        cpuinfo: Path = CPUINFO,
        load: Callable[[], ModuleType] = load_cpurand,
    ) -> None:
        self.config = config if config is not None else SourceConfig()
        self._cpuinfo = cpuinfo
        self._load = load
        self._kernel = ""
        self._fill: Callable[[bytearray], None] | None = None

    def describe(self) -> Description:
        """The kernel's view of the instruction is known after `open`."""
        facts = {"instruction": self.kind.upper()}
        if self._kernel:
            facts["kernel"] = self._kernel
        return Description(INSTRUCTION_GROUP, self.claim, facts)

    def open(self) -> None:
        """Load the extension, and ask both CPUID and the kernel about the instruction."""
        self.close()
        name = self.kind.upper()
        extension = self._load()
        if not getattr(extension, f"HAS_{name}"):
            raise SourceAbsent(
                f"this CPU has no {name} instruction",
                "in a virtual machine, pass the host's CPU model through",
            )
        try:
            flags = cpu_flags(self._cpuinfo.read_text(errors="replace"))
        except OSError as error:
            # CPUID has said yes and the health tests judge what comes.
            self._kernel = f"unknown: {self._cpuinfo}: {error.strerror}"
        else:
            if self.kind not in flags:
                raise SourceAbsent(
                    f"the kernel does not use {name} on this CPU although CPUID offers it",
                    "see the kernel's log; a microcode update may repair the CPU",
                )
            self._kernel = f"uses {name} too"
        self._fill = self._filler(extension)

    def read(self, samples: int, timeout: float) -> bytearray:  # noqa: ARG002 - bounded by retries
        """As the contract says; a sample is one byte, the first byte of a word first.

        Bounded by the retries in place of `timeout`: 0.1 ms a word of 8 samples.
        """
        if self._fill is None:
            raise SourceError(f"the {self.kind} source is not open")
        out = bytearray(samples)
        try:
            self._fill(out)
        except OSError as error:
            raise SourceError(
                str(error), "it is exhausted by other users of this CPU, or the CPU is broken"
            ) from None
        return out

    def close(self) -> None:
        """Nothing is held but a function."""
        self._fill = None
        self._kernel = ""

    @abstractmethod
    def _filler(self, extension: ModuleType) -> Callable[[bytearray], None]:
        """The extension's function for this instruction and no other."""


class Rdseed(CpuInstruction):
    """The conditioned noise itself, with up to 1,000 tries a word."""

    kind: ClassVar[str] = "rdseed"
    claim: ClassVar[Claim] = RDSEED_CLAIM

    def _filler(self, extension: ModuleType) -> Callable[[bytearray], None]:
        fill: Callable[[bytearray], None] = extension.rdseed
        return fill


class Rdrand(CpuInstruction):
    """The CPU's generator, with up to 10 tries a word."""

    kind: ClassVar[str] = "rdrand"
    claim: ClassVar[Claim] = RDRAND_CLAIM
    by_default: ClassVar[bool] = False

    def _filler(self, extension: ModuleType) -> Callable[[bytearray], None]:
        fill: Callable[[bytearray], None] = extension.rdrand
        return fill
