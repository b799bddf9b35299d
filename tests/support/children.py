"""A child process of the daemon's kinds, started by a test."""

import select

from hwentropyd.child import Child

PATIENCE = 20.0


def until_known(child: Child) -> Child:
    """Wait for the report of its start, which may come after what it says itself."""
    while not child.pid:
        assert select.select([child.report], [], [], PATIENCE)[0]
        child.take_reports()
        assert not child.ended
    return child
