"""A sign of a copy, as `clones` sees it: somewhere to look, and perhaps to wait."""

from typing import Protocol

from hwentropy_core.errors import HwentropyError


class UnwatchedError(HwentropyError):
    """A sign that cannot come here, or not be seen, and why."""


class ForbiddenError(UnwatchedError):
    """One that would come, and be seen with more rights."""


class Watcher(Protocol):
    """One place where a sign may come."""

    @property
    def wakes(self) -> int | None:
        """A descriptor that is readable when it is worth to look; None: look now and then."""
        ...

    def look(self) -> bool:
        """Whether it has come since the last look, waiting for nothing.  Raises OSError."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...
