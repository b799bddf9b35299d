"""Plays the cases of conformance/ (its README.md tells the format) to any client.

    with FakeDaemon(directory) as daemon:
        for case in cases("replies"):
            with playing(daemon, case) as play:
                ... call the client ...
            play.check(...)

A driver makes the call and says how it ended; what is right is decided here.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwentropy_core.page import PageWriter, ServiceState, boottime
from hwentropy_core.wire import (
    Lease,
    Op,
    Refusal,
    ReplyFlag,
    Request,
    Status,
    encode_lease,
    encode_reply,
    encode_request,
)
from support.fake_server import GOOD_INFO, FakeDaemon, Hangup, Peer, honest

FOLDER: Final = Path(__file__).parents[2] / "conformance"

Case = dict[str, Any]

#: F_SEAL_* of linux/fcntl.h; Python has no name for the last one before 3.13.
_SEALS: Final = {
    "SEAL": fcntl.F_SEAL_SEAL,
    "SHRINK": fcntl.F_SEAL_SHRINK,
    "GROW": fcntl.F_SEAL_GROW,
    "WRITE": fcntl.F_SEAL_WRITE,
    "FUTURE_WRITE": 0x0010,
}


def cases(name: str) -> list[Case]:
    """The cases of one file."""
    found: list[Case] = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return found


def payload(size: int) -> bytes:
    """The payload of so many bytes that a case speaks of."""
    period = bytes((7 * i + 13) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


def expected_bytes(case: Case) -> bytes:
    """What a call with the outcome `bytes` has to give."""
    if "drawn" in case:
        return bytes.fromhex(case["drawn"])
    return b"".join(payload(turn["payload"]) for turn in case["exchange"])


@dataclass(frozen=True)
class Ended:
    """How a client's call ended."""

    outcome: str
    """`bytes`, `info`, or the error's name in Python."""
    value: Any = None
    degraded: bool = False
    not_live: bool = False


class Play:
    """A handler for FakeDaemon that answers one call as its case says."""

    def __init__(self, case: Case, page: int) -> None:
        self.case = case
        self.page = page
        self.connection = 0
        """The number of the connection that the call came on last."""
        self.problems: list[str] = []
        self._turns = iter(case["exchange"])
        self._again: Case | None = None
        self._paged: set[int] = set()

    def __call__(self, peer: Peer, request: Request | Refusal) -> None:
        """Answer one request."""
        assert isinstance(request, Request)
        if request.op is not Op[self.case["op"]]:
            self._aside(peer, request)
            return
        turn = self._again or next(self._turns, None)
        if turn is None:
            return
        if turn.get("every"):
            self._again = turn
        self.connection = peer.number
        due = bytes.fromhex(turn["request"])
        ahead = request.tag - int.from_bytes(due[2:4], "big")
        if encode_request(request) != tagged(due, ahead):
            self.problems.append(f"{due.hex()} was due, {encode_request(request).hex()} came")
        reply = tagged(bytes.fromhex(turn["reply"]), ahead) + payload(turn.get("payload", 0))
        descriptors = [self.page] if turn.get("page") else []
        if reply:
            sent = socket.send_fds(peer.sock, [reply], descriptors)
            peer.send(reply[sent:])
        if self.case.get("hangup"):
            raise Hangup

    def _aside(self, peer: Peer, request: Request) -> None:
        """What a client asks besides the call: INFO to judge a lease, a lease for INFO."""
        if request.op is Op.INFO:
            text = json.dumps(GOOD_INFO | {"generation": 1}).encode()
            peer.send(encode_reply(Status.OK, request.tag, len(text)) + text)
        elif request.op is Op.LEASE:
            grant(peer, request, Lease(7, 1 << 30, 300, bytearray(32)), self.page, self._paged)
        else:
            honest(peer, request)

    def check(self, ended: Ended) -> None:
        """Compare the end of the call with the case's."""
        assert not self.problems
        assert ended.outcome == self.case["outcome"]
        if ended.outcome == "bytes":
            assert ended.value == expected_bytes(self.case)
            assert ended.degraded == self.case["degraded"]
            assert ended.not_live == self.case.get("not_live", False)

    def check_next(self, connection: int) -> None:
        """Compare the connection of the client's next call with the case's."""
        kept = connection == self.connection
        assert kept == (self.case["connection"] == "kept"), "on the wrong connection"


def tagged(frame: bytes, ahead: int) -> bytes:
    """A frame whose tag is so much larger, modulo 2^16; one cut before its tag is as it is."""
    if len(frame) < 4:
        return frame
    tag = (int.from_bytes(frame[2:4], "big") + ahead) % 65536
    return frame[:2] + tag.to_bytes(2, "big") + frame[4:]


