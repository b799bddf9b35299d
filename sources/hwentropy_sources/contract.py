"""The contract between a noise source and the daemon.

A source says what it is, opens, yields samples, and closes.  The daemon calls
it from one thread of its own (its *sampler*, or that of a *collector*, the process in
which it runs other people's code), tests every sample, and decides what it is worth;
a source decides nothing about itself.

A source never

* retries for ever: `read` returns or raises within its timeout as far as the
  operating system lets it (the sampler watches the rest),
* fakes, stretches, stores or repeats bytes: what it cannot get it does not give,
* logs, prints or puts into an exception any byte it read,
* reads a byte in `open` that it later returns from `read`.

"Not here" is `SourceAbsent` with the reason and the remedy; everything else
that goes wrong is `SourceError`.  After either, or after a read that took too
long, the sampler calls `close`, waits a growing pause, and calls `open` again.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, ClassVar, Final

import msgspec

from hwentropy_core.attestation import Attestation
from hwentropy_core.errors import HwentropyError

#: Samples of the startup and on-demand health tests, SP 800-90B 4.3 item 4.
STARTUP_SAMPLES: Final = 1024


#: Least H of a sample that a configuration can claim: from here on the repetition count test at
#: 2^-30 (cut-off 1 + ceil(30 / H) = 961) can raise an alarm within the startup test.
LEAST_MIN_ENTROPY: Final = 1 / 32


class SourceError(HwentropyError):
    """A source could not do what was asked; `remedy` says what the operator can do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class SourceAbsent(SourceError):  # noqa: N818  (the state it leads to is `absent`)
    """What the source reads is not on this machine, or not for this user."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the designer of a source claims of one sample.

    A sample of up to 8 bits is one byte (its unused high bits zero); a wider
    one is `bits_per_sample / 8` bytes, little-endian.
    """

    bits_per_sample: int
    """1 to 8, 16, 32 or 64."""
    min_entropy: float
    """H, bits of min-entropy per sample: above 0, at most `bits_per_sample`."""
    provenance: str
    """One sentence: where the figure for H comes from."""
    whitened: bool = True
    """Conditioned before we see it, so that it looks uniform whatever its entropy is: the
    tests catch only gross failures, and a block of 128 bits that comes again is one."""
    strength: int | None = None
    """Bits that the state of the DRBG behind the source holds, which is all that can come
    of it until that state is renewed; None: a live noise source, with no DRBG behind it."""
    renewal: str = ""
    """What renews that state, in one phrase."""
    renewal_seconds: float | None = None
    """Seconds after which it has been renewed; None: not known."""
    lag: bool = False
    """Run the lag test over its samples, of one byte each: for a raw source whose samples
    may depend on those before them."""

    def __post_init__(self) -> None:
        if self.bits_per_sample not in (*range(1, 9), 16, 32, 64):
            raise ValueError(f"bits_per_sample is {self.bits_per_sample}: 1 to 8, 16, 32 or 64")
        if not 0 < self.min_entropy <= self.bits_per_sample:
            raise ValueError(
                f"min_entropy is {self.min_entropy}: above 0, at most {self.bits_per_sample}"
            )
        if self.strength is not None and self.strength < 0:
            raise ValueError(f"strength is {self.strength}: 0 or more bits, None where live")
        if self.renewal_seconds is not None and not self.renewal_seconds > 0:
            raise ValueError(f"renewal_seconds is {self.renewal_seconds}: above 0")
        if self.lag and self.bits_per_sample > 8:
            raise ValueError(f"bits_per_sample is {self.bits_per_sample}: lag takes 8 at most")

    @property
    def sample_bytes(self) -> int:
        """Bytes that one sample takes."""
        return -(-self.bits_per_sample // 8)

    @property
    def live(self) -> bool:
        """Whether every sample has noise of its own, and is not of a DRBG's state."""
        return self.strength is None


@dataclass(frozen=True, slots=True)
class Description:
    """What a source says of itself, as far as it knows at this moment."""

    group: str
    """Independence group: sources of one origin share it and are credited once."""
    claim: Claim
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What an operator wants to see: device, vendor, "software TPM", CPU flags."""


class SourceConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys every `[sources.<name>]` table has; a kind adds its own.

    `None` means: what the source itself says.
    """

    kind: str = ""
    enabled: bool = True
    credit: bool = True
    """False: mixed in, never credited."""
    group: str | None = None
    min_entropy: Annotated[float, msgspec.Meta(ge=LEAST_MIN_ENTROPY, le=64)] | None = None
    """Claimed bits per sample in place of the kind's own figure."""
    deadline: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 5.0
    """Seconds one read of a few dozen samples may take before it is taken for hung.
    Ten times the longest stall seen of a virtio-rng device (0.5 s)."""


class Source(ABC):
    """One noise source.  All methods are called from one thread at a time."""

    kind: ClassVar[str]
    """The name of the kind, as in `kind = "..."`."""
    Config: ClassVar[type[SourceConfig]] = SourceConfig
    """The keys of its table."""
    by_default: ClassVar[bool] = True
    """Whether it is used when the configuration does not name it."""
    credited: ClassVar[bool] = True
    """False where what it yields is never credited (recorded samples)."""
    ends_late_calls: ClassVar[bool] = False
    """Whether it ends a call that takes too long by itself, whatever hangs in it.  Only
    what runs in another process can."""

    @abstractmethod
    def __init__(self, config: SourceConfig) -> None:
        """Take the table; `config` is an instance of this class's `Config`.

        Touches no device.  Raises SourceError when the keys cannot go together.
        """

    @abstractmethod
    def describe(self) -> Description:
        """What it is.  Complete after `open`; before, what is known without the device."""

    @abstractmethod
    def open(self) -> None:
        """Get ready to read.  Raises SourceAbsent or SourceError."""

    @abstractmethod
    def read(self, samples: int, timeout: float) -> bytes | bytearray:
        """Exactly this many fresh samples, `samples * sample_bytes` bytes.

        `timeout` is in seconds.  Raises SourceError (SourceAbsent when the
        device has gone); never returns less or more than asked.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of everything.  Never raises; may be called twice or before `open`."""

    def attest(self, statement: bytes) -> Attestation | None:  # noqa: ARG002  (a hook)
        """Have the device of an open source sign a statement; None where it cannot sign.

        Raises SourceError, after which samples come as before.
        """
        return None
