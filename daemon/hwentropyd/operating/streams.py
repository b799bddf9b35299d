"""Standard output and standard error that never make a process wait.

A pipe that nobody reads, a stopped terminal or a journal that hangs blocks whoever
writes to it, and all that a process says goes there: log lines, the greeting,
warnings, tracebacks.  So `sys.stdout` and `sys.stderr` each become a bounded queue with
a thread that writes it out and may block (docs/decisions/0011).  Lines that find the
queue full are dropped and counted, and the count is written as soon as the output takes
lines again.

System calls that a confined process needs for it: write, poll, futex.

What this does not protect against: what libc, C libraries and the dying interpreter
write to descriptor 2 themselves.
"""

import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NoReturn, TextIO, cast

#: Bytes that wait in one queue, as many as a pipe holds (pipe(7)): some 600 lines, so
#: the most that 30 places in the code may log in a minute (logs.BURST).
QUEUE_BYTES: Final = 64 * 1024

#: Seconds for the last lines when the daemon was told to stop: what is left of the
#: second that a stop may take when its workers have had theirs (0.85 s).
STOP_SECONDS: Final = 0.1

#: Seconds for the last lines at any other end, where nobody waits for the process.
EXIT_SECONDS: Final = 2.0


class Output(io.TextIOBase):
    """One output as a text stream; any thread may write to it, and none waits."""

    def __init__(self, fd: int, encoding: str, *, held: bool = False) -> None:
        self._fd = fd
        self._encoding = encoding
        self._held = held
        self._changed = threading.Condition()
        self._partial = ""
        """The beginning of a line: queued when the rest of it comes, or on `flush`."""
        self._queue: deque[tuple[bytes, int]] = deque()
        """What is to be written, with the lines that are lost if it cannot be."""
        self._size = 0
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self.notice_prefix = ""
        """What the line that tells of dropped ones begins with."""

    def write(self, text: str, /) -> int:
        """Queue the whole lines of this text; returns its length."""
        with self._changed:
            lines, end, self._partial = (self._partial + text).rpartition("\n")
            if end:
                self._put(lines + end)
            if len(self._partial) > QUEUE_BYTES:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Queue what has no line end yet.  Waits for nothing: `finish` does."""
        with self._changed:
            partial, self._partial = self._partial, ""
            if partial:
                self._put(partial)

    def release(self) -> None:
        """Start to write, where lines were held back."""
        with self._changed:
            self._held = False
            self._start()

    def finish(self, seconds: float) -> bool:
        """Wait until all is written, at most this long; returns whether it is."""
        self.flush()
        self.release()
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, seconds)

    def forget(self) -> None:
        """In a forked child: the thread, and what it has yet to write, are the parent's."""
        self._changed = threading.Condition()
        self._queue.clear()
        self._size = self._dropped = 0
        self._partial = ""
        self._thread = None

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """It is."""
        return True

    def _put(self, text: str) -> None:
        data = text.encode(self._encoding, "backslashreplace")
        if self._size + len(data) > QUEUE_BYTES:
            self._dropped += max(1, data.count(b"\n"))
            return
        self._tell_of_dropped()
        self._append(data, max(1, data.count(b"\n")))
        self._start()

    def _append(self, data: bytes, lines: int) -> None:
        self._queue.append((data, lines))
        self._size += len(data)
        self._changed.notify_all()

    def _tell_of_dropped(self) -> None:
        if self._dropped:
            lost = f"{self._dropped} lines are missing here: they could not be written in time"
            text = f"{self.notice_prefix}{lost}\n"
            self._append(text.encode(self._encoding), self._dropped)
            self._dropped = 0

    def _start(self) -> None:
        if self._thread is None and not self._held and self._queue:
            thread = threading.Thread(target=self._write_for_ever, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # no thread to be had now: tried again with the next line
            self._thread = thread

    def _write_for_ever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                data, lines = self._queue[0]
            written = self._write_out(data)
            with self._changed:
                self._queue.popleft()
                self._size -= len(data)
                if not written:
                    self._dropped += lines
                elif not self._queue:
                    self._tell_of_dropped()
                self._changed.notify_all()

    def _write_out(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # Another program that has it has made it non-blocking.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:
                return False  # no reader, no space, no terminal any more
        return True


_outputs: Final[list[Output]] = []


def install(*, held: bool = False) -> None:
    """Put both in the place of `sys.stdout` and `sys.stderr`.

    `held`: nothing is written before `release`, so that no thread is started before
    the process is confined (Landlock holds for the threads that come after it).
    """
    _open_closed()
    for fd, name in ((1, "stdout"), (2, "stderr")):
        before: TextIO | None = getattr(sys, name)
        output = Output(fd, before.encoding if before else "utf-8", held=held)
        _outputs.append(output)
        setattr(sys, name, cast("TextIO", output))
        os.register_at_fork(after_in_child=output.forget)


def release() -> None:
    """Start to write what was held back."""
    for output in _outputs:
        output.release()


def finish(seconds: float) -> None:
    """Give what is queued this long in all to be written, at a process's end."""
    release()
    deadline = time.monotonic() + seconds
    for output in _outputs:
        output.finish(max(0.0, deadline - time.monotonic()))


def run(main: Callable[[], int]) -> NoReturn:
    """Run `main` as all that this process does, and end it with the code it returns.

    An exception is told as Python does it, with exit code 1.  Ends without joining
    threads: one may be stuck in a device, or in writing its last line.
    """
    try:
        code = main()
    except SystemExit as end:  # argparse's
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - all of them are told
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    finish(EXIT_SECONDS)
    os._exit(code)


def _open_closed() -> None:
    """Lead a closed standard descriptor nowhere.

    Otherwise the next file or socket that is opened gets its number, and log lines are
    written into that.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
