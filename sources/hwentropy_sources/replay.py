"""Recorded samples from a file: the kind `replay`.

For tests, and to put the samples that came with a report through the very same
health tests.  A recording is the samples one after another as the contract
lays them out, with no header.  Each `open` starts at its beginning.

What it yields is known to whoever has the file, so it is never credited
(`credited` is False) and never used unless the configuration names it.
"""

from io import FileIO
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from .contract import Claim, Description, Source, SourceAbsent, SourceConfig, SourceError


class ReplayConfig(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys of a `replay` table."""

    path: str
    """The recording."""
    bits_per_sample: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """1 to 8, 16, 32 or 64."""
    whitened: bool = True
    """Whether what was recorded had been conditioned; False for raw noise."""
    loop: bool = False
    """Start again at the end, in place of failing."""


#: H of a recording, as a share of a sample's bits, where `min_entropy` does not
#: say: that of the CPU's instructions and the usual hwrng, which it may come from.
DEFAULT_SHARE: Final = 0.5


class Replay(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "replay"
    Config: ClassVar[type[SourceConfig]] = ReplayConfig
    by_default: ClassVar[bool] = False
    credited: ClassVar[bool] = False

    def __init__(self, config: ReplayConfig) -> None:
        self.config = config
        self._path = Path(config.path)
        self._file: FileIO | None = None
        try:
            self._claim = Claim(
                bits_per_sample=config.bits_per_sample,
                min_entropy=DEFAULT_SHARE * config.bits_per_sample,
                provenance="a recording is worth nothing; H only sets the tests' cut-offs",
                whitened=config.whitened,
                strength=0,
                renewal="nothing",
            )
        except ValueError as error:
            raise SourceError(f"recording {self._path}: {error}") from None

    def describe(self) -> Description:
        """All of it is configuration."""
        facts = {"recording": str(self._path), "loop": "yes" if self.config.loop else "no"}
        return Description(f"replay:{self._path}", self._claim, facts)

    def open(self) -> None:
        """Open the recording and see that it holds whole samples."""
        self.close()
        if self._path.exists() and not self._path.is_file():
            # Opening a FIFO would wait for a writer, for ever.
            raise SourceError(
                f"the recording {self._path} is not a regular file",
                "record samples into a file; a character device is for the kind `hwrng`",
            )
        try:
            self._file = self._path.open("rb", buffering=0)
            size = self._file.seek(0, 2)
            self._file.seek(0)
        except OSError as error:
            self.close()
            raise SourceAbsent(
                f"cannot open the recording {self._path}: {error.strerror}",
                "set `path` to a file that the daemon may read",
            ) from None
        if size == 0 or size % self._claim.sample_bytes:
            self.close()
            raise SourceError(
                f"the recording {self._path} holds {size} bytes, which is no number of "
                f"samples of {self._claim.sample_bytes} bytes",
                "set `bits_per_sample` to that of the recording",
            )

    def read(self, samples: int, timeout: float) -> bytearray:  # noqa: ARG002 - a file does not stall
        """As the contract says; the samples that a failing read took are lost."""
        if self._file is None:
            raise SourceError("the replay source is not open")
        out = bytearray(samples * self._claim.sample_bytes)
        view = memoryview(out)
        filled = 0
        while filled < len(out):
            try:
                count = self._file.readinto(view[filled:])
            except OSError as error:
                raise SourceError(
                    f"cannot read the recording {self._path}: {error.strerror}"
                ) from None
            if count:
                filled += count
            elif self.config.loop and self._file.tell():
                self._file.seek(0)
            else:
                raise SourceError(
                    f"end of recording: {self._path}",
                    "set `loop = true` to start again at the end",
                )
        bits = self._claim.bits_per_sample
        if bits < 8 and max(out, default=0) >> bits:
            raise SourceError(
                f"the recording {self._path} holds a sample of more than {bits} bits",
                "set `bits_per_sample` to that of the recording",
            )
        return out

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
