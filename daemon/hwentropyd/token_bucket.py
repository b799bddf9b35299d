"""A rate as a bucket of tokens: what comes at most so many a second, with bursts of a second.

Pure: the clock comes in.  What is larger than the bucket is let through when that is
full, and what it takes beyond is owed: so it is served too, and the rate holds over any
longer time.
"""

from typing import Final

#: Seconds of its rate that a bucket holds: clients that all wake at once, as on a
#: reseed, are served at once, and no burst lasts longer than it takes to notice it.
BURST_SECONDS: Final = 1.0


class TokenBucket:
    """One rate."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        """`rate` in tokens a second, above 0; `now` in seconds, of a clock that only grows."""
        self.rate = rate
        self._level = rate * BURST_SECONDS
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take so many tokens; False, and nothing is taken, when there are not as many."""
        size = self.rate * BURST_SECONDS
        passed = max(0.0, now - self._at)
        self._at = now
        self._level = min(size, self._level + passed * self.rate)
        if self._level < min(amount, size):
            return False
        self._level -= amount
        return True
