"""Another boot id: this process goes on under another kernel.

The kernel draws it once a boot.  A process that was saved and restored elsewhere (CRIU, a
container that moved) finds another one.  A copied virtual machine keeps its kernel, and
with it the id: the other signs are for that.

What this does not protect against: what runs before the next look, and a process that is
restored twice under the kernel that it was saved under.
"""

import os
from pathlib import Path

from hwentropy_core.paths import BOOT_ID

from .sign import UnwatchedError


class BootId:
    """The one that was there at first, and whether it still is."""

    def __init__(self, path: Path = BOOT_ID) -> None:
        """Raises OSError."""
        self._path = path
        self._id = self._read()

    @property
    def wakes(self) -> None:
        """The file wakes nobody."""
        return

    def look(self) -> bool:
        """Whether it is another one than at the last look."""
        before, self._id = self._id, self._read()
        return self._id != before

    def close(self) -> None:
        """Nothing is held: a descriptor would be of the old kernel's file."""

    def _read(self) -> bytes:
        # Opened anew each time, as one that is open is restored by its path.
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 64)
        finally:
            os.close(fd)


def watch(path: Path = BOOT_ID) -> BootId:
    """Watch the id.  Raises UnwatchedError."""
    try:
        return BootId(path)
    except OSError as error:
        raise UnwatchedError(f"{path} cannot be read ({error.strerror})") from None
