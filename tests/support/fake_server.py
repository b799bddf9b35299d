"""A daemon that behaves as a test tells it to, on both of its sockets.

The native side answers through a handler, by default honestly: the bytes it
hands out are those of a seeded generator and are kept in `handed_out`, so a test
can tell whether the client delivered exactly them.  The control side answers
from a table of prepared replies.
"""

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hwentropy_core.paths import CONTROL_SOCKET, ENTROPY_SOCKET
from hwentropy_core.varlink import INTERFACE, Message, MessageReader, encode
from hwentropy_core.wire import (
    Op,
    Refusal,
    ReplyFlag,
    Request,
    RequestReader,
    Status,
    encode_reply,
)
from support.started import Started

GOOD_INFO: Final[dict[str, object]] = {
    "protocol": [1],
    "version": "9.9",
    "state": "ok",
    "generation": 7,
    "limits": {"max_read": 1 << 20},
}
INFO: Final = json.dumps(GOOD_INFO | {"something": "new"}).encode()


class Hangup(Exception):  # noqa: N818 - a handler's way to end, no error
    """Raised by a handler: close the connection."""


class Peer:
    """One accepted connection, as a handler sees it."""

    def __init__(self, server: "FakeDaemon", sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def reply(self, request: Request, flags: int = 0) -> bytes:
        """An honest reply to a request, not sent yet."""
        if request.op is Op.INFO:
            return encode_reply(Status.OK, request.tag, len(INFO)) + INFO
        payload = self.server.draw(request.length)
        return encode_reply(Status.OK, request.tag, len(payload), flags) + payload


Handler = Callable[[Peer, Request | Refusal], None]


def honest(peer: Peer, request: Request | Refusal) -> None:
    """Do what the protocol says."""
    if isinstance(request, Refusal):
        peer.send(encode_reply(request.status, request.tag))
        if request.closes:
            raise Hangup
    else:
        peer.send(peer.reply(request))


def answer(make: Callable[[Request], bytes], *, hang_up: bool = False) -> Handler:
    """A handler that sends what `make` gives, and may end the connection then."""

    def handler(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(make(request))
        if hang_up:
            raise Hangup

    return handler


class EveryOther:
    """A handler that answers OVER_QUOTA before each reply; the first one is degraded."""

    def __init__(self) -> None:
        self.given = 0
        self._refuses = True

    def __call__(self, peer: Peer, request: Request | Refusal) -> None:
        """Answer one request."""
        assert isinstance(request, Request)
        if self._refuses:
            self._refuses = False
            peer.send(encode_reply(Status.OVER_QUOTA, request.tag))
        else:
            # Raises where the client, refused before, has closed: then it is not counted.
            peer.send(peer.reply(request, 0 if self.given else ReplyFlag.DEGRADED))
            self.given += 1
            self._refuses = True


class FakeDaemon(Started):
    """Serves `entropy.sock` and `control.sock` in a directory from threads.

    `handler` may be replaced at any time, and `at_connect`: what each new native
    connection gets before it is closed (empty: it is served).  `control` maps a method's
    name to its reply: parameters, or the whole message where it has an `error`, or bytes.
    """

    def __init__(self, directory: Path, handler: Handler = honest) -> None:
        self.directory = directory
        self.handler = handler
        self.at_connect = b""
        self.requests: list[tuple[int, Request | Refusal]] = []
        """Every request with the number of its connection."""
        self.control: dict[str, Message | bytes] = {}
        self.calls: list[Message] = []
        self.handed_out = bytearray()
        self.connections = 0
        self._random = random.Random(1)
        self._lock = threading.Lock()
        self._stopping = False
        self._open: set[socket.socket] = set()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def path(self) -> Path:
        """The native socket."""
        return self.directory / ENTROPY_SOCKET

    @property
    def control_path(self) -> Path:
        """The control socket."""
        return self.directory / CONTROL_SOCKET

    def enter(self) -> None:
        """`start`."""
        self.start()

    def close(self) -> None:
        """`stop`: no socket and no thread is left for the tests that come after."""
        self.stop()

    def start(self) -> None:
        """Listen on both sockets."""
        self._stopping = False
        for path, serve in (
            (self.path, self._serve_native),
            (self.control_path, self._serve_control),
        ):
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.bind(str(path))
            listener.listen()
            self._spawn(self._accept, listener, serve)

    def stop(self) -> None:
        """Close every socket, as a daemon that ends does, and wait for the threads."""
        with self._lock:
            self._stopping = True
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # `start` failed before it listened
                listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        # Closed whatever the threads do: a socket that is left is a ResourceWarning in
        # whichever test runs then.
        for listener in self._listeners:
            listener.close()
        stuck = [thread for thread in self._threads if thread.is_alive()]
        self._listeners.clear()
        self._threads.clear()
        assert not stuck, "a thread of the fake daemon does not end"

    def restart(self) -> None:
        """Stop and start again on the same paths."""
        self.stop()
        self.start()

    def hang_up(self) -> None:
        """End every connection."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):  # the client was faster
                    sock.shutdown(socket.SHUT_RDWR)

    def draw(self, size: int) -> bytes:
        """Fresh bytes, remembered."""
        with self._lock:
            data = self._random.randbytes(size)
            self.handed_out += data
            return data

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(
        self, listener: socket.socket, serve: Callable[[socket.socket, int], None]
    ) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopping:
                    # `stop` has hung up already: nobody would end this one.
                    sock.close()
                    return
                self._open.add(sock)
                self.connections += 1
                number = self.connections
            self._spawn(self._run, serve, sock, number)

    def _run(
        self, serve: Callable[[socket.socket, int], None], sock: socket.socket, number: int
    ) -> None:
        try:
            serve(sock, number)
        except (Hangup, OSError):
            pass  # either end hung up: that is how a connection ends
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()

    def _serve_native(self, sock: socket.socket, number: int) -> None:
        if self.at_connect:
            sock.sendall(self.at_connect)
            return
        peer = Peer(self, sock, number)
        reader = RequestReader()
        while data := sock.recv(4096):
            reader.feed(data)
            while (request := reader.next()) is not None:
                self.requests.append((number, request))
                self.handler(peer, request)

    def _serve_control(self, sock: socket.socket, _number: int) -> None:
        reader = MessageReader()
        while data := sock.recv(4096):
            for call in reader.feed(data):
                self.calls.append(call)
                sock.sendall(self._answer(call))

    def _answer(self, call: Message) -> bytes:
        method = str(call["method"]).removeprefix(f"{INTERFACE}.")
        reply = self.control.get(method)
        if reply is None:
            name = "org.varlink.service.MethodNotFound"
            return encode({"error": name, "parameters": {"method": call["method"]}})
        if isinstance(reply, bytes):
            return reply
        return encode(reply if "error" in reply else {"parameters": reply})
