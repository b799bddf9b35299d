"""The signs that this machine runs from a memory that another one runs from too.

    watch = CloneWatch()              # opens all it can: before privileges are given up
    watch.start(loop, noticed)        # `noticed(sign)` for each sign, from the loop
    watch.signs                       # by sign: "watched", or why it is not

Whatever cannot be watched is said, and the others are; none of them comes before the copy
runs.  docs/drbg.md says how long after, and what may be repeated until then.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from . import acpi, boot_id, clock, kernel_log, uevents
from .sign import ForbiddenError, UnwatchedError, Watcher

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

#: Seconds between two looks at all of them: how long a copy that only such a sign tells of
#: as wakes nobody gives bytes after it.  A look takes 14 us (8 of them to read the boot id),
#: and with the wake-up of an idle loop some 0.4 ms: ten a second took the daemon past the
#: 0.5 % of a core that it may take when nobody asks, two take 0.1 %.
LOOK_SECONDS: Final = 0.5

WATCHED: Final = "watched"

#: How to watch each of them.
SIGNS: Final[Mapping[str, Callable[[], Watcher]]] = {
    "kernel log": kernel_log.watch,
    "ACPI event": acpi.watch,
    "uevent": uevents.watch,
    "boot id": boot_id.watch,
    "clock": clock.watch,
}


class CloneWatch:
    """All of them; for the event loop's thread."""

    def __init__(
        self,
        kernel_log_fd: int | None = None,
        signs: Mapping[str, Callable[[], Watcher]] = SIGNS,
    ) -> None:
        """`kernel_log_fd` is an open /dev/kmsg that the service manager passed."""
        self.signs: dict[str, str] = {}
        """What is watched, or why it is not, by sign."""
        self._noticed: Callable[[str], None] = lambda _: None
        self._watchers: dict[str, Watcher] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_look: asyncio.TimerHandle | None = None
        for sign, watch in signs.items():
            if sign == "kernel log" and kernel_log_fd is not None:
                self._open(sign, partial(_inherited, kernel_log_fd))
            else:
                self._open(sign, watch)

    def start(self, loop: "asyncio.AbstractEventLoop", noticed: Callable[[str], None]) -> None:
        """Tell of each sign from now on."""
        self._loop = loop
        self._noticed = noticed
        for sign, watcher in list(self._watchers.items()):
            if watcher.wakes is not None:
                try:
                    loop.add_reader(watcher.wakes, self._look, sign)
                except OSError as error:  # a file that nobody can wait for
                    self._give_up(sign, error)
        self._look_again()

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._next_look is not None:
            self._next_look.cancel()
        for sign in list(self._watchers):
            self._end(sign)

    def _open(self, sign: str, watch: Callable[[], Watcher]) -> None:
        try:
            self._watchers[sign] = watch()
            self.signs[sign] = WATCHED
        except UnwatchedError as error:
            self.signs[sign] = str(error)
            # Whether a sign can come at all is the machine's nature, and shown in the status.
            level = logging.INFO if isinstance(error, ForbiddenError) else logging.DEBUG
            words = "the sign of a copied machine `%s` is not watched: %s"
            log.log(level, words, sign, error)

    def _look_again(self) -> None:
        for sign in list(self._watchers):
            self._look(sign)
        if self._loop is not None:
            self._next_look = self._loop.call_later(LOOK_SECONDS, self._look_again)

    def _look(self, sign: str) -> None:
        try:
            found = self._watchers[sign].look()
        except (OSError, ValueError) as error:
            self._give_up(sign, error)
            return
        if found:
            self._noticed(sign)

    def _give_up(self, sign: str, error: OSError | ValueError) -> None:
        why = error.strerror if isinstance(error, OSError) else "it is not understood"
        self.signs[sign] = f"it cannot be watched any more ({why})"
        log.warning("the %s: %s; restart hwentropyd to try again", sign, self.signs[sign])
        self._end(sign)

    def _end(self, sign: str) -> None:
        watcher = self._watchers.pop(sign)
        if self._loop is not None and watcher.wakes is not None:
            self._loop.remove_reader(watcher.wakes)
        watcher.close()


def _inherited(fd: int) -> Watcher:
    try:
        return kernel_log.KernelLog(fd)
    except OSError as error:
        os.close(fd)
        raise UnwatchedError(f"what was passed for it is no log ({error.strerror})") from None
