"""The control socket of a real daemon: the interface as others see it, and hostile peers."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import varlink
from pytest_mock import MockerFixture

from hwentropy_core.status import ServiceStatus
from hwentropyd.operating import control
from hwentropyd.supervisor import Supervisor
from support import control_replies as replies
from support.daemon import INTERFACE, ONLY_OS, Daemon
from support.raw_client import PATIENCE, CallError, call, connect, converse, is_closed
from support.users import ALICE, BOB, as_user

pytestmark = pytest.mark.process

SERVICE = "org.varlink.service"

#: Largest message that is taken, hwentropy_core.limits.MAX_CONTROL_MESSAGE.
MAX_MESSAGE = 256 * 1024


@pytest.fixture(scope="module")
def running() -> Iterator[Daemon]:
    """One daemon for the file."""
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The daemon, which afterwards serves a fresh client on either socket."""
    yield running
    running.check()


def answer(daemon: Daemon, message: bytes) -> dict[str, Any]:
    """The reply to one message on a connection of its own."""
    with daemon.connect(daemon.control) as sock:
        raw = converse(sock, message + b"\0")
    assert raw.endswith(b"\0"), raw
    reply = json.loads(raw[:-1])
    assert isinstance(reply, dict)
    return reply


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xfe\0",
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
        b"[]\0",
        b'"Status"\0',
        b'{"method":"org.hwentropy.Control.Status","parameters":{"x":NaN}}\0',
        b'{"method":"org.hwentropy.Control.Status","parameters":{"x":-Infinity}}\0',
        b'{"method":"org.hwentropy.Control.Status","parameters":{"x":1e999}}\0',
        b'{"method":"a.B","method":"org.hwentropy.Control.Status"}\0',
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\0",
        b"[" * 250_000 + b"\0",
        b'{"method":"' + b"x" * MAX_MESSAGE + b'"}\0',
        b"x" * (MAX_MESSAGE + 1),
        b'{"a":' + b"1" * 10_000 + b"}\0",
        b'{"method":"\\ud800"}\0',
    ],
    ids=[
        *("utf-16", "empty", "http", "array", "string", "NaN", "Infinity", "too large"),
        *("name twice", "nested objects", "nested arrays", "huge", "huge, unended", "digits"),
        "half a surrogate pair",
    ],
)
def test_what_is_no_message_closes_the_connection(daemon: Daemon, message: bytes) -> None:
    """Not one JSON object within the limit: no reply, an end, and no trace in the log."""
    with daemon.connect(daemon.control) as sock:
        assert converse(sock, message) == b""
        assert is_closed(sock)


def test_a_message_in_single_bytes_is_understood(daemon: Daemon) -> None:
    """A call that comes byte by byte is answered when its NUL is there."""
    with daemon.connect(daemon.control) as sock:
        for byte in b'{"method":"org.hwentropy.Control.Sources"}':
            sock.send(bytes([byte]))
        assert b'"sources"' in converse(sock, b"\0")


@pytest.mark.parametrize(
    ("message", "error", "parameters"),
    [
        (
            {"method": f"{INTERFACE}.Shutdown"},
            f"{SERVICE}.MethodNotFound",
            {"method": "Shutdown"},
        ),
        (
            {"method": "io.systemd.Resolve.Ping"},
            f"{SERVICE}.InterfaceNotFound",
            {"interface": "io.systemd.Resolve"},
        ),
        ({"method": "Status"}, f"{SERVICE}.InterfaceNotFound", {"interface": ""}),
        ({"method": 7}, f"{SERVICE}.InvalidParameter", {"parameter": "method"}),
        ({}, f"{SERVICE}.InvalidParameter", {"parameter": "method"}),
        (
            {"method": f"{INTERFACE}.Status", "parameters": []},
            f"{SERVICE}.InvalidParameter",
            {"parameter": "parameters"},
        ),
        (
            {"method": f"{INTERFACE}.TestSource"},
            f"{SERVICE}.InvalidParameter",
            {"parameter": "name"},
        ),
        (
            {"method": f"{INTERFACE}.TestSource", "parameters": {"name": ["os"]}},
            f"{SERVICE}.InvalidParameter",
            {"parameter": "name"},
        ),
        (
            {"method": f"{INTERFACE}.TestSource", "parameters": {"name": "\0\u202e"}},
            f"{INTERFACE}.UnknownSource",
            {"name": "\0\u202e", "known": ["os"]},
        ),
        (
            {
                "method": f"{SERVICE}.GetInterfaceDescription",
                "parameters": {"interface": "a.b"},
            },
            f"{SERVICE}.InterfaceNotFound",
            {"interface": "a.b"},
        ),
    ],
)
def test_bad_calls_get_a_varlink_error(
    daemon: Daemon, message: dict[str, Any], error: str, parameters: dict[str, Any]
) -> None:
    """Each wrong call is answered with the error that names what is wrong with it."""
    assert answer(daemon, json.dumps(message).encode()) == {
        "error": error,
        "parameters": parameters,
    }


