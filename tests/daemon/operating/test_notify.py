"""systemd's readiness protocol and socket activation."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropyd.operating.notify import Notifier, inherited_sockets


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def test_fields_are_lines_of_one_datagram(manager: socket.socket) -> None:
    """As sd_notify(3) says."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.send(READY="1", STATUS="ok, generation 1")
    assert manager.recv(4096) == b"READY=1\nSTATUS=ok, generation 1"


def test_an_abstract_address_begins_with_a_null(tmp_path: Path) -> None:
    """`@` in the environment stands for it."""
    name = f"hwentropy-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.setblocking(False)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).send(WATCHDOG="1")
        assert sock.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_is_sent(mocker: MockerFixture) -> None:
    """Nor is a socket made."""
    made = mocker.patch("hwentropyd.operating.notify.socket.socket")
    Notifier({}).send(READY="1")
    made.assert_not_called()


def test_a_manager_that_has_gone_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the daemon goes on."""
    with caplog.at_level(logging.WARNING):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(READY="1")
    assert "the service manager" in caplog.text


def test_a_manager_that_does_not_read_holds_nothing_up(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Its queue is full: the event loop must not wait for it."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    with caplog.at_level(logging.WARNING):
        # Ten times net.unix.max_dgram_qlen's usual 10 (systemd sets 512).
        queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for _ in range(queue + 10):
            notifier.send(WATCHDOG="1")
            if caplog.text:
                break
    assert "the service manager" in caplog.text
    manager.recv(100)
    caplog.clear()
    notifier.send(WATCHDOG="1")
    assert not caplog.text


def test_the_environment_is_used_up(manager: socket.socket) -> None:
    """A process that the daemon starts must not speak for it."""
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "a",
        "OTHER": "x",
    }
    Notifier(environ)
    inherited_sockets(environ)
    assert environ == {"OTHER": "x"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(
    environ: dict[str, str], seconds: float | None
) -> None:
    """sd_watchdog_enabled(3): WATCHDOG_PID, where it is set, has to be this process."""
    assert Notifier(environ).watchdog_seconds == seconds


@pytest.mark.parametrize("limit", [2.0, 20.0, 60.0])
def test_the_watchdog_is_fed_twice_within_its_limit(
    limit: float, manager: socket.socket
) -> None:
    """sd_watchdog_enabled(3): every half of it; not at every call, which would say nothing."""
    usec = str(int(limit * 1e6))
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": usec})
    fed = []
    for tick in range(1000):
        notifier.keep_alive(tick * 0.5, 0.5)
        try:
            assert manager.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            continue
        fed.append(tick * 0.5)
    gaps = {later - earlier for earlier, later in pairwise(fed)}
    assert fed[0] == 0.0
    assert gaps
    assert limit / 4 <= min(gaps) <= max(gaps) <= limit / 2


def test_without_a_watchdog_nobody_is_fed(manager: socket.socket) -> None:
    """A manager that set no limit hears nothing of it."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.keep_alive(100.0, 0.5)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_a_status_is_said_once(manager: socket.socket) -> None:
    """Again only when it is another."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for status in ("starting", "starting", "ok", "ok", "starting"):
        notifier.show(status)
    said = [manager.recv(100) for _ in range(3)]
    assert said == [b"STATUS=starting", b"STATUS=ok", b"STATUS=starting"]
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"},
    ],
)
def test_somebody_elses_sockets_are_left_alone(
    environ: dict[str, str], mocker: MockerFixture
) -> None:
    """sd_listen_fds(3): LISTEN_PID has to be this process; no descriptor is touched."""
    touched = mocker.patch("hwentropyd.operating.notify.os.set_inheritable")
    assert inherited_sockets(environ) == []
    touched.assert_not_called()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("entropy:control", [("entropy", 3), ("control", 4)]),
        ("entropy", [("entropy", 3), ("", 4)]),
        ("", [("", 3), ("", 4)]),
        ("a:b:c", [("a", 3), ("b", 4)]),
    ],
)
def test_sockets_come_with_their_names(
    names: str, expected: list[tuple[str, int]], mocker: MockerFixture
) -> None:
    """From descriptor 3 on, none of them kept open by a process that is started."""
    touched = mocker.patch("hwentropyd.operating.notify.os.set_inheritable")
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": names}
    assert inherited_sockets(environ) == expected
    assert [call.args for call in touched.call_args_list] == [(3, False), (4, False)]
