"""Pipes that are full, and what is in them."""

import fcntl
import os
import re
from typing import NamedTuple


class Pipe(NamedTuple):
    """A pipe's ends."""

    read: int
    write: int

    def fill(self) -> int:
        """Write until it takes nothing more; returns how many bytes it took."""
        os.set_blocking(self.write, False)
        count = 0
        for size in (4096, 1):  # a page takes no part of a write that does not fit
            try:
                while True:
                    count += os.write(self.write, b"." * size)
            except BlockingIOError:
                continue
        os.set_blocking(self.write, True)
        return count

    def receive(self, count: int) -> bytes:
        """Exactly this many bytes."""
        data = b""
        while len(data) < count:
            data += os.read(self.read, count - len(data))
        return data

    def read_until(self, pattern: str) -> str:
        """What comes until it matches."""
        text = ""
        while not re.search(pattern, text):
            text += os.read(self.read, 65536).decode()
        return text

    def close(self) -> None:
        """Both ends."""
        for fd in self:
            os.close(fd)


def small_pipe() -> Pipe:
    """An empty pipe of one page."""
    pipe = Pipe(*os.pipe())
    fcntl.fcntl(pipe.write, fcntl.F_SETPIPE_SZ, 4096)
    return pipe
