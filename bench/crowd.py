"""A crowd: many connections of one user that all want something, for `make bench`.

    python crowd.py KIND SOCKET CONNECTIONS SECONDS UID

    idle      connected and silent
    unread    asks for all it can and never reads
    pipeline  32 B, LEASE and INFO without end
    small     32 B without end
    greedy    1 MiB without end
    stream    reads without end
    fresh     32 B with prediction resistance without end

Becomes UID if it can, connects, begins, prints how many were let in, and ends by itself.
One process in Python: what it asks for is bounded by what it reads.
"""

import os
import resource
import select
import socket
import struct
import sys
import time
from typing import Final

HEADER: Final = struct.Struct(">BBHI")
READ, INFO, LEASE = 1, 2, 3
PREDICTION_RESISTANCE: Final = 2
OVER_QUOTA: Final = 4

SMALL: Final = HEADER.pack(READ, 0, 1, 32)
LARGE: Final = HEADER.pack(READ, 0, 1, 1 << 20)
#: Sent whenever there is room: up to 64 requests, of which the last may be cut.
REQUESTS: Final = {
    "unread": LARGE * 512,
    "pipeline": (SMALL + HEADER.pack(LEASE, 0, 2, 0) + HEADER.pack(INFO, 0, 3, 0)) * 21,
    "small": SMALL * 64,
    "greedy": LARGE * 4,
    "fresh": HEADER.pack(READ, PREDICTION_RESISTANCE, 1, 32) * 64,
}
READS: Final = ("pipeline", "small", "greedy", "stream", "fresh")
KINDS: Final = ("idle", "unread", *READS)

#: Seconds for refusals to arrive before they are counted.
SETTLE: Final = 0.5


class Crowd:
    """All of its connections."""

    def __init__(self, kind: str, path: str, count: int) -> None:
        self._request = REQUESTS.get(kind, b"")
        self._reads = kind in READS
        self._poll = select.epoll()
        self._clients: dict[int, socket.socket] = {}
        self._buffer = bytearray(1 << 20)
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            client.setblocking(False)
            self._clients[client.fileno()] = client
        time.sleep(SETTLE)
        for client in list(self._clients.values()):
            if self._refused(client):
                self._drop(client)

    def __len__(self) -> int:
        """How many connections it has."""
        return len(self._clients)

    def begin(self) -> None:
        """Ask; what does not read has asked for all that it will."""
        for client in list(self._clients.values()):
            events = select.EPOLLIN if self._reads else 0
            if self._request:
                self._act(client, select.EPOLLOUT)
                events |= select.EPOLLOUT if self._reads else 0
            if client.fileno() >= 0:
                self._poll.register(client, events)

    def go_on(self, deadline: float) -> None:
        """Read and ask until then."""
        while self._clients and time.monotonic() < deadline:
            for fd, event in self._poll.poll(0.1, 256):
                if fd in self._clients:
                    self._act(self._clients[fd], event)

    def close(self) -> None:
        """Let go of all of them."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._poll.close()

    def _act(self, client: socket.socket, event: int) -> None:
        try:
            if event & select.EPOLLIN and not client.recv_into(self._buffer):
                raise ConnectionError
            if event & select.EPOLLOUT:
                client.send(self._request)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client.fileno()]
        client.close()

    @staticmethod
    def _refused(client: socket.socket) -> bool:
        """Whether an unsolicited reply or the end came; a stream's bytes are neither."""
        try:
            first = client.recv(HEADER.size, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return first in {b"", HEADER.pack(OVER_QUOTA, 0, 0, 0)}


def main(kind: str, path: str, count: int, seconds: float, uid: int) -> None:
    """Be that crowd."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 64), hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    crowd = Crowd(kind, path, count)
    crowd.begin()
    print(len(crowd), flush=True)
    crowd.go_on(time.monotonic() + seconds)


if __name__ == "__main__":
    name, where, many, long, who = sys.argv[1:]
    main(name, where, int(many), float(long), int(who))
