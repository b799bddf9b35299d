"""A worker's messages to the supervisor: nobody who sends one waits.

What the channel does not take waits here, in its order, and a thread that lives as long as
something waits sends it on.  So a supervisor that is stuck holds no client up.

What this does not protect against: a sender without bounds.  A connection waits here with
two messages at most, its request for fresh entropy and its end; whoever counts bytes adds
them up while `blocked`.
"""

import contextlib
import socket
import threading
from collections import deque

from hwentropyd.channel import Message


class Outbox:
    """For any thread."""

    def __init__(self, sock: socket.socket) -> None:
        """`sock` is a blocking one."""
        self._sock = sock
        self._lock = threading.Lock()
        self._waiting: deque[bytearray] = deque()

    @property
    def blocked(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def send(self, message: Message) -> None:
        """Send it, in its turn."""
        datagram = message.encode()
        with self._lock:
            waits = bool(self._waiting)
            if not waits and self._sent(datagram, socket.MSG_DONTWAIT):
                return
            self._waiting.append(datagram)
        if not waits:
            threading.Thread(target=self._flush, name="outbox", daemon=True).start()

    def _flush(self) -> None:
        while True:
            self._sent(self._waiting[0], 0)
            with self._lock:
                self._waiting.popleft()
                if not self._waiting:
                    return

    def _sent(self, datagram: bytearray, flags: int) -> bool:
        # A supervisor that is gone is noticed by the main thread's receive.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._sock.send(datagram, flags)
            except BlockingIOError:
                return False
        return True
