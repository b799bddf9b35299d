"""What the log is told of a refusal: which socket or right it was, and where it is set."""

import logging
import socket
from collections.abc import Iterator

import pytest

from hwentropyd.config.principals import Principal
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
        (
            3,
            0,
            "asks for more than it may have ([limits] leases_per_second): requests are refused",
        ),
        (0, 2, "may not ask for fresh entropy ([access] prediction_resistance): "),
    ],
)
def test_a_refused_request_is_told_by_its_reason(
    over_quota: int, not_permitted: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Too much is one thing, not permitted another."""
    caplog.set_level(logging.WARNING)
    shares = Shares(100, 64 << 20)
    admission = shares.admit(ShareKey(7), Allowance(leases_per_second=1), operator=False)
    assert admission
    gate_of(shares).note_refused(admission.user, over_quota, not_permitted)
    (line,) = caplog.messages
    assert line.startswith(f"uid 7: {said}")


def test_a_refused_connection_is_told_with_the_keys_to_change(
    pair: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether connections or the memory for replies were used up."""
    monkeypatch.setattr(identity, "of", lambda _: Peer(4711, 4711, 1, cgroup="/user.slice"))
    everybody = (Principal("everybody"),)
    rules = Rules(Access(everybody, everybody, everybody), LimitsConfig(), (), None)
    gate = Gate(Shares(0, 64 << 20), rules, lambda: 0.0)
    assert gate.admit(pair[0], Role.ENTROPY) is None
    assert "([limits] connections, unread_bytes): another connection is refused" in caplog.text


def test_refused_fresh_entropy_is_told_with_its_key(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """It has a rate of its own, which the supervisor holds."""
    everybody = (Principal("everybody"),)
    limits = LimitsConfig(fresh_per_second=1)
    rules = Rules(Access(everybody, everybody, everybody), limits, (), None)
    gate = Gate(Shares(100, 64 << 20), rules, lambda: 0.0)
    incoming = gate.admit(pair[0], Role.ENTROPY)
    assert incoming
    assert [incoming.admit_fresh(incoming.admission) for _ in range(2)] == [True, False]
    assert "may have ([limits] fresh_per_second): requests are refused" in caplog.text
