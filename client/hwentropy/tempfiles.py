"""A temporary file for secrets.

`tempfile` takes its names from a Mersenne Twister, which can be computed from what
it gave before; these names hold 128 bits from the daemon.  The file is created, never
opened (O_EXCL), never through a link (O_NOFOLLOW), readable and writable by its owner
only whatever the umask, closed in programs that are started (O_CLOEXEC), and removed
at the end of `with`, after an exception too.

What this does not do: wipe the blocks on a disk (use a directory on tmpfs), remove
the file after a SIGKILL, or protect it from the same user and from root.
"""

import base64
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from .generator import random_bytes

__all__ = ["secure_temporary_file"]

#: Bytes in a name: nobody occupies one beforehand.
_NAME: Final = 16

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def secure_temporary_file(
    mode: str = "w+b",
    *,
    directory: str | os.PathLike[str] | None = None,
    prefix: str = "",
    suffix: str = "",
    encoding: str | None = None,
) -> Generator[IO[Any]]:
    """A new open file, whose path is `.name`; removed on leaving.

    `mode` is as in `open`, for reading and writing; `directory` defaults to
    `tempfile.gettempdir()`.  A file that was moved away meanwhile is left where it is.
    Raises ValueError for a prefix or suffix with a "/", OSError as `open` does, and
    what `hwentropy.generator.random_bytes` raises.
    """
    if "/" in prefix + suffix:
        raise ValueError("a prefix or suffix is part of a name, not of a path")
    name = base64.b32encode(random_bytes(_NAME)).decode("ascii").rstrip("=").lower()
    folder = os.path.abspath(tempfile.gettempdir() if directory is None else directory)  # noqa: PTH100 - `.name` is a plain string, as in tempfile
    path = os.path.join(folder, f"{prefix}{name}{suffix}")  # noqa: PTH118 - see folder
    created = False

    def create(path: str, _flags: int) -> int:
        nonlocal created
        descriptor = os.open(path, _FLAGS, 0o600)
        created = True
        # The umask may have taken more away.
        os.fchmod(descriptor, 0o600)
        return descriptor

    owner = os.getpid()
    try:
        with open(path, mode, encoding=encoding, opener=create) as file:
            yield file
    finally:
        # A forked child that leaves the block leaves the file to its parent.
        if created and os.getpid() == owner:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - see folder
