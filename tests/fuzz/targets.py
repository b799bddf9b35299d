"""Every parser that meets a peer, as a function of bytes that must not raise.

Each target parses its bytes or meets the parser's documented error; anything else is
a finding, and so is another result for the same bytes fed one at a time.  `SEEDS` are
well-formed inputs to begin from, `WORDS` what the formats are made of.

What this does not cover: what a peer does with sockets (half-closing, descriptors,
timing); tests/daemon/process/test_hostile.py does that.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

import msgspec

from hwentropy.control import convert
from hwentropy.errors import HwentropyError
from hwentropy.exchange import Exchange, decode_info
from hwentropy_core import varlink
from hwentropy_core.errors import ProtocolError
from hwentropy_core.page import MAGIC, PAGE_BYTES, PageReader
from hwentropy_core.status import Reseeded, ServiceStatus, SourceStatus
from hwentropy_core.wire import (
    HEADER,
    LEASE_BYTES,
    Lease,
    Op,
    Refusal,
    ReplyFlag,
    ReplyReader,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    decode_lease,
    encode_lease,
    encode_reply,
    encode_request,
)
from hwentropyd import channel
from hwentropyd.collector import messages
from hwentropyd.config.load import ConfigError, load
from hwentropyd.operating.control import Control
from hwentropyd.sampling.shown import TestResult
from hwentropyd.serving.identity import parse_cgroup
from hwentropyd.supervisor import Supervisor, UnknownSourceError
from support import control_replies

ROOT: Final = Path(__file__).parents[2]

Target = Callable[[bytes], None]


def pieces(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


# ---- what the daemon reads ---------------------------------------------------


def requests(data: bytes) -> None:
    """Native requests, and what becomes of them when they are written again."""
    found = _requests([data])
    assert found == _requests(pieces(data))
    for number, one in enumerate(found):
        raw = data[number * HEADER.size :][: HEADER.size]
        if isinstance(one, Request):
            assert encode_request(one) == raw
        else:
            assert one.tag == HEADER.unpack(raw)[2]
            assert not one.closes or number == len(found) - 1


def _requests(parts: list[bytes]) -> list[Request | Refusal]:
    reader = RequestReader()
    found = []
    for part in parts:
        reader.feed(part)
        while (one := reader.next()) is not None:
            found.append(one)
    return found


def channel_messages(data: bytes) -> None:
    """What supervisor and children say to each other."""
    try:
        message = channel.decode(data)
    except ValueError:
        return
    assert channel.decode(message.encode()) == message


def answers(data: bytes) -> None:
    """What a collector answers, which may be in the hands of somebody else's code."""
    try:
        answer = messages.decode_answer(memoryview(data))
        if not isinstance(answer, messages.Described):
            return
        description = answer.description()
    except (msgspec.MsgspecError, ValueError) as error:
        # Of `description`, by the contract; what cannot be decoded has its own.
        if isinstance(error, UnicodeDecodeError):
            raise
        return
    texts = [description.group, description.claim.provenance]
    texts += [text for fact in description.facts.items() for text in fact]
    assert all(text.isprintable() for text in texts)


async def _reseeded() -> Reseeded:
    return Reseeded(generation=7, live=True)


async def _checked() -> list[int]:
    return [1, 2]


async def _tested(name: str) -> TestResult:
    if name != "os":
        raise UnknownSourceError(name)
    return TestResult(ran=True, passed=True, samples=1024, reason="")


async def _counted() -> ServiceStatus:
    return _STATUS


_STATUS: Final = msgspec.convert(control_replies.status()["status"], ServiceStatus)
_SUPERVISOR: Final = SimpleNamespace(
    reporter=SimpleNamespace(counted_status=_counted, sources=lambda: _STATUS.sources),
    reseed=_reseeded,
    test_source=_tested,
    check=_checked,
)
_CONTROL: Final = Control(cast("Supervisor", _SUPERVISOR))


