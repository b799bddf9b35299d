"""A worker's end of its channel in the test's own hands: no process behind it.

What a worker would receive and say is read and written here, byte by byte.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hwentropyd import channel
from hwentropyd.channel import Fresh
from hwentropyd.child import Child
from hwentropyd.serving.worker_handle import WorkerHandle

PATIENCE = 20.0


class FakeWorker:
    """A worker's end of its channel, and the template's of its report."""

    def __init__(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        (ours, self.sock), (reports, self.report) = pairs
        for sock in (ours, reports, self.sock):
            sock.setblocking(False)
        self.child = Child(cast("Any", self), ours, reports)
        self.killed = False
        self.answered = True
        """Of the template: whether it has forked before."""

    def kill(self) -> None:
        """What `Child.kill` comes to where no process is known."""
        self.killed = True

    def failure(self) -> str:
        """Of the template."""
        return "as told"

    def say(self, message: channel.Message) -> None:
        """As the worker would."""
        self.sock.send(message.encode())

    def heard(self) -> list[channel.Message]:
        """All that has come since."""
        messages: list[channel.Message] = []
        while True:
            try:
                messages.append(channel.decode(self.sock.recv(channel.MESSAGE_BYTES)))
            except BlockingIOError:
                return messages

    def close(self) -> None:
        """All ends."""
        for sock in (self.sock, self.report, self.child.sock, self.child.report):
            sock.close()


def run(talk: Callable[[], Awaitable[None]]) -> None:
    """In an event loop."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await talk()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until a condition holds."""
    while not condition():
        await asyncio.sleep(0.001)


def fill(worker: WorkerHandle) -> int:
    """Send numbered messages until some have to wait; how many there are."""
    for number in range(5_000):
        worker.send(Fresh(number, met=True, live=True))
        if worker.waiting >= 5:
            return number + 1
    raise AssertionError("none waits: the channel holds some hundred")
