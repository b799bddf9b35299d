"""Log lines on standard error: plain; with the time of day on a terminal, with their
priority where the journal reads them, which has the time itself.

sd-daemon(3): a line that begins with "<4>" is a warning to the journal, so that
`journalctl -p warning` shows the alarms.  $JOURNAL_STREAM (systemd.exec(5)) names
device and inode of the journal's stream, which tells whether stderr is that.

A peer can bring about some of the lines, and a log that is full of them has no
room for the others.  So of one kind of line only BURST are written in PERIOD.
That no line is waited for is `streams`' part.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from .streams import Output

#: Lines of one kind in PERIOD seconds, after which the rest of it are counted only.
#: Twenty: a fault that hits a few sources and workers at once is shown whole.  At
#: this rate a kind fills 5 MB of journal a day, of the 4 GB that it keeps as a rule
#: (journald.conf(5), SystemMaxUse=).
BURST: Final = 20
PERIOD: Final = 60.0

#: syslog(3): critical 2, error 3, warning 4, informational 6, debug 7.
_WARNING: Final = 4
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, _WARNING),
    (logging.INFO, 6),
)
_DEBUG: Final = 7


class JournalFormatter(logging.Formatter):
    """Every line of a message, a traceback's too, with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        """The text to write."""
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


class Sparing(logging.Filter):
    """Lets BURST records of a kind through in PERIOD; a kind is a place in the code.

    The last one says that the rest is left out, the next one how many were.  Debug
    records all pass: whoever asks for them wants them all.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._kinds: dict[tuple[str, int], tuple[float, int]] = {}
        """By file and line: when its period began, and its records since then."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if record.levelno < logging.INFO:
            return True
        kind = (record.pathname, record.lineno)
        now = self._monotonic()
        began, count = self._kinds.get(kind, (now, 0))
        if now - began >= PERIOD:
            if count > BURST:
                record.msg = f"{record.msg} ({count - BURST} more were left out before)"
            began, count = now, 0
        count += 1
        self._kinds[kind] = (began, count)
        if count == BURST:
            record.msg = f"{record.msg} (more of these are left out for {PERIOD:.0f} s)"
        return count <= BURST


def set_up(level: str = "INFO", environ: Mapping[str, str] = os.environ) -> None:
    """Send this process's log to standard error, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Sparing())
    if _is_journal(environ.get("JOURNAL_STREAM", "")):
        handler.setFormatter(JournalFormatter("%(message)s"))
        if isinstance(sys.stderr, Output):
            sys.stderr.notice_prefix = f"<{_WARNING}>"
    elif _is_terminal():
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), format="%(message)s", handlers=[handler])


def _is_terminal() -> bool:
    try:
        return os.isatty(sys.stderr.fileno())
    except (OSError, ValueError):
        return False


def _is_journal(stream: str) -> bool:
    try:
        info = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return stream == f"{info.st_dev}:{info.st_ino}"
