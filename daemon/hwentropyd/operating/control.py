"""The control socket: Varlink (varlink.org), one interface, one call at a time.

A call is a JSON object ended by NUL, so is its reply.  Who may connect is
settled by the socket's mode and group; still a peer's bytes are bounded and end
in an error reply or a closed connection.  Nothing it can ask for shows entropy.

A connection is idle from its start or its last reply until its next call is
complete.  An idle one is closed after IDLE_SECONDS, and where all are in use one
gives way to each new one: of the user who has the most, the one that is idle longest,
or one with a call under way where that user has more than the newcomer.  So whoever
connects is served, and a crowd is in its own way only.
Calls under way are shared fairly between users (serving/shares.py), so that nobody's keep
out another's: one above the share is answered OverQuota at once.
What this does not protect against: a user whose own calls all take their time.
"""

import asyncio
import logging
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hwentropy_core import VERSION, varlink
from hwentropy_core.errors import ProtocolError
from hwentropy_core.known_answers import KnownAnswerError
from hwentropy_core.status import SelfTest
from hwentropyd.serving.shares import Budget
from hwentropyd.supervisor import (
    KNOWN_ANSWERS,
    NotEnoughEntropyError,
    Supervisor,
    UnknownSourceError,
)

from .control_acceptor import ControlAcceptor, is_operator

log = logging.getLogger(__name__)

#: Control connections at a time: operators and a monitoring agent, not clients.
MAX_CONNECTIONS: Final = 64

#: Seconds that a connection may be idle: two and a half of the minutes at which a
#: monitoring agent asks as a rule, so that it may keep its connection.
IDLE_SECONDS: Final = 150.0

#: Seconds for a peer to take its reply: a program on this host that reads at all
#: does it in milliseconds.
TAKE_SECONDS: Final = 5.0

#: Bytes read at a time.  Three bytes (`{}` and NUL) can be a call, which takes some 100
#: while it waits: 64 connections have at most some 9 MB of them.
_READ_BYTES: Final = 4 * 1024

_SERVICE: Final = "org.varlink.service"
_SERVICE_DESCRIPTION: Final = """\
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
"""

_Parameters = dict[str, Any]
_Method = Callable[[_Parameters], Awaitable[_Parameters]]


_OVER_QUOTA: Final = {"error": f"{varlink.INTERFACE}.OverQuota", "parameters": {}}


class _VarlinkError(Exception):
    """Becomes an error reply."""

    def __init__(self, error: str, **parameters: Any) -> None:
        super().__init__(error)
        self.error = error
        self.parameters = parameters


@dataclass(slots=True)
class _Peer:
    """Whose a connection is, and since when it is idle."""

    uid: int
    idle_since: float | None
    """On the loop's clock; None while it has a call."""


