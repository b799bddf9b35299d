"""What a slow command shows on standard error, if that is a terminal.

Nothing for the first second; then a bar where the total is known, or a spinner.
A thread starts it, since the command may be waiting in a system call.  `rich`
is imported in that thread, so that a quick command never pays for it.
"""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Seconds before anything is shown: below, people do not wonder.
DELAY: Final = 1.0

#: What a command does that has no bytes yet: there is a seed to come, or a long queue.
WAITING: Final = "waiting for the daemon"


class SlowDisplay:
    """A context in which `advance` counts bytes; shows itself when it takes long."""

    def __init__(
        self, what: str, total: int | None = None, *, wanted: bool = True, delay: float = DELAY
    ) -> None:
        """`what` is done; `total` is in bytes; `wanted=False` never shows."""
        self._what = what
        self._total = total
        self._done = 0
        self._ended = False
        self._lock = threading.Lock()
        self._display: tuple[Progress, TaskID] | None = None
        self._timer: threading.Timer | None = None
        if wanted and sys.stderr.isatty():
            self._timer = threading.Timer(delay, self._show)
            self._timer.daemon = True

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._display is not None:
                self._display[0].stop()

    def advance(self, size: int) -> None:
        """Count `size` more bytes."""
        with self._lock:
            self._done += size
            if self._display is not None:
                progress, task = self._display
                progress.update(task, completed=self._done)

    def _show(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - see the module's docstring
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TransferSpeedColumn,
        )

        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
        if self._total is not None:
            columns += [BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn()]
        columns.append(TimeElapsedColumn())
        with self._lock:
            if self._ended:
                return
            progress = Progress(*columns, console=Console(stderr=True), transient=True)
            task = progress.add_task(self._what, total=self._total, completed=self._done)
            progress.start()
            self._display = progress, task
