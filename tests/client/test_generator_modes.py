"""`configure`: modes, the fallback, and what a change of them leaves behind."""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwentropy import (
    DaemonUnavailable,
    FailedClosed,
    NotPermitted,
    OverQuota,
    ProtocolError,
    Timeout,
    secrets,
)
from hwentropy import (
    generator as module,
)
from hwentropy.generator import Generator, Mode
from hwentropy.lease.drbg import BLOCK_BYTES, SMALL_BYTES
from hwentropy_core.page import ServiceState
from hwentropy_core.wire import Op, Request, RequestFlag, Status, encode_reply
from support.fake_leases import Leases
from support.fake_server import FakeDaemon, Peer, honest

#: Seconds that an answer may take on a busy machine.
PATIENCE = 30.0


@pytest.fixture
def generator(daemon: FakeDaemon, leases: Leases) -> Iterator[Generator]:
    """One generator on the fake daemon."""
    made = Generator()
    made.configure(path=daemon.path)
    yield made
    made.close()


def kernel(mocker: Any) -> Any:
    """A spy on the generator's calls of os.urandom, and nobody else's."""
    spy = mocker.Mock(wraps=os.urandom)
    seen = SimpleNamespace(urandom=spy, getpid=os.getpid, fspath=os.fspath)
    mocker.patch.object(module, "os", seen)
    return spy


def reads(daemon: FakeDaemon) -> list[Request]:
    """The READs that the daemon had."""
    requests = [one for _, one in daemon.requests if isinstance(one, Request)]
    return [one for one in requests if one.op is Op.READ]


@pytest.mark.parametrize(
    ("mode", "flags"),
    [("direct", RequestFlag(0)), ("prediction_resistant", RequestFlag.PREDICTION_RESISTANCE)],
)
def test_every_draw_is_a_round_trip(
    generator: Generator,
    daemon: FakeDaemon,
    leases: Leases,
    mode: Mode,
    flags: RequestFlag,
) -> None:
    """Just the bytes that the daemon sent for it, with the mode's flag, and no lease."""
    generator.random_bytes(1)
    granted = len(leases.seeds)
    generator.configure(mode, path=daemon.path)
    for size in (1, 32, 5000, 3_000_000):
        before = len(daemon.handed_out)
        assert generator.take(size) is None
        assert generator.random_bytes(size) == daemon.handed_out[before:]
        before = len(daemon.handed_out)
        buffer = bytearray(size)
        generator.fill(buffer)
        assert buffer == daemon.handed_out[before:]
    assert {request.flags for request in reads(daemon)} == {flags}
    assert len(leases.seeds) == granted


def test_no_request_for_no_bytes(generator: Generator, daemon: FakeDaemon) -> None:
    """An empty draw asks for nothing in any mode."""
    for mode in module._MODES:
        generator.configure(mode, path=daemon.path)
        assert generator.random_bytes(0) == b""
        generator.fill(bytearray())
    assert not daemon.requests


