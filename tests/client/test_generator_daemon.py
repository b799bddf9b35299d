"""The generator on a real daemon: reseeds, failing closed, stops, restarts, limits."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwentropy import DaemonUnavailable, FailedClosed, Timeout
from hwentropy.generator import Generator
from hwentropy.lease.drbg import BLOCK_BYTES, SMALL_BYTES
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
from support import forked_children
from support.daemon import ONLY_OS, PATIENCE, Daemon, only
from support.needed import needs
from support.script import environment
from support.swtpm import SoftwareTpm, missing_swtpm

pytestmark = pytest.mark.process

with_tpm = needs(missing_swtpm())

#: No reseed but those that a test asks for.
CALM = ONLY_OS + "[pool]\nreseed_seconds = 3600\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    """A daemon that is only drawn from."""
    with Daemon(CALM) as daemon:
        yield daemon
        daemon.check()


@pytest.fixture(params=[make_reservoir, PythonReservoir], ids=["c", "python"])
def generator(request: pytest.FixtureRequest) -> Iterator[Generator]:
    """One generator, not configured yet."""
    made = Generator(request.param)
    yield made
    made.close()


def granted_generation(generator: Generator) -> int:
    """The generation that the lease in force says it is of."""
    granted = generator._leased._granted
    assert granted is not None
    return granted.lease.generation


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not {what} in {PATIENCE} s"


def raises(error: type[Exception], draw: Callable[[], object]) -> bool:
    """Whether a draw ends so; any other exception is the test's."""
    try:
        draw()
    except error:
        return True
    return False


def test_draws_of_all_sizes(served: Daemon, generator: Generator) -> None:
    """On one lease, all different, of the size that was asked for."""
    generator.configure(path=served.entropy)
    drawn = []
    for size in (16, 100, 4096, SMALL_BYTES, SMALL_BYTES + 1, 3 * BLOCK_BYTES, 40_000_000):
        for _ in range(2):
            out = generator.random_bytes(size)
            assert len(out) == size
            drawn.append(out[-16:])
    drawn += [generator.random_bytes(16) for _ in range(20_000)]
    assert len(set(drawn)) == len(drawn)
    assert granted_generation(generator) == served.generation()


def test_leases_of_one_generation_differ(served: Daemon) -> None:
    """Fifty generators in one generation: no byte string twice, also of the same position."""
    drawn = set()
    for _ in range(50):
        generator = Generator()
        generator.configure(path=served.entropy)
        drawn |= {generator.random_bytes(16) for _ in range(10)}
        generator.close()
    assert len(drawn) == 500


def test_a_reseed_reaches_the_next_draw(generator: Generator) -> None:
    """When Reseed has returned, not one more byte is of the old generation."""
    with Daemon(CALM) as daemon:
        generator.configure(path=daemon.entropy)
        generator.random_bytes(1)
        for _ in range(20):
            generation = daemon.call("Reseed")["generation"]
            assert generator.take(1) is None
            generator.random_bytes(1)
            assert granted_generation(generator) >= generation
        daemon.check()


def test_prediction_resistance_is_a_reseed_for_every_draw(
    served: Daemon, generator: Generator
) -> None:
    """The generation moves between two draws; in direct mode it does not."""
    generator.configure("direct", path=served.entropy)
    before = served.generation()
    drawn = [generator.random_bytes(32) for _ in range(5)]
    assert served.generation() == before
    generator.configure("prediction_resistant", path=served.entropy)
    for _ in range(5):
        drawn.append(generator.random_bytes(32))
        after = served.generation()
        assert after > before
        before = after
    assert len(set(drawn)) == 10


@pytest.mark.parametrize("mode", ["lease", "direct", "prediction_resistant"])
def test_before_the_first_seed(generator: Generator, mode: Any) -> None:
    """A draw waits; with a timeout it is a Timeout, and no byte is given."""
    config = ONLY_OS + "[sources.os]\ncredit = false\ndeadline = 0.1\n"
    with Daemon(config, wait=False) as daemon:
        daemon.wait_until_reachable()
        daemon.wait_for_source("os", "healthy")
        generator.configure(mode, path=daemon.entropy, timeout=0.2)
        buffer = bytearray(b"\xaa" * 16)
        for _ in range(2):
            with pytest.raises(Timeout):
                generator.fill(buffer)
            assert not any(buffer)
            assert generator.take(1) is None
        daemon.check_log()


