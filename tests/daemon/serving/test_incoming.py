"""A connection on its way to a worker: what the worker is told of it."""

import socket

from hwentropyd.channel import Assign
from hwentropyd.role import Role
from hwentropyd.serving.identity import Peer, ShareKey
from hwentropyd.serving.incoming import Incoming
from hwentropyd.serving.shares import Admission, Allowance, Shares


def incoming(allowance: Allowance, ended: list[Admission]) -> Incoming:
    """One of user 1,000, over a socket of its own."""
    admission = Shares(100, 64 << 20).admit(ShareKey(1000), allowance, operator=False)
    assert admission
    return Incoming(
        socket.socket(socket.AF_UNIX),
        Role.STREAM,
        Peer(1000, 1001, 4711),
        admission,
        may_have_fresh=False,
        admit_fresh=lambda _: True,
        ended=ended.append,
    )


def test_a_worker_is_told_whose_it_is_and_what_it_may_have() -> None:
    """The peer's identity, its share's number, its rates."""
    ended: list[Admission] = []
    one = incoming(Allowance(requests_per_second=3, bytes_per_second=4), ended)
    with one.sock:
        user = one.admission.user
        assert one.assign(7) == Assign(7, Role.STREAM, user, 1000, 1001, 4711, False, 3, 4, 0)


def test_one_that_no_worker_takes_is_closed_and_over() -> None:
    """Its share is given back, once."""
    ended: list[Admission] = []
    one = incoming(Allowance(), ended)
    one.turn_away()
    assert one.sock.fileno() == -1
    assert ended == [one.admission]