def control_calls(data: bytes) -> None:
    """Calls on the control socket, to what answers them: a reply each, or an error of ours."""
    try:
        calls = varlink.MessageReader().feed(data)
    except ProtocolError:
        return
    for call in calls:
        answering = _CONTROL.answer(call)
        try:
            # Nothing that it asks for waits here, so it ends at once.
            answering.send(None)
        except StopIteration as end:
            reply = end.value
        assert set(reply) <= {"parameters", "error"}
        assert varlink.MessageReader().feed(varlink.encode(reply)) == [reply]


def control_group(data: bytes) -> None:
    """A peer's /proc/PID/cgroup, whose names are its manager's to choose."""
    # A line ends at a line feed, which no name can have, and nowhere else.
    lines = [os.fsdecode(line).split(":", 2) for line in data.split(b"\n")]
    path = parse_cgroup(os.fsdecode(data))
    assert path in {"/", *(line[2] if len(line) > 2 else "" for line in lines)}


def config(data: bytes) -> None:
    """A configuration file; its error is one line."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            load(Path(file.name))
        except ConfigError as error:
            said = str(error)
        else:
            return
    assert said.startswith((f"{file.name}: ", "built-in defaults: "))
    assert said.isprintable(), repr(said)


# ---- what clients read -------------------------------------------------------


def replies(data: bytes) -> None:
    """Native replies with their payloads, leases among them."""
    found = _replies([data])
    assert found == _replies(pieces(data))
    for one in found:
        if one is not None and len(one[1]) == LEASE_BYTES:
            lease = decode_lease(bytearray(one[1]))
            assert decode_lease(encode_lease(lease)) == lease
    if len(data) != LEASE_BYTES:
        try:
            decode_lease(bytearray(data))
        except ProtocolError:
            return
        raise AssertionError("a lease of the wrong length")


def _replies(parts: list[bytes]) -> list[tuple[object, bytes] | None]:
    """The replies in order; None: what came then broke the protocol."""
    reader = ReplyReader()
    found: list[tuple[object, bytes] | None] = []
    for part in parts:
        reader.feed(part)
        try:
            while (one := reader.next()) is not None:
                found.append((one[0], bytes(one[1])))
        except ProtocolError:
            return [*found, None]
    return found


def exchange(data: bytes) -> None:
    """A client's call: the first eight bytes say which, the rest are the replies."""
    if len(data) < HEADER.size:
        return
    kind, flags, tag, size = HEADER.unpack_from(data)
    if kind % 2:
        call = Exchange.read(1 + size % (5 << 20), flags % 4, tag, "/path")
    else:
        call = Exchange.info(tag, "/path")
    rest = memoryview(data)[HEADER.size :]
    asked = len(call.requests()) // HEADER.size
    try:
        while not call.finished and len(rest) >= HEADER.size:
            length = call.accept(bytes(rest[: HEADER.size]))
            payload, rest = rest[HEADER.size :][:length], rest[HEADER.size + length :]
            asked += len(call.requests()) // HEADER.size - 1
            assert asked >= 0
            if not kind % 2:
                decode_info(payload, "/path")
    except HwentropyError:
        return
    finally:
        fresh = kind % 2 and flags & RequestFlag.PREDICTION_RESISTANCE
        assert fresh or not call.marks & ReplyFlag.NOT_LIVE


def page(data: bytes) -> None:
    """The generation page; the first byte says how it is sealed."""
    fd = os.memfd_create("fuzz", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, data[1 : PAGE_BYTES + 1])
        if data[:1] >= b"\x20":
            os.ftruncate(fd, PAGE_BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, (data[:1] or b"\0")[0] & 0x1F)
        try:
            reader = PageReader(fd)
            assert reader.generation >= 0
            assert reader.state.label
        except ProtocolError:
            return
    finally:
        os.close(fd)