class Control:
    """Answers the calls on the control socket."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._connections: dict[asyncio.Task[None], _Peer] = {}
        self._most = _room(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._calls = Budget(self._most)
        """Those under way."""
        # Not by importlib.resources, which takes 0.7 MB.
        file = Path(__file__).with_name(f"{varlink.INTERFACE}.varlink")
        self._description = file.read_text("utf-8")
        own = varlink.INTERFACE
        self._methods: dict[str, _Method] = {
            f"{_SERVICE}.GetInfo": self._get_info,
            f"{_SERVICE}.GetInterfaceDescription": self._get_interface_description,
            f"{own}.Status": self._status,
            f"{own}.Sources": self._sources,
            f"{own}.Reseed": self._reseed,
            f"{own}.TestSource": self._test_source,
            f"{own}.Check": self._check,
        }

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def serve(self, sock: socket.socket) -> ControlAcceptor:
        """Serve on a listening socket from now on."""
        return ControlAcceptor(sock, self._most, 2 * self._most, self._begin)

    def _begin(self, client: socket.socket, uid: int) -> None:
        loop = asyncio.get_running_loop()
        if not self._make_room(uid):
            client.close()
            return
        peer = _Peer(uid, loop.time())
        task = loop.create_task(self._connected(client, peer))
        self._connections[task] = peer
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._connections.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a control connection was ended by an unforeseen error", exc_info=error)

    async def _connected(self, client: socket.socket, peer: _Peer) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=client)
        except OSError:
            client.close()
            return
        # `drain` then returns when the kernel has all of a reply.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._converse(peer, reader, writer)
        except (ProtocolError, ConnectionError, TimeoutError) as error:
            log.debug("control connection ended: %s", str(error) or "idle, or does not read")
        except asyncio.CancelledError:
            # It gives way, or we stop: what it does not take now is lost.
            writer.transport.abort()
        finally:
            peer.idle_since = None  # it is going already
            await _close(writer)

    def _make_room(self, uid: int) -> bool:
        """Whether one more of this user may come; where it is full, another gives way."""
        if len(self._connections) < self._most:
            return True
        held = Counter(peer.uid for peer in self._connections.values())
        held[uid] += 1
        # A call is broken off only for somebody who has less.
        giving = [
            (-held[peer.uid], peer.idle_since is None, peer.idle_since or 0.0, task)
            for task, peer in self._connections.items()
            if held[peer.uid] >= held[uid] + (peer.idle_since is None)
        ]
        if not giving:
            log.warning(
                "%d control connections have a call under way: another is closed",
                self._most,
            )
            return False
        *_, task = min(giving, key=lambda one: one[:3])
        peer = self._connections.pop(task)
        if peer.idle_since is None:
            log.warning(
                "uid %d has %d control connections: a call of its is broken off for uid %d",
                *(peer.uid, held[peer.uid], uid),
            )
        task.cancel()
        return True

    async def _converse(
        self, peer: _Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        messages = varlink.MessageReader()
        loop = asyncio.get_running_loop()
        while True:
            peer.idle_since = loop.time()
            calls: list[varlink.Message] = []
            # Bytes that do not complete a call are no sign of life.
            async with asyncio.timeout_at(peer.idle_since + IDLE_SECONDS):
                while not calls:
                    data = await reader.read(_READ_BYTES)
                    if not data:
                        return
                    calls = messages.feed(data)
            peer.idle_since = None
            for call in calls:
                with self._within_share(peer.uid) as admitted:
                    reply = await self.answer(call) if admitted else _OVER_QUOTA
                    if not call.get("oneway"):
                        writer.write(varlink.encode(reply))
                        async with asyncio.timeout(TAKE_SECONDS):
                            await writer.drain()
                # Nothing above need have waited, and many calls may have come at once.
                await asyncio.sleep(0)

    @contextmanager
    def _within_share(self, uid: int) -> Generator[bool]:
        """While it lasts a call of this user is under way, or is not admitted."""
        admitted = self._calls.charge(uid, 1, operator=is_operator(uid))
        try:
            yield admitted
        finally:
            if admitted:
                self._calls.release(uid, 1)

    async def answer(self, call: varlink.Message) -> varlink.Message:
        """The reply to one call, an error's too."""
        try:
            method, parameters = self._find(call)
            return {"parameters": await method(parameters)}
        except _VarlinkError as error:
            return {"error": error.error, "parameters": error.parameters}

    def _find(self, call: varlink.Message) -> tuple[_Method, _Parameters]:
        name = call.get("method")
        parameters = call.get("parameters")
        if parameters is None:
            parameters = {}
        if not isinstance(name, str):
            raise _VarlinkError(f"{_SERVICE}.InvalidParameter", parameter="method")
        if not isinstance(parameters, dict):
            raise _VarlinkError(f"{_SERVICE}.InvalidParameter", parameter="parameters")
        if name in self._methods:
            return self._methods[name], parameters
        interface, _, method = name.rpartition(".")
        if interface not in {_SERVICE, varlink.INTERFACE}:
            raise _VarlinkError(f"{_SERVICE}.InterfaceNotFound", interface=interface)
        raise _VarlinkError(f"{_SERVICE}.MethodNotFound", method=method)

    async def _get_info(self, _: _Parameters) -> _Parameters:
        return {
            "vendor": "hwentropy",
            "product": "hwentropyd",
            "version": VERSION,
            "url": "",
            "interfaces": [_SERVICE, varlink.INTERFACE],
        }

    async def _get_interface_description(self, parameters: _Parameters) -> _Parameters:
        interface = _text(parameters, "interface")
        descriptions = {_SERVICE: _SERVICE_DESCRIPTION, varlink.INTERFACE: self._description}
        if interface not in descriptions:
            raise _VarlinkError(f"{_SERVICE}.InterfaceNotFound", interface=interface)
        return {"description": descriptions[interface]}

    async def _status(self, _: _Parameters) -> _Parameters:
        return {"status": asdict(await self._supervisor.reporter.counted_status())}

    async def _sources(self, _: _Parameters) -> _Parameters:
        return {"sources": [asdict(source) for source in self._supervisor.reporter.sources()]}

    async def _reseed(self, _: _Parameters) -> _Parameters:
        try:
            return asdict(await self._supervisor.reseed())
        except NotEnoughEntropyError as error:
            raise _VarlinkError(
                f"{varlink.INTERFACE}.NotEnoughEntropy", reason=str(error)
            ) from None

    async def _check(self, _: _Parameters) -> _Parameters:
        try:
            return {"passed": await self._supervisor.check(), "tests": [*KNOWN_ANSWERS]}
        except KnownAnswerError as error:
            raise _VarlinkError(
                f"{varlink.INTERFACE}.KnownAnswerFailed", test=error.test
            ) from None

    async def _test_source(self, parameters: _Parameters) -> _Parameters:
        name = _text(parameters, "name")
        try:
            result = await self._supervisor.test_source(name)
        except UnknownSourceError:
            known = [source.name for source in self._supervisor.reporter.sources()]
            raise _VarlinkError(
                f"{varlink.INTERFACE}.UnknownSource", name=name, known=known
            ) from None
        if not result.ran:
            [state] = [
                one.state for one in self._supervisor.reporter.sources() if one.name == name
            ]
            raise _VarlinkError(
                f"{varlink.INTERFACE}.SourceNotReady",
                name=name,
                state=state,
                reason=result.reason,
            )
        return asdict(
            SelfTest(passed=result.passed, samples=result.samples, reason=result.reason)
        )


def _room(descriptors: int) -> int:
    """Connections at a time in a process that may have so many descriptors.

    Twice as many may wait for their turn, so five eighths are for the others: sources,
    workers, connections on their way to one.
    """
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, descriptors // 8))


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close once the peer has taken what is buffered; without it after TAKE_SECONDS."""
    writer.close()
    try:
        async with asyncio.timeout(TAKE_SECONDS):
            await writer.wait_closed()
    except (ConnectionError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()


def _text(parameters: _Parameters, name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str):
        raise _VarlinkError(f"{_SERVICE}.InvalidParameter", parameter=name)
    return value
