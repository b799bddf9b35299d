"""A Node.js process that runs what a test tells it, and a daemon that gives it leases.

`needs_node` skips a test module where there is no Node.js to run.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwentropy_core.wire import (
    Lease,
    Op,
    ReplyFlag,
    Request,
    Status,
    encode_lease,
    encode_reply,
)
from support.fake_server import GOOD_INFO, Handler, Hangup, Peer, honest
from support.needed import needs
from support.started import Started

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "client" / "node"
DRIVER = ROOT / "tests" / "support" / "node_driver.mjs"
NODE = shutil.which("node") or ""

#: Seconds for what takes a fraction of one on an idle machine.
PATIENCE = 60

#: Of client/node/lib/shared.js: for so many milliseconds a reseed may go unnoticed.
MAX_AGE = 50

#: Both ways of asking: one that blocks the thread and one that does not.
WAYS = ("sync", "async")

#: Draws until a draw began MAX_AGE ms after the start: it must have been checked.
OUTWAIT = f"""
    const start = performance.now();
    let began, drawn;
    do {{ began = performance.now(); drawn = h.randomBytes(32); }}
    while (began - start <= {MAX_AGE + 1});
    return drawn;
"""

Make = Callable[[Request], bytes]


def why_not() -> str:
    """Why these tests cannot run here; empty when they can."""
    if not NODE:
        return "node is not installed"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.removeprefix("v").partition(".")[0])
    return "" if major >= 18 else f"node {version.stdout.strip()} is older than 18"


needs_node = needs(why_not())


class NodeError(Exception):
    """What the code in Node threw."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.name: str = error["name"]
        self.code: str = error["code"]
        self.ours: bool = error["ours"]


class Node(Started):
    """A Node process with the package loaded as `h`; `with` configures and ends it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen(
            [NODE, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, js: str) -> Any:
        """Run the body of an async function; bytes come back as hexadecimal.

        `shared` is an object that stays from one call to the next.
        """
        self.begin(js)
        return self.result()

    def begin(self, js: str) -> None:
        """`run` without waiting for the result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"js": js}) + "\n")
        self.process.stdin.flush()

    def result(self) -> Any:
        """What the code returned; raises NodeError."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"node ended: {self.end()}"
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NodeError(answer["error"])
        return answer["value"]

    def configure(self, **options: Any) -> None:
        """`configure` for this daemon's socket."""
        self.run(f"h.configure({json.dumps({'path': str(self.path), **options})})")

    def draw(self, size: int, way: str = "sync") -> bytes:
        """`size` random bytes."""
        call = {"sync": "h.randomBytes", "async": "await h.randomBytesAsync"}[way]
        return bytes.fromhex(self.run(f"return {call}({size})"))

    def fill(self, size: int, way: str = "sync") -> NodeError:
        """Fill a buffer where that must fail; returns how, after a look at the buffer."""
        call = {"sync": "h.randomFillSync", "async": "await h.promises.randomFill"}[way]
        with pytest.raises(NodeError) as caught:
            self.run(f"shared.out = Buffer.alloc({size}, 0xaa); {call}(shared.out)")
        assert self.run("return shared.out.every((byte) => byte === 0)")
        assert caught.value.ours
        return caught.value

    def end(self) -> str:
        """Close its input and wait for its end; returns what it wrote to stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return errors

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()

    def enter(self) -> None:
        """`configure`; it runs already."""
        self.configure()


class Leasing:
    """A handler: leases with known seeds, whose generation and terms a test moves."""

    def __init__(self) -> None:
        self.generation = 7
        self.state = "ok"
        self.flags = 0
        self.max_bytes = 1 << 30
        self.max_seconds = 300
        self.seeds: list[bytes] = []
        self.silent = threading.Event()
        self._paged: set[int] = set()

    def __call__(self, peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        if request.op is Op.INFO:
            if self.silent.is_set():
                return
            said = {"generation": self.generation, "state": self.state}
            info = json.dumps(GOOD_INFO | said).encode()
            peer.send(encode_reply(Status.OK, request.tag, len(info)) + info)
        elif request.op is Op.LEASE:
            if self.state == "failed":
                peer.send(encode_reply(Status.FAILED_CLOSED, request.tag))
                return
            seed = bytes([len(self.seeds) + 1]) * 32
            self.seeds.append(seed)
            lease = Lease(self.generation, self.max_bytes, self.max_seconds, bytearray(seed))
            payload = encode_lease(lease)
            first = peer.number not in self._paged
            self._paged.add(peer.number)
            flags = self.flags | (ReplyFlag.PAGE if first else 0)
            header = encode_reply(Status.OK, request.tag, len(payload), flags)
            peer.send(header + payload)
        else:
            honest(peer, request)


def refused(status: Status) -> Handler:
    """A handler that answers all but INFO with a status."""

    def handler(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        if request.op is Op.INFO:
            honest(peer, request)
            return
        peer.send(encode_reply(status, request.tag))
        if status is Status.BAD_REQUEST:
            raise Hangup

    return handler


def answer(make: Make, *, hang_up: bool = False) -> Handler:
    """A handler that sends what `make` gives, and may end the connection then."""

    def handler(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(make(request))
        if hang_up:
            raise Hangup

    return handler