def varlink_messages(data: bytes) -> None:
    """Varlink messages of either side, and the status that a client takes from them."""
    whole, bytewise = _messages([data]), _messages(pieces(data))
    assert whole == bytewise
    for message in whole or []:
        assert _messages([varlink.encode(message)]) == [message]
        for kind in (ServiceStatus, SourceStatus):
            try:
                convert(message, kind)
            except ProtocolError:
                continue


def _messages(parts: list[bytes]) -> list[varlink.Message] | None:
    """The messages; None: something broke the protocol."""
    reader = varlink.MessageReader(limit=4096)
    found = []
    for part in parts:
        try:
            found += reader.feed(part)
        except ProtocolError:
            return None
    return found


TARGETS: Final[dict[str, Target]] = {
    "requests": requests,
    "channel": channel_messages,
    "answers": answers,
    "cgroup": control_group,
    "config": config,
    "control": control_calls,
    "replies": replies,
    "exchange": exchange,
    "page": page,
    "varlink": varlink_messages,
}


def _page_seed() -> bytes:
    words = (MAGIC, 7, 1, 7, *[0] * 12)
    return b"\x3f" + b"".join(word.to_bytes(8, "little") for word in words)


def _replies_seed() -> list[bytes]:
    lease = encode_lease(Lease(7, 1 << 30, 300, bytearray(range(32))))
    granted = encode_reply(Status.OK, 0, len(lease), ReplyFlag.PAGE) + bytes(lease)
    info = json.dumps(
        {
            "protocol": [1],
            "version": "1",
            "state": "ok",
            "generation": 7,
            "limits": {"max_read": 1 << 20},
        }
    ).encode()
    said = encode_reply(Status.OK, 0, len(info)) + info
    read = encode_reply(Status.OK, 0, 16) + bytes(range(16))
    marks = ReplyFlag.DEGRADED | ReplyFlag.NOT_LIVE
    degraded = encode_reply(Status.OK, 1, 1, marks) + b"x"
    refused = [encode_reply(status, 0) for status in Status if status]
    return [granted, said, read + degraded, *refused, b"".join([read, *refused])]


def _requests_seed() -> list[bytes]:
    asked = [
        Request(Op.READ, RequestFlag.DONT_BLOCK, 1, 32),
        Request(Op.READ, RequestFlag.PREDICTION_RESISTANCE, 2, 1 << 20),
        Request(Op.INFO, RequestFlag(0), 3, 0),
        Request(Op.LEASE, RequestFlag(0), 65535, 0),
    ]
    raw = [encode_request(one) for one in asked]
    return [*raw, b"".join(raw)]


def _channel_seed() -> list[bytes]:
    """One of each size that each kind of message has."""
    return [kind + bytes(range(layout.layout.size)) for kind, layout in channel._KINDS.items()]


_CALL: Final = HEADER.pack(1, 0, 0, 15)
_FRESH: Final = HEADER.pack(1, RequestFlag.PREDICTION_RESISTANCE, 0, 15)
_INFO: Final = HEADER.pack(0, 0, 0, 0)

_ANSWERS: Final[tuple[messages.Answer, ...]] = (
    messages.Ready(),
    messages.Described("group", 8, 7.5, "who says so", True, {"a": "b"}, {"deadline": 2.5}),
    messages.Closed(),
    messages.WrongLength(7),
    messages.Absent("reason", "remedy"),
    messages.Failed("reason", "remedy"),
    messages.Raised("ValueError", "line 7 of dice.py"),
    messages.Rejected(["a"], "what"),
)