@with_tpm
def test_failing_closed_stops_the_lease_at_once(generator: Generator, tmp_path: Path) -> None:
    """FailedClosed with minutes of the lease left; bytes again after the next seed."""
    tpm = SoftwareTpm(tmp_path / "tpm")
    tpm.start()
    config = (
        only("tpm2")
        + f'[sources.tpm2]\ntcti = "{tpm.tcti}"\ndeadline = 2\n'
        + "[pool]\npoll_seconds = 0.2\nreseed_seconds = 3600\ndegraded_seconds = 0\n"
    )
    try:
        with Daemon(config) as daemon:
            generator.configure(path=daemon.entropy)
            generator.random_bytes(1)
            tpm.kill()
            daemon.wait_for_state("failed")
            # Said after the page was written: not one more byte.
            assert generator.take(1) is None
            for _ in range(3):
                with pytest.raises(FailedClosed):
                    generator.random_bytes(1)
            tpm.start()
            daemon.wait_for_state("ok")
            until(lambda: not raises(FailedClosed, lambda: generator.random_bytes(1)), "served")
            assert granted_generation(generator) == daemon.generation()
            daemon.check()
    finally:
        tpm.close()


@with_tpm
def test_degraded_service_is_told_to_who_draws(
    generator: Generator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Within seconds, on the lease that they have; over with the next seed; bytes all along."""
    tpm = SoftwareTpm(tmp_path / "tpm")
    tpm.start()
    config = (
        only("tpm2")
        + f'[sources.tpm2]\ntcti = "{tpm.tcti}"\ndeadline = 2\n'
        + "[pool]\npoll_seconds = 0.2\nreseed_seconds = 3600\ndegraded_seconds = 3600\n"
    )

    def logged() -> int:
        generator.random_bytes(16)
        return len(caplog.records)

    try:
        with Daemon(config) as daemon:
            generator.configure(path=daemon.entropy)
            generator.random_bytes(1)
            assert not generator.is_degraded()
            tpm.kill()
            daemon.wait_for_state("degraded")
            assert generator.is_degraded()
            until(lambda: logged() == 1, "warned")
            assert "served while degraded" in caplog.text
            tpm.start()
            daemon.wait_for_state("ok")
            generator.random_bytes(1)
            assert not generator.is_degraded()
            assert logged() == 1
            daemon.check()
    finally:
        tpm.close()


def test_a_killed_daemon_is_outlived_by_the_seconds(generator: Generator) -> None:
    """Draws go on for lease_seconds, then DaemonUnavailable; a new daemon ends that."""
    with Daemon(CALM + "[server]\nlease_seconds = 3\n") as daemon:
        generator.configure(path=daemon.entropy)
        generator.random_bytes(1)
        began = time.monotonic()
        daemon.kill()
        count = 0
        while not raises(DaemonUnavailable, lambda: generator.random_bytes(64)):
            count += 1
            assert time.monotonic() < began + PATIENCE
        lasted = time.monotonic() - began
        # The lease is at most a moment older than `began`.
        assert 2 < lasted < PATIENCE / 2
        assert count > 1000
        for size in (1, SMALL_BYTES + 1):
            with pytest.raises(DaemonUnavailable):
                generator.random_bytes(size)
        daemon.start()
        daemon.wait_until_settled()
        assert len(generator.random_bytes(16)) == 16
        daemon.check()


def test_a_lease_ends_with_its_bytes(generator: Generator) -> None:
    """Of lease_bytes = 1 MiB the last one is given without a daemon, and none after it."""
    limit = 1 << 20
    with Daemon(CALM + f"[server]\nlease_bytes = {limit}\n") as daemon:
        generator.configure(path=daemon.entropy)
        total = len(generator.random_bytes(32))
        daemon.stop()
        while not raises(DaemonUnavailable, lambda: generator.random_bytes(32)):
            total += 32
            assert total <= limit
        # The rest of each block that the next draw did not fit in.
        assert total > limit - 32 * (limit // BLOCK_BYTES + 2) - 32


def test_a_restart_is_noticed_by_whoever_draws(generator: Generator) -> None:
    """A lease of the new daemon within seconds, no error, though the old one is good."""
    with Daemon(CALM) as daemon:
        generator.configure(path=daemon.entropy)
        generator.random_bytes(1)
        old = generator._leased._granted
        assert old is not None
        daemon.kill()
        daemon.start()
        daemon.wait_until_settled()

        def noticed() -> bool:
            generator.random_bytes(16)
            granted = generator._leased._granted
            return granted is not None and granted.page is not old.page

        until(noticed, "noticed")
        daemon.call("Reseed")
        assert generator.take(1) is None
        generator.random_bytes(1)
        assert granted_generation(generator) == daemon.generation()
        daemon.check()


def test_two_thousand_children(served: Daemon) -> None:
    """Forked children that draw 16 bytes: no two are alike (100,000 in the system tests)."""
    done = subprocess.run(
        [sys.executable, forked_children.__file__, str(served.entropy), "2000"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, different = map(int, done.stdout.split())
    assert count == different
    assert count > 2000
