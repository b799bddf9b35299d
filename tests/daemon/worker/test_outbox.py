"""Messages to a supervisor that does not read: nobody waits, none is lost or overtaken."""

import socket
from collections.abc import Iterator

import pytest

from hwentropyd.channel import MESSAGE_BYTES, Closed, decode
from hwentropyd.worker.outbox import Outbox
from support.raw_client import PATIENCE

#: Some ten times what the channel takes at once (net.core.wmem_default / 768).
MANY = 3000


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's end and the supervisor's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.settimeout(PATIENCE)
        yield ours, theirs


def test_all_arrive_in_their_order(channel: tuple[socket.socket, socket.socket]) -> None:
    """Those that the channel did not take come behind those that it did."""
    ours, theirs = channel
    outbox = Outbox(ours)
    for number in range(MANY):
        outbox.send(Closed(number))
    assert outbox.blocked
    assert [decode(theirs.recv(MESSAGE_BYTES)) for _ in range(MANY)] == [
        Closed(number) for number in range(MANY)
    ]


def test_a_supervisor_that_is_gone_is_nobodys_trouble(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """Nothing is raised, and nothing waits for ever."""
    ours, theirs = channel
    outbox = Outbox(ours)
    theirs.close()
    outbox.send(Closed(1))
    assert not outbox.blocked