def grant(peer: Peer, request: Request, lease: Lease, page: int, paged: set[int]) -> None:
    """Answer a LEASE; the page comes with the first one on each connection."""
    first = peer.number not in paged
    paged.add(peer.number)
    frame = encode_reply(Status.OK, request.tag, 56, ReplyFlag.PAGE if first else 0)
    socket.send_fds(peer.sock, [frame + encode_lease(lease)], [page] if first else [])


@contextlib.contextmanager
def good_page() -> Iterator[PageWriter]:
    """A generation page as the daemon makes it, of generation 1, state ok."""
    page = PageWriter()
    page.generation = 1
    page.state = ServiceState.OK
    try:
        yield page
    finally:
        os.close(page.fd)


@contextlib.contextmanager
def playing(daemon: FakeDaemon, case: Case) -> Iterator[Play]:
    """Have the daemon play a case of replies.json; honest again when it is over."""
    with good_page() as page:
        daemon.handler = play = Play(case, page.fd)
        daemon.at_connect = bytes.fromhex(case.get("at_connect", ""))
        try:
            yield play
        finally:
            daemon.handler = honest
            daemon.at_connect = b""


@contextlib.contextmanager
def made_page(case: Case) -> Iterator[int]:
    """The descriptor of a case of pages.json."""
    if "file" in case:
        fd = os.open(case["file"], os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = os.memfd_create("page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, case["size"])
        words = b"".join(int(word).to_bytes(8, sys.byteorder) for word in case["words"])
        os.pwrite(fd, words[: case["size"]], 0)
        for seal in case["seals"]:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS[seal])
    try:
        yield fd
    finally:
        os.close(fd)


class Grants:
    """A handler for FakeDaemon that plays the daemon's side of a case of leases.json.

    `takes_pages`: whether the client reads the generation page, and so asks for a
    second lease at once where the first one brought it.
    """

    def __init__(self, case: Case, page: PageWriter, *, takes_pages: bool) -> None:
        self.page = page
        self.over = False
        """Whether the time is over until which the page says that the service serves."""
        self.granted = 0
        """How many leases of the case were given to be used."""
        self._leases: list[Case] = case["leases"]
        self._takes_pages = takes_pages
        self._paged: set[int] = set()

    def __call__(self, peer: Peer, request: Request | Refusal) -> None:
        """Answer one request."""
        assert isinstance(request, Request)
        if request.op is Op.INFO:
            said = {"state": self.page.state.label, "generation": self.page.generation}
            text = json.dumps(GOOD_INFO | said).encode()
            peer.send(encode_reply(Status.OK, request.tag, len(text)) + text)
        elif self.page.state is ServiceState.FAILED or self.over:
            peer.send(encode_reply(Status.FAILED_CLOSED, request.tag))
        elif self.page.state is ServiceState.STARTING:
            peer.send(encode_reply(Status.NOT_SEEDED, request.tag))
        else:
            first = peer.number not in self._paged
            terms = self._leases[self.granted]
            self.granted += not (first and self._takes_pages)
            lease = Lease(
                self.page.generation,
                int(terms["max_bytes"]),
                terms["max_seconds"],
                bytearray.fromhex(terms["seed"]),
            )
            grant(peer, request, lease, self.page.fd, self._paged)

    def check(self, step: Case, outcome: str, value: bytes | None) -> None:
        """Compare the end of a draw with its step's."""
        assert outcome == step.get("outcome", "bytes")
        if outcome == "bytes":
            assert value is not None
            assert len(value) == step["draw"]
            assert value.hex() == step.get("gives", value.hex())
            assert self.granted == step["granted"]


@contextlib.contextmanager
def granting(daemon: FakeDaemon, case: Case, *, takes_pages: bool) -> Iterator[Grants]:
    """Have the daemon grant the leases of a case of leases.json."""
    with good_page() as page:
        daemon.handler = grants = Grants(case, page, takes_pages=takes_pages)
        yield grants


def take_step(step: Case, daemon: FakeDaemon, grants: Grants) -> None:
    """The daemon's side of a step: what it says of itself, and whether it is there."""
    if "generation" in step:
        grants.page.generation = int(step["generation"])
    if "state" in step:
        grants.page.state = next(one for one in ServiceState if one.label == step["state"])
    if "serves_until" in step:
        until = int(step["serves_until"])
        grants.over = 0 < until < boottime()
        grants.page.publish(grants.page.state, serves_until=until)
    if step.get("daemon") == "gone":
        daemon.stop()
