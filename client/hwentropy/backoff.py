"""Waiting out OVER_QUOTA: how long to pause before asking again, and when to give up.

    backoff = Backoff(deadline)
    while True:
        try:
            return ask()
        except OverQuota:
            if not backoff.wait():
                raise

Pauses double, each drawn out by chance to between half and the whole of its length, so
that many clients which were refused at once do not come back at once.
"""

from time import monotonic_ns, sleep
from typing import Final

#: Seconds of the first pause: fifty round trips, and short beside any wait that a user
#: would notice.
FIRST_PAUSE: Final = 0.01

#: Seconds of the longest: a share counts per second (docs/configuration.md), so a longer
#: one would leave a part of it unused.
LONGEST_PAUSE: Final = 1.0

#: Seconds after which a call without a timeout gives up: a third of what systemd allows a
#: service for its start (DefaultTimeoutStartSec, 90 s), so that a service which draws there
#: ends with this error and not with systemd's.
PATIENCE: Final = 30.0


class Backoff:
    """The pauses of one call, which has to end by `deadline` (monotonic seconds).

    Without one it gives up PATIENCE seconds after its first pause began.
    """

    __slots__ = ("_ends", "_step")

    def __init__(self, deadline: float | None) -> None:
        self._ends = deadline
        self._step = FIRST_PAUSE

    def pause(self) -> float | None:
        """Seconds to wait now; None where they would not end in time."""
        now = monotonic_ns()
        seconds = now / 1e9
        if self._ends is None:
            self._ends = seconds + PATIENCE
        # What the clock shows below a microsecond is chance enough, and no secret.
        pause = self._step * (1 + now % 1000 / 1000) / 2
        self._step = min(2 * self._step, LONGEST_PAUSE)
        return pause if seconds + pause < self._ends else None

    def wait(self) -> bool:
        """Pause; False at once where that would not end in time."""
        pause = self.pause()
        if pause is None:
            return False
        sleep(pause)
        return True
