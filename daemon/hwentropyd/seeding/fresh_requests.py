"""Who waits for a reseed from entropy collected after they asked (prediction resistance).

Pure: the clock comes in with the request, and what the pool holds with the question.
Requests stand in order of time, so that of a thousand some ten are looked at.
"""

import bisect
from collections.abc import Callable, Hashable
from itertools import islice


class FreshRequests:
    """All that wait, by who asked."""

    def __init__(self) -> None:
        self._since: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    @property
    def oldest(self) -> float | None:
        """When the first one that waits was made, if one does."""
        return next(iter(self._since.values()), None)

    def add(self, who: Hashable, now: float) -> None:
        """Take one in; `now` is not before that of any other.

        Who waits already goes on waiting as before.
        """
        self._since.setdefault(who, now)

    def forget(self, who: Hashable) -> None:
        """Take it out, if it is still there."""
        self._since.pop(who, None)

    def met(self, sufficient: Callable[[float], bool]) -> int:
        """How many a reseed would meet; `sufficient` is asked for moments.

        The later a request the less was collected after it, so they are the first ones.
        """
        return bisect.bisect_left(
            list(self._since.values()), 1, key=lambda since: not sufficient(since)
        )

    def take(self, count: int) -> list[Hashable]:
        """Take the first so many out."""
        taken = list(islice(self._since, count))
        for who in taken:
            del self._since[who]
        return taken

    def take_until(self, moment: float) -> list[Hashable]:
        """Take those out that were made at `moment` or before."""
        return self.take(bisect.bisect_right(list(self._since.values()), moment))
