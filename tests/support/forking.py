"""Forks within a script (support/script.py): what a child drew, and whether any two agree.

    drawn = [own(), child(own)]                  `own` returns the bytes that a process drew
    check(drawn)

A child that raises or hangs ends with an error, and its parent with it.
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterable

#: A forked child, by the end of its pipe and its process id.
Started = tuple[int, int]


def begin(work: Callable[[], bytes], fork: Callable[[], int] = os.fork) -> Started:
    """Run `work` in a child that `fork` makes; does not wait for it."""
    reader, writer = os.pipe()
    pid = fork()
    if not pid:
        try:
            signal.alarm(50)
            os.write(writer, work())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    return reader, pid


def result(started: Started) -> bytes:
    """Wait for a child; what its work returned."""
    reader, pid = started
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    assert os.waitpid(pid, 0)[1] == 0, data
    return data


def child(work: Callable[[], bytes], fork: Callable[[], int] = os.fork) -> bytes:
    """What `work` returns in a forked child."""
    return result(begin(work, fork))


def check(drawn: Iterable[bytes]) -> None:
    """No eight bytes twice, whoever drew them, and no eight zeros."""
    pieces = [one[at : at + 8] for one in drawn for at in range(0, len(one), 8)]
    assert len(set(pieces)) == len(pieces)
    assert bytes(8) not in pieces
