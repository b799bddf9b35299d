"""What a forked child must not share with its parent.

Two processes on one connection would take bytes out of each other's replies.
So a child drops every connection it inherited, without a word to the daemon
(the parent goes on using it), and gets new locks: another thread of the parent
may have held the old ones.

What this does not protect against: a fork that CPython is not told of (a C
extension that calls fork(2) by itself).  The generator notices that by itself, a
`Client` does not.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something with a connection."""

    def after_fork(self) -> None:
        """Called in the child, in its only thread: let go of what the parent uses."""


_live: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def watch(client: Forkable) -> None:
    """Have `client.after_fork` called in every child from now on."""
    _live.add(client)


def _in_child() -> None:
    for client in list(_live):
        client.after_fork()


os.register_at_fork(after_in_child=_in_child)
