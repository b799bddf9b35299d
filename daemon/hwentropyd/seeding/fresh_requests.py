"""Who waits for a reseed from entropy collected after they asked (prediction resistance).

Pure: the clock comes in with the wish, and what the pool holds with the question.
FreshRequests stand in order of time, so that a thousand of them are looked through, and
one of a client that went away is found, in some ten steps.
"""

import asyncio
import bisect
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class FreshRequest:
    """One of them; `since` in monotonic seconds, the future takes the new generation."""

    since: float
    future: asyncio.Future[int]


class FreshRequests:
    """All that wait."""

    def __init__(self) -> None:
        self._waiting: list[FreshRequest] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, since: float, future: asyncio.Future[int]) -> FreshRequest:
        """Take one in; `since` is not before that of any other."""
        wish = FreshRequest(since, future)
        self._waiting.append(wish)
        return wish

    def forget(self, wish: FreshRequest) -> None:
        """Take it out, if it is still there."""
        at = bisect.bisect_left(self._waiting, wish.since, key=lambda one: one.since)
        while at < len(self._waiting) and self._waiting[at].since == wish.since:
            if self._waiting[at] is wish:
                del self._waiting[at]
                return
            at += 1

    def met(self, sufficient: Callable[[float], bool]) -> int:
        """How many a reseed would meet; `sufficient` is asked for moments.

        The later a wish the less was collected after it, so they are the first ones.
        """
        return bisect.bisect_left(self._waiting, 1, key=lambda wish: not sufficient(wish.since))

    def grant(self, count: int, generation: int) -> None:
        """Tell the first so many of the generation that met them."""
        granted, self._waiting = self._waiting[:count], self._waiting[count:]
        for wish in granted:
            if not wish.future.done():
                wish.future.set_result(generation)