def test_a_connection_goes_on_after_an_error_reply(daemon: Daemon) -> None:
    """An error is an answer: the next call on the same connection is answered too."""
    calls = b'{"method":"a.B"}\0{"method":"org.varlink.service.GetInfo","parameters":null}\0'
    with daemon.connect(daemon.control) as sock:
        replies = converse(sock, calls, lambda got: got.count(b"\0") == 2).split(b"\0")
    assert b"InterfaceNotFound" in replies[0]
    assert b"hwentropyd" in replies[1]


def test_oneway_calls_are_made_and_not_answered(daemon: Daemon) -> None:
    """Neither the result nor the error of a oneway call comes back; its effect is there."""
    before = daemon.generation()
    oneway = b'{"method":"org.hwentropy.Control.Reseed","oneway":true}\0'
    wrong = b'{"method":"a.B","oneway":true}\0'
    with daemon.connect(daemon.control) as sock:
        raw = converse(sock, oneway + wrong + b'{"method":"org.hwentropy.Control.Status"}\0')
    assert json.loads(raw[:-1])["parameters"]["status"]["generation"] > before
    assert raw.count(b"\0") == 1


#: A user that is not root, by Debian's base-passwd.
NOBODY = 65534

GET_INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


def ended(sock: socket.socket) -> bool:
    """Whether the daemon has closed this connection, on which no reply is due."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(PATIENCE)


def test_idle_control_connections_give_way_the_longest_idle_first(daemon: Daemon) -> None:
    """With 64 idle ones, whoever comes is served; who asked last stays longest."""
    with ExitStack() as stack:
        idle = [stack.enter_context(daemon.connect(daemon.control)) for _ in range(64)]
        for sock in (*idle, *idle[:20]):  # so the first twenty are not the longest idle
            assert b"hwentropyd" in converse(sock, GET_INFO)
        for sock in idle[20:30]:
            # Half a call is no call; a dribble keeps nobody his place.
            sock.sendall(b'{"method":')
        for _ in range(30):
            late = stack.enter_context(daemon.connect(daemon.control))
            assert b"hwentropyd" in converse(late, GET_INFO)
        # One or more of those that came before these tests may have had a place too.
        daemon.wait_for(lambda: all(ended(sock) for sock in idle[20:49]), "rid of the idle")
        for sock in idle[:20]:
            assert b"hwentropyd" in converse(sock, GET_INFO)
        assert len(daemon.read(32).payload) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to connect as another user")
def test_a_crowd_of_idle_connections_costs_another_user_nothing(daemon: Daemon) -> None:
    """The user with the most idle ones gives way, however long another's is idle."""
    with ExitStack() as stack:
        agent = stack.enter_context(daemon.connect(daemon.control))
        assert b"hwentropyd" in converse(agent, GET_INFO)
        daemon.directory.chmod(0o711)
        daemon.control.chmod(0o666)
        stack.callback(daemon.control.chmod, 0o660)
        os.seteuid(NOBODY)
        try:
            load = [stack.enter_context(daemon.connect(daemon.control)) for _ in range(500)]
        finally:
            os.seteuid(0)
        assert daemon.status()["state"] == "ok"
        daemon.wait_for(lambda: all(ended(sock) for sock in load[:400]), "rid of the idle")
        assert b"hwentropyd" in converse(agent, GET_INFO)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_crowd_with_calls_under_way_keeps_no_other_user_out(daemon: Daemon) -> None:
    """Who never reads its replies has no idle connection; it gives way all the same."""
    with ExitStack() as stack:
        agent = stack.enter_context(daemon.connect(daemon.control))
        assert b"hwentropyd" in converse(agent, GET_INFO)
        daemon.directory.chmod(0o711)
        daemon.control.chmod(0o666)
        stack.callback(daemon.control.chmod, 0o660)
        with as_user(ALICE):
            for _ in range(70):
                sock = stack.enter_context(daemon.connect(daemon.control))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(GET_INFO * 2000)
                    sock.recv(1, socket.MSG_PEEK)  # its calls are under way, or it is refused
        assert {daemon.status()["state"] for _ in range(20)} == {"ok"}
        assert b"hwentropyd" in converse(agent, GET_INFO)


