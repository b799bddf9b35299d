"""A daemon that turns degraded: who draws from a lease, or directly, is told, once."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwentropy import generator as module
from hwentropy.command.analyze import PIECE
from hwentropy.command.cli import run
from hwentropy.errors import DEGRADED, FailedClosed
from hwentropy.generator import Generator
from hwentropy.lease.drbg import LOOK_NANOSECONDS, SMALL_BYTES
from hwentropy.lease.reservoir import PythonReservoir
from hwentropy_core.page import ServiceState
from hwentropy_core.wire import ReplyFlag, Request, RequestFlag, Status
from support.fake_leases import Leases
from support.fake_server import FakeDaemon, Peer
from support.script import environment

WARNING = "served while degraded: too few healthy sources"


@pytest.fixture
def leases(leases: Leases) -> Leases:
    """Those of a daemon that is well, to begin with."""
    leases.page.state = ServiceState.OK
    return leases


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[int, str]]]:
    """The level and the words of each thing that the generator logged so far."""
    caplog.set_level(logging.INFO, logger=module.__name__)
    return lambda: [(one.levelno, one.getMessage()) for one in caplog.records]


def degrade(leases: Leases) -> None:
    """As the daemon does: the state moves, generation and epoch stay."""
    leases.page.state = ServiceState.DEGRADED
    leases.flags = ReplyFlag.DEGRADED


def recover(leases: Leases) -> None:
    """By a full-strength seed, which is a new generation."""
    leases.page.generation += 1
    leases.page.state = ServiceState.OK
    leases.flags = 0


def test_a_lease_granted_while_degraded_says_so(
    generator: Generator, leases: Leases, told: Any
) -> None:
    """From the first draw on; draws of any size and number log one warning."""
    degrade(leases)
    assert not generator.is_degraded()
    for size in (32, SMALL_BYTES + 1, 1, 100_000):
        generator.random_bytes(size)
        assert generator.is_degraded()
    leases.page.generation += 1  # another lease of the same state
    generator.random_bytes(1)
    ((level, words),) = told()
    assert level == logging.WARNING
    assert WARNING in words
    assert "`hwentropy status`" in words


def test_the_reply_counts_though_the_page_has_moved_on(
    generator: Generator, leases: Leases, told: Any
) -> None:
    """What was granted while degraded was, even where the state is another by now."""
    leases.flags = ReplyFlag.DEGRADED
    generator.random_bytes(1)
    assert generator.is_degraded()
    assert len(told()) == 1


def test_the_page_tells_before_the_next_lease(
    daemon: FakeDaemon, leases: Leases, clock: list[int], told: Any
) -> None:
    """At once to whoever asks, in the log within a second of drawing, without a new lease."""
    generator = Generator(PythonReservoir)
    generator.configure(path=daemon.path)
    generator.random_bytes(1)
    degrade(leases)
    assert generator.is_degraded()
    clock[0] += LOOK_NANOSECONDS - 1
    generator.random_bytes(1)
    assert told() == []
    clock[0] += 1
    for _ in range(3):
        generator.random_bytes(1)
    assert len(told()) == 1
    assert len(leases.seeds) == 2
    generator.close()


def test_a_daemon_that_is_stuck_is_degraded_by_the_clock(
    daemon: FakeDaemon, leases: Leases, clock: list[int]
) -> None:
    """Past the time on the page, which nobody renews, without a word of anybody."""
    leases.page.publish(ServiceState.OK, clock[0] + 100)
    generator = Generator(PythonReservoir)
    generator.configure(path=daemon.path)
    generator.random_bytes(1)
    clock[0] += 99
    assert not generator.is_degraded()
    clock[0] += 1
    assert generator.is_degraded()
    generator.close()


@pytest.mark.parametrize("size", [1, SMALL_BYTES + 1])
def test_a_lease_ends_with_the_time_on_the_page(
    daemon: FakeDaemon, leases: Leases, clock: list[int], size: int
) -> None:
    """Not a byte later, unless the daemon grants another; renewed in time it goes on."""
    leases.page.publish(ServiceState.OK, clock[0] + 50, clock[0] + 100)
    generator = Generator(PythonReservoir)
    generator.configure(path=daemon.path)
    generator.random_bytes(size)
    clock[0] += 99
    generator.random_bytes(size)
    leases.page.publish(ServiceState.DEGRADED, 0, clock[0] + 101)
    clock[0] += 100
    generator.random_bytes(size)
    assert len(leases.seeds) == 2
    leases.status = Status.FAILED_CLOSED
    clock[0] += 1
    for _ in range(2):
        with pytest.raises(FailedClosed):
            generator.random_bytes(size)
    generator.close()


def test_it_ends_with_the_next_seed(generator: Generator, leases: Leases, told: Any) -> None:
    """Said at a level that troubles nobody; the next time is a warning again."""
    degrade(leases)
    generator.random_bytes(1)
    recover(leases)
    generator.random_bytes(1)
    assert not generator.is_degraded()
    degrade(leases)
    leases.page.generation += 1
    generator.random_bytes(1)
    assert [level for level, _ in told()] == [logging.WARNING, logging.INFO, logging.WARNING]
    assert "no longer" in told()[1][1]


@pytest.mark.parametrize("mode", ["direct", "prediction_resistant"])
def test_a_direct_draw_says_so(
    generator: Generator, daemon: FakeDaemon, told: Any, mode: Any
) -> None:
    """As the last reply said it."""
    flags = [int(ReplyFlag.DEGRADED)]

    def answer(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(peer.reply(request, flags[0]))

    daemon.handler = answer
    generator.configure(mode, path=daemon.path)
    for _ in range(3):
        generator.random_bytes(8)
        assert generator.is_degraded()
    flags[0] = 0
    generator.random_bytes(8)
    assert not generator.is_degraded()
    assert [level for level, _ in told()] == [logging.WARNING, logging.INFO]


def test_prediction_resistance_that_is_not_live_is_told(
    generator: Generator, daemon: FakeDaemon
) -> None:
    """Of the last draw, by each size's own way; forgotten when configured anew."""
    flags = [int(ReplyFlag.NOT_LIVE)]

    def answer(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        fresh = request.flags & RequestFlag.PREDICTION_RESISTANCE
        peer.send(peer.reply(request, flags[0] if fresh else 0))

    daemon.handler = answer
    generator.configure("prediction_resistant", path=daemon.path)
    assert not generator.is_not_live()
    for size in (8, 100_000):
        generator.random_bytes(size)
        assert generator.is_not_live()
    flags[0] = 0
    generator.random_bytes(8)
    assert not generator.is_not_live()
    flags[0] = int(ReplyFlag.NOT_LIVE)
    generator.random_bytes(8)
    generator.configure("direct", path=daemon.path)
    assert not generator.is_not_live()
    assert len(generator.random_bytes(8)) == 8
    assert not generator.is_not_live()


def test_a_handler_may_draw(generator: Generator, leases: Leases) -> None:
    """Whoever hears the warning can use the generator at once, and hears it once."""
    drawn = []

    class Drawing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            drawn.append((record.getMessage(), generator.random_bytes(16)))

    handler = Drawing()
    module.log.addHandler(handler)
    try:
        degrade(leases)
        generator.random_bytes(16)
    finally:
        module.log.removeHandler(handler)
    assert len(drawn) == 1


def test_configure_begins_anew(generator: Generator, daemon: FakeDaemon, told: Any) -> None:
    """Another daemon's state is not this one's; its warning is another one."""
    leases = daemon.handler
    assert isinstance(leases, Leases)
    degrade(leases)
    generator.random_bytes(1)
    generator.configure(path=daemon.path)
    assert not generator.is_degraded()
    generator.random_bytes(1)
    assert [level for level, _ in told()] == [logging.WARNING] * 2


@pytest.mark.parametrize(
    "command",
    [
        ["token"],
        ["token", "--json"],
        ["int", "1", "6", "--count", "50"],
        ["choose", "a", "b"],
        ["choose", "--distinct", "a", "b"],
        ["password"],
        ["passphrase", "--json"],
        ["uuid"],
        ["apikey"],
        ["salt"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("degraded", [True, False], ids=["degraded", "ok"])
def test_a_command_warns_as_get_does(
    *,
    command: list[str],
    degraded: bool,
    daemon: FakeDaemon,
    leases: Leases,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The values on standard output, one warning on standard error, exit code 0."""
    if degraded:
        degrade(leases)
    try:
        assert run(["--runtime-dir", str(daemon.directory), *command]) == 0
    finally:
        module.configure()
    out, err = capfd.readouterr()
    assert out
    assert err.startswith(f"hwentropy: warning: {WARNING}") is degraded
    assert err.count("\n") == degraded


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_shuffle_warns_too(
    options: list[str],
    daemon: FakeDaemon,
    leases: Leases,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Though it has drawn everything before the first line goes out."""
    degrade(leases)
    lines = tmp_path / "lines"
    lines.write_text("a\nb\nc\n")
    with lines.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        try:
            assert run(["--runtime-dir", str(daemon.directory), "shuffle", *options]) == 0
        finally:
            module.configure()
    out, err = capfd.readouterr()
    assert len(out.split()) >= 3
    assert err.startswith(f"hwentropy: warning: {WARNING}")
    assert err.count("\n") == 1


def test_a_command_warns_of_the_middle(
    daemon: FakeDaemon,
    leases: Leases,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Degraded for some of its values only, and well again when it ends."""
    states = iter([False, True, False])
    monkeypatch.setattr(module, "is_degraded", lambda: next(states))
    try:
        assert run(["--runtime-dir", str(daemon.directory), "token", "--count", "3"]) == 0
    finally:
        module.configure()
    out, err = capfd.readouterr()
    assert len(leases.seeds) == 2
    assert len(out.split()) == 3
    assert WARNING in err


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("degraded", [(), (0,), (1,), (0, 1, 2)], ids=str)
def test_live_analysis_warns_too(
    *,
    degraded: tuple[int, ...],
    options: list[str],
    daemon: FakeDaemon,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Once, as get does, whichever of the pieces it was; the analysis is as ever."""
    served = iter(range(3))

    def answer(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(peer.reply(request, ReplyFlag.DEGRADED if next(served) in degraded else 0))

    daemon.handler = answer
    start = ["--runtime-dir", str(daemon.directory), "analyze", "--live", str(3 * PIECE)]
    assert run([*start, *options]) < 2
    out, err = capfd.readouterr()
    assert len(daemon.handed_out) == 3 * PIECE
    assert "Passing proves little" in out
    assert err == ("hwentropy: warning: " + DEGRADED + "\n" if degraded else "")


def test_the_log_does_not_say_it_twice(daemon: FakeDaemon, leases: Leases) -> None:
    """A process of its own, where Python prints warnings that nobody handles."""
    degrade(leases)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hwentropy", "--runtime-dir", str(daemon.directory)),
            *("token", "--count", "20"),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 20)
    assert done.stderr.startswith(f"hwentropy: warning: {WARNING}")
    assert done.stderr.count("\n") == 1
