"""What the log is told of a refusal: which socket or right it was, and where it is set."""

import logging
import socket
from collections.abc import Iterator

import pytest

from hwentropyd.config.schema import Access, LimitsConfig
from hwentropyd.role import Role
from hwentropyd.serving import identity
from hwentropyd.serving.access import Rules
from hwentropyd.serving.gate import Gate
from hwentropyd.serving.identity import Peer, ShareKey
from hwentropyd.serving.shares import Allowance, Shares


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of this process with itself."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def gate_of(shares: Shares) -> Gate:
    """One that permits nobody anything."""
    return Gate(shares, Rules(Access((), (), ()), LimitsConfig(), (), None), lambda: 0.0)


@pytest.mark.parametrize("role", [Role.ENTROPY, Role.STREAM])
def test_a_socket_that_is_not_permitted_is_named(
    role: Role,
    pair: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the key of the configuration that says so."""
    somebody = Peer(4711, 4711, 1, cgroup="/user.slice")
    monkeypatch.setattr(identity, "of", lambda _: somebody)
    assert gate_of(Shares(100, 64 << 20)).admit(pair[0], role) is None
    assert f"may not use {role}.sock ([access] {role}): a connection is refused" in caplog.text


@pytest.mark.parametrize(
    ("over_quota", "not_permitted", "said"),
    [
        (3, 0, "asks for more than it may have: requests are refused"),
        (0, 2, "may not ask for fresh entropy ([access] prediction_resistance): "),
    ],
)
def test_a_refused_request_is_told_by_its_reason(
    over_quota: int, not_permitted: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Too much is one thing, not permitted another."""
    caplog.set_level(logging.WARNING)
    shares = Shares(100, 64 << 20)
    admission = shares.admit(ShareKey(7), Allowance(), operator=False)
    assert admission
    gate_of(shares).note_refused(admission.user, over_quota, not_permitted)
    (line,) = caplog.messages
    assert line.startswith(f"uid 7: {said}")