#: Connects and leaves, without end.
FLOOD = """
import socket, sys
while True:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
"""


def test_an_operator_is_answered_beside_a_flood_of_connections(daemon: Daemon) -> None:
    """While two processes of the same user connect without end, no call is lost."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", FLOOD, str(daemon.control)]
        floods = [stack.enter_context(subprocess.Popen(command)) for _ in range(2)]
        for flood in floods:
            stack.callback(flood.kill)
        assert {daemon.status()["state"] for _ in range(40)} == {"ok"}
        assert [flood.poll() for flood in floods] == [None, None]


RESEED = b'{"method":"org.hwentropy.Control.Reseed"}\0'


def waits(sock: socket.socket) -> bool:
    """Whether a call on this connection is still under way, and not refused."""
    sock.setblocking(False)
    try:
        reply = sock.recv(1 << 16, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(PATIENCE)
    assert json.loads(reply.rstrip(b"\0"))["error"] == f"{INTERFACE}.OverQuota"
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_calls_of_one_user_keep_out_no_other() -> None:
    """Of 40 that wait 31 go on, the rest is told at once; root's and a third's are answered."""
    nothing = ONLY_OS + "[sources.os]\ncredit = false\n[server]\n"
    nothing += "prediction_resistance_seconds = 3\n"
    with Daemon(nothing, wait=False) as daemon, ExitStack() as stack:
        daemon.wait_until_reachable()
        daemon.directory.chmod(0o755)
        daemon.control.chmod(0o666)
        calls: list[socket.socket] = []
        with as_user(ALICE):
            for _ in range(40):
                calls.append(stack.enter_context(daemon.connect(daemon.control)))
                calls[-1].sendall(RESEED)
        daemon.wait_for(lambda: sum(map(waits, calls)) == 31, "down to its share", patience=2.5)
        assert daemon.status()["state"] == "starting"
        with as_user(BOB):
            assert daemon.status()["state"] == "starting"
        replies = [converse(sock, b"") for sock in calls]
        assert sum(b"NotEnoughEntropy" in reply for reply in replies) == 31
        # With its calls over it may have others.
        with as_user(ALICE):
            assert daemon.status()["state"] == "starting"
        daemon.check_log()


def test_testing_a_source_without_end_does_not_keep_it_from_giving(daemon: Daemon) -> None:
    """With eight connections that have its one source tested all the time, it reseeds."""
    test = b'{"method":"org.hwentropy.Control.TestSource","parameters":{"name":"os"}}\0'
    with ExitStack() as stack:
        testers = [stack.enter_context(daemon.connect(daemon.control)) for _ in range(8)]
        for sock in testers:
            sock.sendall(test * 2000)
        for _ in range(10):
            daemon.call("Reseed")
        assert daemon.source("os")["state"] == "healthy"
        # Most of the tests were still to come when it had given three times.
        replies = []
        for sock in testers:
            with contextlib.suppress(BlockingIOError):
                replies.append(sock.recv(1 << 20, socket.MSG_DONTWAIT))
        assert sum(reply.count(b"\0") for reply in replies) < 8000
        assert all(b"\0" in converse(sock, b"") for sock in testers)


def serve(talk: Callable[[control.Control, socket.socket], Awaitable[None]]) -> None:
    """Have `talk` speak, on a connected socket, to a server of which all replies are large."""

    status = msgspec.convert(replies.status()["status"], ServiceStatus)
    much = replace(status, reason="x" * 100_000)

    async def counted_status() -> ServiceStatus:
        return much

    supervisor = SimpleNamespace(reporter=SimpleNamespace(counted_status=counted_status))

    async def main(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as peer:
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
            served = control.Control(cast("Supervisor", supervisor))
            server = served.serve(listener)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, str(path))
            async with asyncio.timeout(PATIENCE):
                while not served.connections:
                    await asyncio.sleep(0)
                await talk(served, peer)
            server.close()

    with TemporaryDirectory(prefix="hwe-", dir="/tmp") as directory:
        asyncio.run(main(Path(directory) / "sock"))


def test_a_control_client_that_never_reads_is_dropped(mocker: MockerFixture) -> None:
    """Whoever does not take its replies loses the connection, and so its place."""
    mocker.patch.object(control, "TAKE_SECONDS", 0.02)

    async def never_read(served: control.Control, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(peer, b'{"method":"org.hwentropy.Control.Status"}\0' * 100)
        while served.connections:
            await asyncio.sleep(0.005)
        got = 0
        while data := await loop.sock_recv(peer, 1 << 20):
            got += len(data)
        assert got < 100 * 100_000

    serve(never_read)


def test_an_idle_control_connection_is_closed(mocker: MockerFixture) -> None:
    """Half a call that goes on and on is idle too; a call begins the time anew."""
    mocker.patch.object(control, "IDLE_SECONDS", 0.2)

    async def dribble(served: control.Control, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 0.4:
            await loop.sock_sendall(peer, GET_INFO)
            assert b"hwentropyd" in await loop.sock_recv(peer, 1 << 16)
        asked = loop.time()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while served.connections:
                await loop.sock_sendall(peer, b" ")
                await asyncio.sleep(0.005)
        assert loop.time() >= asked + 0.15

    serve(dribble)


def test_many_calls_at_once_let_the_others_have_their_turn() -> None:
    """Between two of 1,000 calls that came in one piece the event loop goes round."""

    async def pipeline(_: control.Control, peer: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = loop.create_task(count())
        await loop.sock_sendall(peer, GET_INFO * 1000)
        begun, replies = turns, 0
        while replies < 1000:
            replies += (await loop.sock_recv(peer, 1 << 20)).count(b"\0")
        counting.cancel()
        assert turns - begun >= 900

    serve(pipeline)


@pytest.mark.parametrize("interface", [INTERFACE, SERVICE])
def test_the_names_of_a_description_are_unique(daemon: Daemon, interface: str) -> None:
    """Types, methods and errors share one namespace: no name stands for two of them."""
    text = call(daemon.control, f"{SERVICE}.GetInterfaceDescription", interface=interface)
    names = re.findall(r"^(?:type|method|error) (\w+)", text["description"], re.MULTILINE)
    assert len(names) > 3
    assert len(names) == len(set(names))


def test_the_published_client_calls_every_method(daemon: Daemon) -> None:
    """The `varlink` package reads the description and calls all it finds there."""
    with varlink.Client(address=f"unix:{daemon.control}") as client:
        assert set(client.get_interfaces()) == {SERVICE, INTERFACE}
        methods = {
            name
            for name, member in client.get_interface(INTERFACE).members.items()
            if type(member).__name__ == "_Method"
        }
        assert methods == {"Status", "Sources", "Reseed", "TestSource", "Check"}
        opened: Any = client.open(INTERFACE)  # its methods come from the description
        with opened as connection:
            before = connection.Status()["status"]
            assert before["state"] == "ok"
            assert [one["name"] for one in connection.Sources()["sources"]] == ["os"]
            assert connection.Reseed()["generation"] > before["generation"]
            tested = connection.TestSource("os")
            assert (tested["passed"], tested["samples"], tested["reason"]) == (True, 1024, "")
            with pytest.raises(varlink.VarlinkError, match=f"{INTERFACE}.UnknownSource"):
                connection.TestSource("tpm9")
            assert daemon.pid in connection.Check()["passed"]


def assert_described(value: Any, kind: Any, members: dict[str, Any]) -> None:
    """Assert that a value is what a type of the interface description says, to its leaves."""
    name = type(kind).__name__
    if name == "_CustomType":
        assert_described(value, members[kind.name].type, members)
    elif name == "_Maybe":
        if value is not None:
            assert_described(value, kind.element_type, members)
    elif name == "_Array":
        assert isinstance(value, list)
        for one in value:
            assert_described(one, kind.element_type, members)
    elif name == "_Dict":
        assert isinstance(value, dict)
        for one in value.values():
            assert_described(one, kind.element_type, members)
    elif name == "_Struct":
        assert set(value) == set(kind.fields)
        for field, of in kind.fields.items():
            assert_described(value[field], of, members)
    else:
        # A leaf is an empty value of its type; JSON does not tell 4 from 4.0.
        assert type(value) is type(kind) or (type(value), type(kind)) == (int, float)


def test_status_and_sources_are_as_described(daemon: Daemon) -> None:
    """Exactly the fields of the interface description are there, each of its type."""
    with varlink.Client(address=f"unix:{daemon.control}") as client:
        members = client.get_interface(INTERFACE).members
    for method in ("Status", "Sources"):
        reply = daemon.call(method)
        assert reply
        assert_described(reply, members[method].out_type, members)


def test_the_counts_of_a_status_are_exact(daemon: Daemon) -> None:
    """Every request that was answered before the call is in it, and each once."""

    def served() -> tuple[int, int]:
        workers = daemon.status()["workers"]
        return sum(one["requests"] for one in workers), sum(one["bytes"] for one in workers)

    requests, size = served()
    for number in range(1, 51):
        daemon.read(1000)
        assert served() == (requests + number, size + number * 1000)


def test_a_hung_worker_does_not_hold_up_the_status(daemon: Daemon) -> None:
    """It is shown with what it said last, after COUNT_SECONDS; so is the other, as of now."""
    frozen, other = daemon.worker_pids()
    daemon.read(100)
    before = {one["pid"]: one for one in daemon.status()["workers"]}
    os.kill(frozen, signal.SIGSTOP)
    try:
        began = time.monotonic()
        during = {one["pid"]: one for one in daemon.status()["workers"]}
        # The time limit is 0.2 s; the rest is for a busy machine.
        assert time.monotonic() - began < 5.0
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert during[frozen]["requests"] == before[frozen]["requests"]
    assert set(during) == {frozen, other}


def test_an_unknown_source_is_an_error_with_the_known_ones(daemon: Daemon) -> None:
    """TestSource of a name that is not configured says which are."""
    with pytest.raises(CallError) as caught:
        daemon.call("TestSource", name="tpm2")
    assert caught.value.error == f"{INTERFACE}.UnknownSource"
    assert caught.value.parameters == {"name": "tpm2", "known": ["os"]}


def test_the_sockets_have_their_modes(daemon: Daemon) -> None:
    """Data sockets are everybody's, the control socket is its group's."""
    modes = [
        path.stat().st_mode & 0o777 for path in (daemon.entropy, daemon.stream, daemon.control)
    ]
    assert modes == [0o666, 0o666, 0o660]


def test_control_goes_on_while_a_peer_is_in_the_middle_of_a_message(daemon: Daemon) -> None:
    """Half a call, however long it stays that, holds up nobody."""
    with connect(daemon.control) as half:
        half.sendall(b'{"method":"org.hwentropy.')
        assert daemon.status()["state"] == "ok"
        half.sendall(b'Control.Status"}')
        half.shutdown(socket.SHUT_WR)
        assert is_closed(half)
