"""Whose turn it is: fair between users first, then between one user's connections.

Round robin over users with one turn each, and a user who had nothing to do goes before
those who had their turn: RFC 8290's two lists (4.2), with turns for packets.  So a crowd
of one user is before another user's request with one turn at most.  Pure.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What is ready to be served; for one thread."""

    def __init__(self) -> None:
        self._ready: dict[int, deque[T]] = {}
        self._new: deque[int] = deque()
        self._old: deque[int] = deque()
        """Users who had a turn; one who has nothing more stays for a round, so that who
        comes back at once is not new again."""
        self._count = 0

    def __len__(self) -> int:
        """How many are ready."""
        return self._count

    def add(self, user: int, one: T) -> None:
        """Something of this user's is ready, behind what else it has."""
        self._count += 1
        queue = self._ready.get(user)
        if queue is None:
            self._ready[user] = deque((one,))
            self._new.append(user)
        else:
            queue.append(one)

    def take(self) -> T:
        """The next; IndexError when nothing is ready."""
        while True:
            user = self._new.popleft() if self._new else self._old.popleft()
            queue = self._ready[user]
            if queue:
                self._old.append(user)
                self._count -= 1
                return queue.popleft()
            del self._ready[user]
