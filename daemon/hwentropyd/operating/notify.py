"""systemd's readiness protocol and socket activation, without a library.

sd_notify(3): one datagram of KEY=VALUE lines to $NOTIFY_SOCKET.
sd_listen_fds(3): descriptors from 3 on, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES.
"""

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST_FD: Final = 3

log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager how we are; does nothing when there is none."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        mine = not watchdog_pid or watchdog_pid == str(os.getpid())
        self.watchdog_seconds = (
            int(watchdog_us) / 1e6 if watchdog_us.isdecimal() and mine else None
        )
        """The watchdog's limit, or None when there is no watchdog."""
        self._next_alive = 0.0
        self._shown = ""

    def show(self, status: str) -> None:
        """Say in one line how we are, where it is not what was said last."""
        if status != self._shown:
            self._shown = status
            self.send(STATUS=status)

    def keep_alive(self, now: float, interval: float) -> None:
        """Feed the watchdog where it is time; to be called every `interval` seconds.

        `now` is in seconds of any clock that does not go back.
        """
        limit = self.watchdog_seconds
        if limit is not None and now >= self._next_alive:
            # Twice as often as asked for: sd_watchdog_enabled(3).
            self._next_alive = now + limit / 2 - interval
            self.send(WATCHDOG="1")

    def send(self, **fields: str) -> None:
        """Send fields such as READY="1", STATUS="…"."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), address)
            except OSError as error:
                # A manager that is busy or restarts hears the next one.
                log.warning("the service manager was not told: %s", error.strerror)


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """The sockets a service manager passed: (name, descriptor), close-on-exec set."""
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    fds = range(_FIRST_FD, _FIRST_FD + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    names += [""] * (len(fds) - len(names))
    return list(zip(names, fds, strict=False))
