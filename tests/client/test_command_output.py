"""What the command writes arrives whole, or it says that it did not."""

import errno
import io
import os
from collections.abc import Callable
from typing import cast

import pytest

from hwentropy.command.output import write_all


class Slow(io.RawIOBase):
    """A raw stream, as standard output is under `python -u`: it takes what it likes."""

    def __init__(self, takes: Callable[[int], int | None]) -> None:
        self.takes = takes
        self.got = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object, /) -> int | None:
        """A part."""
        with memoryview(cast("bytes", data)) as view:
            taken = self.takes(len(view))
            self.got += view[: taken or 0]
        return taken


def test_a_stream_that_takes_parts_gets_everything() -> None:
    """An unbuffered standard output on a disk that is nearly full, or a signal in between."""
    data = bytes(range(256)) * 40
    stream = Slow(lambda size: min(size, 4096))
    write_all(cast("io.BufferedWriter", stream), memoryview(data))
    assert stream.got == data


def test_a_full_disk_is_not_passed_over() -> None:
    """The part that fitted is no success."""
    left = [4096]

    def takes(_: int) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return left.pop()

    with pytest.raises(OSError, match="No space left"):
        write_all(cast("io.BufferedWriter", Slow(takes)), bytes(5000))


def test_a_non_blocking_output_that_is_full_is_an_error() -> None:
    """And not a loop that never ends."""
    with pytest.raises(BlockingIOError):
        write_all(cast("io.BufferedWriter", Slow(lambda _: None)), bytes(10))
