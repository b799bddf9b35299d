"""When a worker is started again, and why none could be.

Pure.  A worker that served for a while is replaced at once.  One that died young, or could
not even be started, is tried again after a pause: what keeps it from that seldom goes by
itself, and each try takes some ten milliseconds of a core.
"""

from typing import Final

#: Pause before a worker is replaced that died within LIVED_SECONDS of its start.
RESPAWN_SECONDS: Final = 0.5
LIVED_SECONDS: Final = 1.0

#: Where one could not even be started the pause doubles, up to this.
LONGEST_RESPAWN_SECONDS: Final = 8.0


class Starts:
    """The starts of so many workers; gives pauses in seconds."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._failures = 0
        """Since all workers were there."""
        self.failure = ""
        """Why the last start failed; empty once all workers are there."""

    @staticmethod
    def died(lived: float) -> float:
        """The pause before one is replaced that was ready, and lived so many seconds."""
        return RESPAWN_SECONDS if lived < LIVED_SECONDS else 0.0

    def failed(self, reason: str) -> tuple[float, bool]:
        """The pause after a start that failed; and whether its reason is a new one."""
        new = reason != self.failure
        self.failure = reason
        # Each of the workers that are wanted may fail as often before it grows.
        doublings = min(self._failures // self._wanted, 8)
        self._failures += 1
        return min(RESPAWN_SECONDS * 2.0**doublings, LONGEST_RESPAWN_SECONDS), new

    def all_there(self) -> bool:
        """All workers are ready: whether that is news."""
        news = self._failures > 0
        self._failures, self.failure = 0, ""
        return news
