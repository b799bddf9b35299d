"""SIGTERM and SIGINT from a process's first moment to its last.

By default the one ends a process on the spot and the other raises KeyboardInterrupt
wherever it is: both leave socket files behind while they are being made.  asyncio's
handlers hold only as long as its loop.  So one handler, installed before the imports that
take time and never taken away, notes the signal.  The start asks `received` before it
makes anything that lasts, and a running loop is woken.

A child's end is its supervisor's to decide, so it ignores both, although Ctrl-C and a
unit's stop reach the whole process group: it is executed with them `blocked`, so that
there is no moment before it gets to `ignore` them.

What this does not cover: the interpreter's own start, before the first line of ours.
Nothing has been made then that could be left behind.
"""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio  # imported without `ssl`, by __main__

#: What ends the daemon.
STOP: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Whether this process was told to stop; knows nothing before `install`."""

    def __init__(self) -> None:
        self.received = False

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in STOP:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's
        self.received = True

    @contextmanager
    def calling(
        self, stop: Callable[[], None], loop: "asyncio.AbstractEventLoop"
    ) -> Generator[None, None, None]:
        """Have the loop call `stop` for a signal: at once for one that has come already."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def woken() -> None:
            # signal.set_wakeup_fd: the numbers of the signals, a byte each.
            if set(os.read(read, 64)) & set(STOP):
                stop()

        # A Python handler runs in between two instructions, and never while the loop
        # waits in the kernel: one that comes right before would be seen a tick later.
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        loop.add_reader(read, woken)
        if self.received:
            stop()
        try:
            yield
        finally:
            loop.remove_reader(read)
            signal.set_wakeup_fd(before)
            os.close(read)
            os.close(write)


@contextmanager
def blocked() -> Generator[None, None, None]:
    """Hold the signals back: a process executed meanwhile begins with that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Have this process and all that it executes ignore the signals, held back ones too."""
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
