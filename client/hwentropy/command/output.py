"""Where `get` writes: standard output, or a file that appears only when complete.

The file is written under a temporary name in its own directory with mode 0600,
flushed to the disk and renamed.  Whoever looks sees the old file or the whole
new one, and nobody but its owner could read it in between.  A file that is there
is replaced, its mode with it; anything that is not a regular file (a device, a
link) is refused rather than replaced by one.

What this does not protect against: SIGKILL leaves the temporary file behind.
"""

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import click

from hwentropy_core.errors import HwentropyError

from .exits import ExitCode


class OutputError(click.ClickException):
    """The output cannot be written, or should not be."""

    exit_code = ExitCode.USAGE


@contextmanager
def open_output(target: str | None) -> Generator[BinaryIO, None, None]:
    """A stream to write to; `None` or `-` is standard output."""
    if target is None or target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    _check(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OutputError(f"cannot create a file in {path.parent}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
            yield stream
            stream.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        # The library's Timeout is a TimeoutError, so an OSError too.
        if isinstance(error, OSError) and not isinstance(error, HwentropyError):
            raise OutputError(f"cannot write {path}: {error.strerror}") from None
        raise


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write every byte, or raise OSError.

    Standard output may be unbuffered (PYTHONUNBUFFERED, `python -u`), and its `write`
    then takes a part and says how much: on a disk that is nearly full, for one.
    """
    left = memoryview(data)
    while left:
        # None from a raw stream that is non-blocking and full; typeshed has no word for it.
        written = cast("int | None", stream.write(left))
        if written is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = left[written:]


def _check(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a directory; name a file, such as {path / 'random.bin'}")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"{path} is not a regular file and would be replaced by one; leave --output "
            f"out and redirect: hwentropy get N > {path}"
        )
