"""A real daemon before its first seed, when it reseeds, and when its sources vanish."""

import random
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import ONLY_OS, Daemon, only
from support.needed import needs
from support.plugins import Plugins
from support.raw_client import (
    DEGRADED,
    DONT_BLOCK,
    FAILED_CLOSED,
    LEASE,
    MAX_READ,
    NOT_LIVE,
    NOT_SEEDED,
    OK,
    PREDICTION_RESISTANCE,
    READ,
    CallError,
    Reply,
    ask,
    info,
    is_closed,
    read_reply,
    send_request,
)
from support.swtpm import SoftwareTpm, missing_swtpm

pytestmark = pytest.mark.process

with_tpm = needs(missing_swtpm())

#: Bits that the kernel's generator holds, and those of a TPM: less than a seed's 320.
HELD = 256


def tpm_config(tpm: SoftwareTpm, *others: str, pool: str = "") -> str:
    """The TPM as a credited source, asked often; an hour without a reseed by time."""
    return (
        only("tpm2", *others)
        + f'[sources.tpm2]\ntcti = "{tpm.tcti}"\ndeadline = 2\n'
        + f"[pool]\npoll_seconds = 0.2\nreseed_seconds = 3600\n{pool}"
    )


def check_the_kernels_credit(daemon: Daemon) -> None:
    """One seed is all that its generator holds, and all seeds that once a minute."""
    bits = daemon.source("os")["credited_bits"]
    status = daemon.status()
    assert (status["seed_groups"], status["seed_bits"]) == (["kernel-crng"], HELD)
    assert HELD <= bits <= HELD * (1 + status["uptime_seconds"] // 60)


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A software TPM, not started yet."""
    software = SoftwareTpm(tmp_path / "tpm")
    yield software
    software.close()


def wait_for_reply(daemon: Daemon, status: int, flags: int) -> None:
    """Ask until the answer has this status and these flags."""
    seen: list[Reply] = []

    def answered() -> bool:
        seen.append(daemon.read(16, DONT_BLOCK))
        return (seen[-1].status, seen[-1].flags) == (status, flags)

    daemon.wait_for(answered, f"answering with status {status}, flags {flags}")
    assert len(seen[-1].payload) == (16 if status == OK else 0)


@pytest.mark.parametrize("uncredited", ["recording", "os"])
def test_nothing_leaves_before_the_first_seed(tmp_path: Path, uncredited: str) -> None:
    """With uncredited sources only: READ waits, DONT_BLOCK is refused, a stream is silent."""
    if uncredited == "recording":
        recording = tmp_path / "recording"
        recording.write_bytes(random.Random(1).randbytes(1 << 16))
        config = only() + (
            f'[sources.recorded]\nkind = "replay"\npath = "{recording}"\nloop = true\n'
            "deadline = 0.1\n"
        )
        name = "recorded"
    else:
        config = ONLY_OS + "[sources.os]\ncredit = false\ndeadline = 0.1\n"
        name = "os"
    config += "[pool]\npoll_seconds = 0.1\n[server]\nprediction_resistance_seconds = 0.1\n"
    with Daemon(config, wait=False) as daemon:
        daemon.wait_until_reachable()
        before = daemon.wait_for_source(name, "healthy")
        with (
            daemon.connect() as waiting,
            daemon.connect() as fresh,
            daemon.connect(daemon.stream) as stream,
            daemon.connect() as other,
        ):
            send_request(waiting, READ, 0, 1, 16)
            send_request(fresh, READ, PREDICTION_RESISTANCE, 1, 16)
            refused = ask(other, 16, DONT_BLOCK)
            assert (refused.status, refused.payload) == (NOT_SEEDED, b"")
            refused = ask(other, 16, DONT_BLOCK | PREDICTION_RESISTANCE)
            assert (refused.status, refused.payload) == (NOT_SEEDED, b"")
            said = info(other)
            assert (said["state"], said["generation"]) == ("starting", 0)
            with pytest.raises(CallError, match="NotEnoughEntropy"):
                daemon.call("Reseed")
            # Enough for ten seeds, were it credited.
            samples = before["samples"] + 10 * HELD // 8
            daemon.wait_for(lambda: daemon.source(name)["samples"] > samples, "sampling on")
            assert not select.select([waiting, fresh, stream], [], [], 0)[0]
        status = daemon.status()
        assert (status["state"], status["reseeds"], status["seeded_at"]) == (
            "starting",
            0,
            None,
        )
        assert daemon.source(name)["credited_bits"] == 0
        daemon.wait_for(lambda: "not seeded yet" in daemon.log, "saying so")
        daemon.check_log()


@with_tpm
def test_who_waits_is_served_once_there_is_a_seed(tpm: SoftwareTpm) -> None:
    """The credited source comes up late: waiting READs, fresh requests and streams go on."""
    with Daemon(tpm_config(tpm), wait=False) as daemon:
        daemon.wait_until_reachable()
        daemon.wait_for_source("tpm2", "absent")
        with (
            daemon.connect() as waiting,
            daemon.connect() as fresh,
            daemon.connect(daemon.stream) as stream,
        ):
            send_request(waiting, READ, 0, 1, 16)
            send_request(fresh, READ, PREDICTION_RESISTANCE, 1, 16)
            assert daemon.read(16, DONT_BLOCK).status == NOT_SEEDED
            tpm.start()
            assert len(read_reply(waiting).payload) == 16
            assert len(read_reply(fresh).payload) == 16
            assert len(stream.recv(16)) > 0
        assert daemon.source("tpm2")["credited_bits"] == HELD
        daemon.check()


def test_it_reseeds_by_time() -> None:
    """With reseed_seconds = 1 the generation moves while nobody asks for anything."""
    with Daemon(ONLY_OS + "[pool]\nreseed_seconds = 1\n") as daemon:
        first = daemon.status()
        target = int(first["generation"]) + 2
        daemon.wait_for(lambda: daemon.generation() >= target, "reseeded")
        status = daemon.status()
        assert (
            status["reseeds"] - first["reseeds"] == status["generation"] - first["generation"]
        )
        assert status["seeded_at"] > first["seeded_at"]
        check_the_kernels_credit(daemon)
        daemon.check()


def test_it_reseeds_by_bytes() -> None:
    """After more than reseed_bytes the generation moves; with a larger limit it does not."""
    hourly = ONLY_OS + "[pool]\nreseed_seconds = 3600\n"
    with Daemon(hourly + "reseed_bytes = 1048576\n") as often, Daemon(hourly) as seldom:
        first, unmoved = often.generation(), seldom.generation()
        for daemon in (often, seldom):
            with daemon.connect() as sock:
                # Workers report at every 16 MiB: hwentropyd.worker.drbg.REPORT_BYTES.
                for _ in range(40):
                    assert ask(sock, MAX_READ).status == OK
        often.wait_for(lambda: often.generation() > first, "reseeded")
        assert seldom.generation() == unmoved
        often.check()


def test_it_reseeds_on_demand() -> None:
    """Reseed returns the new generation, which INFO then shows, from a full-strength seed."""
    with Daemon() as daemon:
        for _ in range(5):
            before = daemon.status()
            generation = daemon.call("Reseed")["generation"]
            after = daemon.status()
            assert generation > before["generation"]
            assert after["reseeds"] > before["reseeds"]
            check_the_kernels_credit(daemon)
            with daemon.connect() as sock:
                assert info(sock)["generation"] >= generation
        daemon.check()


def test_prediction_resistance_moves_the_generation_before_its_bytes() -> None:
    """Each such request comes after a reseed of its own; an ordinary one needs none."""
    with Daemon() as daemon, daemon.connect() as sock:
        for _ in range(8):
            before = info(sock)["generation"]
            assert ask(sock, 32).status == OK
            assert info(sock)["generation"] == before
            reply = ask(sock, 32, PREDICTION_RESISTANCE)
            assert (reply.status, len(reply.payload)) == (OK, 32)
            assert info(sock)["generation"] > before
        check_the_kernels_credit(daemon)
        daemon.check()


def test_the_least_claim_makes_a_seed() -> None:
    """`os` alone at 1/32 bit a byte: eight batches of 1,024 bytes are its 256 bits."""
    with Daemon(ONLY_OS + "[sources.os]\nmin_entropy = 0.03125\n") as daemon:
        check_the_kernels_credit(daemon)
        daemon.check()


def test_more_bits_than_the_kernel_holds_are_waited_for() -> None:
    """min_bits = 2048 with `os` alone: no seed, the reason in the status, and no byte."""
    with Daemon(ONLY_OS + "[pool]\nmin_bits = 2048\n", wait=False) as daemon:
        daemon.wait_until_reachable()
        before = daemon.wait_for_source("os", "healthy")
        samples = before["samples"] + 10 * 2048 // 8
        daemon.wait_for(lambda: daemon.source("os")["samples"] > samples, "sampling on")
        status = daemon.status()
        assert (status["state"], status["reseeds"]) == ("starting", 0)
        reason = "min_bits asks for 2048 bits; the healthy sources can hold 256"
        assert status["reason"] == reason
        assert daemon.read(16, DONT_BLOCK).status == NOT_SEEDED
        daemon.check_log()


def test_prediction_resistance_of_the_kernel_alone_is_said_to_be_not_live() -> None:
    """Its generator is not ours to reseed: NOT_LIVE, on such a request only; Reseed as well."""
    with Daemon(ONLY_OS) as daemon, daemon.connect() as sock:
        for flags, marks in ((0, 0), (PREDICTION_RESISTANCE, NOT_LIVE), (0, 0)):
            reply = ask(sock, 32, flags)
            assert (reply.status, reply.flags) == (OK, marks)
        assert daemon.call("Reseed")["live"] is False
        daemon.check()


def test_prediction_resistance_is_of_live_sources_where_there_is_one(tmp_path: Path) -> None:
    """With a live source beside the kernel's generator: no mark."""
    plugins = Plugins(tmp_path)
    config = ONLY_OS + plugins.table("well")
    with Daemon(config, environment=plugins.environment) as daemon, daemon.connect() as sock:
        assert daemon.wait_for_source("broken", "healthy")["live"]
        for _ in range(4):
            reply = ask(sock, 32, PREDICTION_RESISTANCE)
            assert (reply.status, reply.flags) == (OK, 0)
        assert daemon.call("Reseed")["live"] is True
        daemon.check()


@with_tpm
def test_without_its_last_credited_source_it_degrades_fails_closed_and_recovers(
    tpm: SoftwareTpm,
) -> None:
    """The flag in replies, then FAILED_CLOSED and closed streams, then all is well again."""
    tpm.start()
    with Daemon(tpm_config(tpm, pool="degraded_seconds = 1.5\n")) as daemon:
        wait_for_reply(daemon, OK, 0)
        with daemon.connect(daemon.stream) as stream, daemon.connect() as kept:
            assert stream.recv(1)
            tpm.kill()
            wait_for_reply(daemon, OK, DEGRADED)
            status = daemon.wait_for_state("degraded")
            assert "0 healthy credited groups" in status["reason"]
            assert ask(kept, 16).flags == DEGRADED
            wait_for_reply(daemon, FAILED_CLOSED, 0)
            status = daemon.status()
            assert status["state"] == "failed"
            assert "degraded_seconds" in status["reason"]
            assert ask(kept, 16).status == FAILED_CLOSED
            assert ask(kept, 16, PREDICTION_RESISTANCE).status == FAILED_CLOSED
            assert info(kept)["state"] == "failed"
            # What lay in its buffers, then the end.
            while stream.recv(1 << 20):
                pass
            with daemon.connect(daemon.stream) as late:
                assert is_closed(late)
            # What was left in the pool did not make it look well in between.
            assert daemon.log.count("the service is ok (generation") == 1
            generation = status["generation"]
            tpm.start()
            wait_for_reply(daemon, OK, 0)
            assert ask(kept, 16).status == OK
        status = daemon.wait_for_state("ok")
        assert status["generation"] > generation
        daemon.check()


@with_tpm
@pytest.mark.parametrize(("length", "op"), [(MAX_READ, READ), (0, LEASE)])
def test_degraded_bytes_end_the_service_too(tpm: SoftwareTpm, length: int, op: int) -> None:
    """With degraded_bytes = 1 MiB a client that draws on or renews leases is stopped."""
    tpm.start()
    pool = "degraded_seconds = 3600\ndegraded_bytes = 1048576\n"
    with Daemon(tpm_config(tpm, pool=pool)) as daemon:
        tpm.kill()
        daemon.wait_for_state("degraded")
        with daemon.connect() as sock:

            def stopped() -> bool:
                send_request(sock, op, 0, 1, length)
                return read_reply(sock).status == FAILED_CLOSED

            daemon.wait_for(stopped, "stopped")
        assert "degraded_bytes" in daemon.status()["reason"]
        daemon.check_log()


@with_tpm
def test_two_groups_are_asked_for_and_one_is_lost(tpm: SoftwareTpm) -> None:
    """min_groups = 2 with os and tpm2: no seed without the TPM, and degraded when it goes."""
    with Daemon(tpm_config(tpm, "os", pool="min_groups = 2\n"), wait=False) as daemon:
        daemon.wait_until_reachable()
        daemon.wait_for_source("os", "healthy")
        daemon.wait_for_source("tpm2", "absent")
        assert daemon.read(16, DONT_BLOCK).status == NOT_SEEDED
        tpm.start()
        wait_for_reply(daemon, OK, 0)
        assert daemon.source("os")["credited_bits"] == HELD
        assert daemon.source("tpm2")["credited_bits"] == HELD
        status = daemon.status()
        assert status["seed_groups"] == ["kernel-crng", daemon.source("tpm2")["group"]]
        assert status["seed_bits"] == 2 * HELD
        tpm.kill()
        wait_for_reply(daemon, OK, DEGRADED)
        status = daemon.wait_for_state("degraded")
        assert "1 healthy credited groups" in status["reason"]
        tpm.start()
        wait_for_reply(daemon, OK, 0)
        daemon.check()


def test_the_kernel_is_not_counted_twice(tmp_path: Path) -> None:
    """The kernel's generator by another path is no second group."""
    link = tmp_path / "rng"
    link.symlink_to("/dev/urandom")
    pool = "[pool]\nmin_groups = 2\n"
    config = only("os", "hwrng") + f'[sources.hwrng]\npath = "{link}"\n' + pool
    with Daemon(config, wait=False) as daemon:
        daemon.wait_until_reachable()
        daemon.wait_for_source("os", "healthy")
        daemon.wait_for_source("hwrng", "healthy")
        assert daemon.source("hwrng")["group"] == daemon.source("os")["group"]
        assert daemon.read(16, DONT_BLOCK).status == NOT_SEEDED
        assert "1 healthy credited groups" in daemon.status()["reason"]