SEEDS: Final[dict[str, list[bytes]]] = {
    "answers": [msgspec.msgpack.encode(answer) for answer in _ANSWERS],
    "cgroup": [
        b"0::/user.slice/user-1000.slice/session-2.scope\n",
        b"0::/\n",
        b"12:pids:/x\n1:name=systemd:/system.slice/docker-0123.scope\n0::/\n",
    ],
    "requests": _requests_seed(),
    "channel": _channel_seed(),
    "config": [
        (ROOT / "config/hwentropyd.toml").read_bytes(),
        b'[sources.tpm2]\ntcti = "device:/dev/tpmrm0"\nenabled = false\n',
        b"[pool]\nmin_bits = 320\n[server]\nworkers = 2\n",
        b'[sources.mine]\nkind = "replay"\npath = "/nowhere"\nmin_entropy = 1.5\n',
    ],
    "replies": _replies_seed(),
    "exchange": [call + reply for call in (_CALL, _FRESH, _INFO) for reply in _replies_seed()],
    "page": [_page_seed(), b"\x1f" + _page_seed()[1:].ljust(PAGE_BYTES, b"\0")],
    "control": [
        varlink.encode({"method": method, "parameters": parameters})
        for method, parameters in (
            ("org.varlink.service.GetInfo", {}),
            ("org.varlink.service.GetInterfaceDescription", {"interface": varlink.INTERFACE}),
            (f"{varlink.INTERFACE}.Status", {}),
            (f"{varlink.INTERFACE}.Sources", {}),
            (f"{varlink.INTERFACE}.Reseed", {}),
            (f"{varlink.INTERFACE}.TestSource", {"name": "os"}),
            (f"{varlink.INTERFACE}.TestSource", {"name": "unknown"}),
        )
    ],
    "varlink": [
        varlink.encode(message)
        for message in (
            {"method": "org.hwentropy.Control.TestSource", "parameters": {"name": "os"}},
            {"error": "org.hwentropy.Control.NotEnoughEntropy", "parameters": {"reason": "x"}},
            control_replies.status()["status"],
            control_replies.source("os"),
        )
    ],
}

WORDS: Final[dict[str, list[bytes]]] = {
    # MessagePack: deep arrays and maps, wrong texts, lengths beyond the end, numbers, times.
    "answers": [
        *(b"\x91" * 1500, b"\x81\xa1a" * 900, b"\xff", b"\xc1", b"\xd9\xff", b"\xc0"),
        *(b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xcb\x7f\xf8" + bytes(6)),
        *(b"\xcf" + b"\xff" * 8, b"\xd6\xff" + bytes(4), b"\xc7\x0c\xff" + b"\xff" * 12),
    ],
    "cgroup": [
        b":",
        b"\n",
        b"/",
        b"\r0::/",
        b"\xff",
        b"\x1b[2J",
        b"\r",
        b"\x85",
        b"\xe2\x80\xa8",
    ],
    "config": [
        *(b"[pool]\n", b"[server]\n", b"[sources.os]\n", b"[sources.", b"[[", b"]]"),
        b'[sources."\\u001b[2J"]\n',
        *(b"enabled", b"kind", b" = ", b"true", b"1e999", b"nan", b"inf", b"0x", b"-1"),
        *(b'"', b'"""', b"'''", b"\\u0000", b"\\U00110000", b"#", b"\n", b"{", b"}"),
        *(b"[" * 1500, b"a." * 1500, b"9" * 5000, b"1979-05-27T07:32:00Z"),
        *(b"\xff", b"\xc3\xa9", b"\0", b"\r", b"min_bits", b"min_groups", b"min_entropy"),
        *(b"deadline", b"path", b"replay", b"tcti"),
    ],
    "control": [
        *(b"\0", b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"1e999"),
        *(b"\\ud800", b"\\u0000", b'"method"', b'"parameters"', b'"name"', b'"interface"'),
        *(b'"org.varlink.service.', b'"org.hwentropy.Control.', b'Status"', b'"oneway"'),
    ],
    "varlink": [
        *(b"\0", b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"NaN"),
        *(b"Infinity", b"1e999", b"-0", b"9" * 4400, b"\\ud800", b"\\u0000", b"\xff"),
        *(b"[" * 1500, b'{"a":' * 800, b"\xef\xbb\xbf"),
        *(b'"method"', b'"parameters"', b'"error"', b'"state"'),
    ],
}