@pytest.mark.parametrize("mode", ["lease", "direct", "prediction_resistant"])
def test_there_is_no_silent_fallback(
    mode: Mode, tmp_path: Path, mocker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a daemon and without leave: DaemonUnavailable, and the kernel is not asked."""
    urandom = kernel(mocker)
    generator = Generator()
    generator.configure(mode, path=tmp_path / "nobody.sock")
    for size in (1, 32, SMALL_BYTES + 1):
        assert generator.take(size) is None
        with pytest.raises(DaemonUnavailable):
            generator.random_bytes(size)
        buffer = bytearray(b"\xaa" * size)
        with pytest.raises(DaemonUnavailable):
            generator.fill(buffer)
        assert not any(buffer)
    assert not urandom.called
    assert not caplog.records


@pytest.mark.parametrize("mode", ["lease", "direct", "prediction_resistant"])
def test_the_fallback_is_the_operating_system(
    mode: Mode,
    daemon: FakeDaemon,
    leases: Leases,
    mocker: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once an outage, and once when the daemon is there again."""
    generator = Generator()
    generator.configure(mode, path=daemon.path, fallback="os")
    daemon.stop()
    caplog.set_level(logging.INFO)
    urandom = kernel(mocker)
    for outage in (1, 2):
        urandom.reset_mock()
        drawn = {generator.random_bytes(32) for _ in range(5)}
        large = generator.random_bytes(20_000_000)
        assert len(drawn) == 5
        # In pieces, so that no copy of all of it is made.
        assert [call.args[0] for call in urandom.call_args_list] == [
            *([32] * 5),
            16 * 1024 * 1024,
            20_000_000 - 16 * 1024 * 1024,
        ]
        assert len(large) == 20_000_000
        assert any(large[-16:])
        said = [record.getMessage() for record in caplog.records]
        assert sum("drawing from the operating system" in one for one in said) == outage
        assert sum("again" in one for one in said) == outage - 1
        assert str(daemon.path) in said[-1]
        daemon.start()
        urandom.reset_mock()
        for _ in range(3):
            generator.random_bytes(32)
        assert not urandom.called
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2 * outage
        assert "again" in said[-1]
        daemon.stop()
        leases.page.generation += 1
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    generator.close()


def test_the_fallback_waits_for_the_end_of_the_lease(
    daemon: FakeDaemon, leases: Leases, mocker: Any
) -> None:
    """While the lease is good the kernel is not asked; when it has ended it is."""
    leases.max_bytes = 1000
    generator = Generator()
    generator.configure(path=daemon.path, fallback="os")
    generator.random_bytes(500)
    daemon.stop()
    urandom = kernel(mocker)
    generator.random_bytes(500)
    assert not urandom.called
    # Whole, not a lease's rest and a kernel's beginning.
    generator.random_bytes(100)
    urandom.assert_called_once_with(100)
    generator.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(Status.FAILED_CLOSED, FailedClosed), (Status.OVER_QUOTA, OverQuota)],
)
def test_the_fallback_does_not_hide_a_refusal(
    daemon: FakeDaemon,
    leases: Leases,
    mocker: Any,
    status: Status,
    error: type[Exception],
    pauses: list[float],
) -> None:
    """A daemon that says no is no outage: its exception comes through."""
    urandom = kernel(mocker)
    generator = Generator()
    generator.configure(path=daemon.path, fallback="os")
    generator.random_bytes(1)
    leases.status = status
    leases.page.state = ServiceState.FAILED
    with pytest.raises(error):
        generator.random_bytes(1)
    assert not urandom.called
    generator.close()


def test_the_fallback_does_not_hide_nonsense(
    daemon: FakeDaemon, leases: Leases, mocker: Any
) -> None:
    """Nor a ProtocolError or a Timeout."""
    urandom = kernel(mocker)
    generator = Generator()
    generator.configure(path=daemon.path, fallback="os", timeout=0.05)
    leases.payload = b"short"
    with pytest.raises(ProtocolError):
        generator.random_bytes(1)
    release = threading.Event()

    def wait() -> None:
        release.wait(PATIENCE)

    leases.before = wait
    with pytest.raises(Timeout):
        generator.random_bytes(1)
    release.set()
    assert not urandom.called
    generator.close()


def test_the_fallback_ends_with_the_next_configure(daemon: FakeDaemon) -> None:
    """It holds for one `configure`: each sets everything anew."""
    generator = Generator()
    daemon.stop()
    generator.configure(path=daemon.path, fallback="os")
    assert len(generator.random_bytes(8)) == 8
    generator.configure(path=daemon.path)
    with pytest.raises(DaemonUnavailable):
        generator.random_bytes(8)


