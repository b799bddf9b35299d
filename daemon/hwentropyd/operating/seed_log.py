"""The files of the seed log: appended to, bounded, and true after whatever befell them.

    seeds-000000000000.log   a segment, named after its first record
    seeds.head               the oldest record there is, how many there were, the last hash

A record is there when its line is whole, and the head follows.  What can go wrong
between the two leaves a log that is right: a torn line is cut off before anything is
written after it, and a log that is longer than its head says is a log.  A log that is
shorter, or that does not follow from itself, is left as it is for `hwentropy history
--verify` to find; what comes then goes into a new segment after the head.

Whoever else may write to the directory has no file elsewhere overwritten, and the daemon
neither hang nor fill its memory: links and what is no file are refused, and no more is read
at a time than the longest line.

The oldest segment goes when the rest would exceed the bound.

What this does not protect against: see `hwentropy_core.seed_log`; a machine that loses
power may lose the records that the file system had not yet written, and says so only if
the head was written.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hwentropy_core.seed_log import (
    HEAD_NAME,
    MAX_LINE,
    Chain,
    Head,
    KeptHead,
    SeedLogError,
    append,
    decode_head,
    encode_head,
    segments,
)

#: Segments that the bound is cut into: with each that goes an eighth of the history goes.
SEGMENTS: Final = 8

#: Operators of the group may read it; it holds no secret, and nobody else needs it.
_MODE: Final = 0o640


class SeedLog:
    """One log; for one thread.  Every method may raise OSError, and then nothing was said."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """`max_bytes` bounds all segments together, but for one record."""
        self._directory = directory
        self._segment_bytes = max(max_bytes // SEGMENTS, MAX_LINE)
        self._segments: list[tuple[int, Path]] = []
        self._head_fd = -1
        self._fd = -1
        self._size = 0
        self.head = Head()
        self.mended = ""
        """What `open` found that should not be, or nothing."""

    def open(self) -> None:
        """Find the end, so that the next record follows from it."""
        self._head_fd = _open(self._directory / HEAD_NAME, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._head_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another daemon keeps its log there") from None
        kept = decode_head(os.pread(self._head_fd, MAX_LINE, 0))
        self._segments = segments(self._directory)
        self.mended = self._find_end(kept)
        if self._fd < 0:
            self._start_segment()
        self._write_head()

    def append(self, kind: str, fields: Mapping[str, object]) -> None:
        """Add a record.  After an OSError the log is as it was before."""
        if self._size >= self._segment_bytes:
            self._start_segment()
        line, head = append(self.head, kind, fields)
        try:
            _write_all(self._fd, line)
        except OSError:
            # A part of a line would be taken for a changed one.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        self.head = head
        self._write_head()

    def sync(self) -> None:
        """Have the file system write what was appended."""
        os.fdatasync(self._fd)
        os.fdatasync(self._head_fd)

    def close(self) -> None:
        """Let go of the files; may be called twice."""
        for fd in (self._fd, self._head_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._head_fd = -1

    def _find_end(self, kept: KeptHead | None) -> str:
        """Take over the last segment if it ends well; else say why it does not."""
        self.head = kept.head if kept is not None else Head()
        if not self._segments:
            return "" if self.head == Head() else f"its {self.head.records} records are gone"
        _, path = self._segments[-1]
        fd = _open(path, os.O_RDWR | os.O_APPEND)
        try:
            end, size = _follow(fd)
            whole = end or self.head
            if kept is None:
                self.head = whole
                problem = f"{HEAD_NAME} was missing or not readable"
            elif whole.records < kept.head.records:
                return f"record {whole.records} to {kept.head.records - 1} are gone"
            else:
                problem = ""
            os.ftruncate(fd, size)
        except SeedLogError as error:
            return str(error)
        else:
            self.head, self._size, self._fd, fd = whole, size, fd, -1
            return problem
        finally:
            if fd >= 0:
                os.close(fd)

    def _start_segment(self) -> None:
        path = self._directory / f"seeds-{self.head.records:012d}.log"
        fd = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._segments.append((self.head.records, path))
        while len(self._segments) > SEGMENTS:
            _, oldest = self._segments.pop(0)
            # First: a segment that the head names must be there.
            self._write_head()
            oldest.unlink(missing_ok=True)

    def _write_head(self) -> None:
        first = self._segments[0][0]
        os.pwrite(self._head_fd, encode_head(KeptHead(first, self.head)), 0)


def _open(path: Path, flags: int) -> int:
    """Open a file of ours, with its mode whatever the umask is."""
    # What is no file is not waited for, as a FIFO would be.
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags | safe, _MODE)
    try:
        _check_file(fd, path)
        os.fchmod(fd, _MODE)
    except OSError:
        os.close(fd)
        raise
    return fd


def _check_file(fd: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, f"{path.name} is no file")


def _follow(fd: int) -> tuple[Head | None, int]:
    """The end of a segment and its size, without a torn last line.  Raises SeedLogError."""
    chain, size = Chain(), 0
    with open(fd, "rb", closefd=False) as lines:
        while line := lines.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise SeedLogError(f"a line of more than {MAX_LINE} bytes is no record")
            if not line.endswith(b"\n"):
                break
            chain.follow(line[:-1])
            size += len(line)
    return chain.head, size


def _write_all(fd: int, data: bytes) -> None:
    """As write(2) may write a part of it, when a disk fills up."""
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:])
