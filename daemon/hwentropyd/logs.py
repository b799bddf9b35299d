"""Log lines on standard error: plain, or with their priority where the journal reads them.

sd-daemon(3): a line that begins with "<4>" is a warning to the journal, so that
`journalctl -p warning` shows the alarms.  $JOURNAL_STREAM (systemd.exec(5)) names
device and inode of the journal's stream, which tells whether stderr is that.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final

#: syslog(3): critical 2, error 3, warning 4, informational 6, debug 7.
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG: Final = 7


class JournalFormatter(logging.Formatter):
    """Every line of a message, a traceback's too, with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        """The text to write."""
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def set_up(level: str = "INFO", environ: Mapping[str, str] = os.environ) -> None:
    """Send this process's log to standard error, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    if _is_journal(environ.get("JOURNAL_STREAM", "")):
        handler.setFormatter(JournalFormatter("%(message)s"))
    logging.basicConfig(level=level.upper(), format="%(message)s", handlers=[handler])


def _is_journal(stream: str) -> bool:
    try:
        info = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return stream == f"{info.st_dev}:{info.st_ino}"