def test_configure_forgets_the_lease(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """Not one byte of it is given afterwards, in any mode."""
    generator.random_bytes(1)
    block = generator._leased.reservoir.block
    for mode in module._MODES:
        generator.configure(mode, path=daemon.path)
        assert generator.take(1) is None
        assert not any(block[64:])
    generator.configure(path=daemon.path)
    generator.random_bytes(1)
    # Two requests for each connection's first lease.
    assert len(leases.seeds) == 4
    assert daemon.connections == 2


def test_a_draw_under_way_takes_the_new_mode(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """A thread that waits for a lease when the mode becomes direct leaves no lease behind."""
    asked, release = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert release.wait(PATIENCE)

    leases.before = wait
    got: list[bytes] = []
    first = threading.Thread(target=lambda: got.append(generator.random_bytes(8)))
    first.start()
    assert asked.wait(PATIENCE)
    others = [
        threading.Thread(target=lambda: got.append(generator.random_bytes(8))) for _ in range(4)
    ]
    change = threading.Thread(
        target=generator.configure, args=("direct",), kwargs={"path": daemon.path}
    )
    for thread in (*others, change):
        thread.start()
    release.set()
    for thread in (first, *others, change):
        thread.join(PATIENCE)
    assert len(set(got)) == 5
    assert generator.take(1) is None
    assert not any(generator._leased.reservoir.block[64:])


def test_a_direct_call_under_way_survives_a_configure(
    generator: Generator, daemon: FakeDaemon, leases: Leases
) -> None:
    """A thread that waits for its reply gets its bytes by the new settings, no error."""
    asked, release = threading.Event(), threading.Event()

    def wait(peer: Peer, request: Any) -> None:
        if not asked.is_set():
            asked.set()
            assert release.wait(PATIENCE)
        honest(peer, request)

    generator.configure("direct", path=daemon.path)
    daemon.handler = wait
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(generator.random_bytes(8)))
    thread.start()
    assert asked.wait(PATIENCE)
    generator.configure("direct", path=daemon.path)
    thread.join(PATIENCE)
    release.set()
    assert [bytes(daemon.handed_out[:8])] == got


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "fast"},
        {"mode": ""},
        {"mode": None},
        {"fallback": "random"},
        {"fallback": ""},
        {"timeout": 0},
        {"timeout": -1.5},
    ],
)
def test_settings_that_there_are_not(generator: Generator, wrong: dict[str, Any]) -> None:
    """ValueError, and nothing changes."""
    generator.random_bytes(1)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        generator.configure(**wrong)
    assert generator.take(1) is not None


def test_a_socket_that_is_closed_to_us(generator: Generator, mocker: Any) -> None:
    """NotPermitted comes through, fallback or not."""
    mocker.patch("socket.socket.connect", side_effect=PermissionError(13, "no"))
    for fallback in (None, "os"):
        generator.configure(fallback=fallback)
        with pytest.raises(NotPermitted):
            generator.random_bytes(1)


def test_a_relative_path_and_the_environment(
    daemon: FakeDaemon, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path the daemon is where every client looks for it, now."""
    generator = Generator()
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(daemon.directory / "nowhere"))
    with pytest.raises(DaemonUnavailable):
        generator.random_bytes(1)
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(daemon.directory))
    assert len(generator.random_bytes(5)) == 5
    generator.close()


def test_the_module_has_one_generator(daemon: FakeDaemon, leases: Leases) -> None:
    """`configure`, `random_bytes`, `fill`, `take` and hwentropy.secrets draw from the same."""
    module.configure(path=daemon.path)
    try:
        module.random_bytes(1)
        assert module.take(1) is not None
        buffer = bytearray(16)
        module.fill(buffer)
        assert any(buffer)
        assert len(secrets.token_bytes(BLOCK_BYTES)) == BLOCK_BYTES
        assert len(leases.seeds) == 2
        module.configure("direct", path=daemon.path)
        assert module.take(1) is None
        before = len(daemon.handed_out)
        assert secrets.token_bytes(16) == daemon.handed_out[before:]
    finally:
        module.configure()


def test_a_direct_daemon_that_fails_closed(generator: Generator, daemon: FakeDaemon) -> None:
    """FailedClosed at the very call, zeros in the buffer."""
    generator.configure("direct", path=daemon.path)

    def failed(peer: Peer, request: Any) -> None:
        peer.send(encode_reply(Status.FAILED_CLOSED, request.tag))

    daemon.handler = failed
    buffer = bytearray(b"\xaa" * 16)
    with pytest.raises(FailedClosed):
        generator.fill(buffer)
    assert not any(buffer)
