"""What a test starts and has to end: a daemon, a TPM, a Node process."""

from types import TracebackType
from typing import Self


class Started:
    """`with` starts it, and closes it at the end, even where the start failed half-way."""

    def enter(self) -> None:
        """Start it, and wait until it can be used."""
        raise NotImplementedError

    def close(self) -> None:
        """End it, whatever state it is in."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.enter()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
