"""What was used is gone: the memory of the daemon's processes, searched for known secrets.

The secrets are known by a copy of a living generator (its locked pages, read as root),
whose next keys, seeds and outputs the reference computes.  docs/security.md, "Keys in
memory", is the list that this holds.
"""

import hashlib
import hmac
import math
import os
import signal
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from hwentropy_core.limits import KEY_BYTES, MIN_SEED_BITS
from hwentropy_sources.contract import STARTUP_SAMPLES
from hwentropy_sources.replay import DEFAULT_SHARE
from hwentropyd.seeding.credit import DIGEST_BITS
from support import memory_scan, needed, raw_client
from support.chacha_reference import keystream
from support.daemon import ONLY_OS, Daemon, descendants
from support.drbg_reference import ReferenceDrbg
from support.hkdf_reference import hkdf
from support.memory_scan import assert_gone, generator_of, scan
from support.needed import needs
from support.plugins import Plugins

pytestmark = [pytest.mark.process, needs(memory_scan.MISSING)]

#: One worker, so that it is known which one answers.
ONE_WORKER = ONLY_OS + "[server]\nworkers = 1\n"

#: More than a test draws.
SAMPLES = hashlib.shake_256(b"samples of the tests").digest(1 << 16)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Seeded, and just reseeded: its worker has given nothing from its key."""
    needed.module("hwentropy_core._hkdf", "the C extension was not built")
    with Daemon(ONE_WORKER) as started:
        started.call("Reseed")
        yield started


def everybody(daemon: Daemon) -> list[int]:
    """Supervisor, template, collectors, workers."""
    return [daemon.pid, *descendants(daemon.pid)]


def worker_of(daemon: Daemon) -> ReferenceDrbg:
    """A copy of the worker's generator, which has its new seed."""
    [pid] = daemon.worker_pids()
    return generator_of(pid, b"worker")


def inner_key(salt: bytes, ikm: bytes) -> bytes:
    """The pseudo-random key between HKDF's two steps (RFC 5869 2.2)."""
    return hmac.digest(salt, ikm, hashlib.sha512)


def parent_material(seed: bytes) -> bytes:
    """What a seed is encoded to (docs/drbg.md)."""
    return b"\0\0\0\6parent\0\0\0\x20" + seed


def test_a_living_key_is_found_and_only_where_it_has_to_be(daemon: Daemon) -> None:
    """The search sees what is there; and nothing outside of the locked pages."""
    [worker] = daemon.worker_pids()
    keys = {
        "root": generator_of(daemon.pid, b"root").key,
        "worker": generator_of(worker, b"worker").key,
    }
    assert scan([daemon.pid, worker], keys, kept=True).keys() == keys.keys()
    assert_gone(everybody(daemon), keys)


def test_a_small_reply_is_gone(daemon: Daemon) -> None:
    """With the key that its block was made by."""
    twin = worker_of(daemon)
    before = twin.key
    drawn = daemon.read(64).payload
    assert drawn == twin.read(64)
    assert_gone(everybody(daemon), {"output": drawn, "key": before}, kept=True)


@pytest.mark.parametrize("size", [5000, 1 << 20])
def test_a_large_reply_is_gone_and_its_one_time_key(daemon: Daemon, size: int) -> None:
    """In a chunk, and in many."""
    twin = worker_of(daemon)
    drawn = daemon.read(size).payload
    key = twin.read(KEY_BYTES)
    assert drawn[:64] == keystream(key, 64)
    assert_gone(everybody(daemon), {"output": drawn, "key": key}, kept=True)


def test_a_stream_is_gone(daemon: Daemon) -> None:
    """What its client took, once it has closed."""
    with daemon.connect(daemon.stream) as sock:
        drawn = raw_client.receive(sock, 1 << 18)
    assert_gone(everybody(daemon), {"output": drawn}, kept=True)


def test_a_lease_is_gone(daemon: Daemon) -> None:
    """Its seed, and all that it was derived by; it is its client's now."""
    twin = worker_of(daemon)
    with daemon.connect() as sock:
        for _ in range(2):
            raw_client.send_request(sock, raw_client.LEASE, 0, 1, 0)
            seed = raw_client.read_reply(sock).payload[-KEY_BYTES:]
            parent = _next(twin)
            assert seed == twin.child_seed(b"lease", daemon.generation())
            secrets = {
                "seed": seed,
                "parent": parent,
                "inner key": inner_key(bytes(KEY_BYTES), parent),
            }
            assert_gone(everybody(daemon), secrets, kept=True)


def test_a_reseed_leaves_nothing_of_the_state_before(daemon: Daemon) -> None:
    """Old keys and blocks, of the root and the worker; the new keys only where they live."""
    daemon.read(32)
    [worker] = daemon.worker_pids()
    root, child = generator_of(daemon.pid, b"root"), generator_of(worker, b"worker")
    old = {"root": root.key, "worker": child.key}
    old |= {"root's block": root.rest[-1024:], "worker's block": child.rest[-1024:]}
    daemon.call("Reseed")
    assert_gone(everybody(daemon), old, kept=True)
    new = {
        "root": generator_of(daemon.pid, b"root").key,
        "worker": generator_of(worker, b"worker").key,
    }
    assert not set(new.values()) & set(old.values())
    assert_gone(everybody(daemon), new)


def test_a_worker_s_seed_is_gone_from_both_ends_of_its_channel(daemon: Daemon) -> None:
    """A new worker's, whose first key is the proof that it was this seed."""
    root = generator_of(daemon.pid, b"root")
    parent = _next(root)
    [before] = daemon.worker_pids()
    os.kill(before, signal.SIGKILL)
    daemon.wait_for(lambda: daemon.worker_pids() not in ([before], []), "with a new worker")
    daemon.wait_until_settled()
    [worker] = daemon.worker_pids()
    seed = _seed_of(root, worker, daemon.generation())
    secrets = {
        "parent": parent,
        "seed": seed,
        "inner key of the seed": inner_key(bytes(KEY_BYTES), parent),
        "inner key of the worker": inner_key(bytes(KEY_BYTES), parent_material(seed)),
    }
    assert_gone(everybody(daemon), secrets, kept=True)


def test_samples_are_gone_once_they_are_pooled(tmp_path: Path) -> None:
    """A recording's, which are known; in the supervisor, where plain sources are read."""
    recording = tmp_path / "samples"
    recording.write_bytes(SAMPLES)
    table = f'[sources.known]\nkind = "replay"\npath = "{recording}"\nloop = true\n'
    with Daemon(ONE_WORKER + table) as daemon:
        _assert_samples_gone(daemon, "known")


def test_a_collector_s_samples_are_gone(tmp_path: Path) -> None:
    """From both ends of its channel."""
    package = Plugins(tmp_path)
    (package.site / "samples").write_bytes(SAMPLES)
    tables = ONE_WORKER + package.table("known")
    with Daemon(tables, environment=package.environment) as daemon:
        _assert_samples_gone(daemon, "broken")


def test_a_reseed_leaves_nothing_of_the_pool(tmp_path: Path) -> None:
    """The digests that samples are hashed to, which wait there to be mixed in."""
    batch = math.ceil(MIN_SEED_BITS / (DEFAULT_SHARE * 8))
    size = DIGEST_BITS // 8
    recording = tmp_path / "samples"
    recording.write_bytes(SAMPLES)
    table = f'[sources.known]\nkind = "replay"\npath = "{recording}"\nloop = true\n'
    with Daemon(ONE_WORKER + table) as daemon:
        daemon.wait_for_source("known", "healthy")
        seen = _seen(daemon, "known")
        digests = {
            f"digest {at}": hkdf(
                "sha512", bytes(size), SAMPLES[at : at + batch], b"hwentropy/1 pool", size
            )
            # Those of the startup test are in no pool, and the next ones soon are.
            for at in range(0, seen + 4 * batch, batch)
        }
        daemon.wait_for(lambda: bool(scan([daemon.pid], digests)), "with a digest in the pool")
        pooled = {name: digests[name] for name in scan([daemon.pid], digests)}
        for _ in range(2):
            daemon.call("Reseed")
        assert_gone(everybody(daemon), pooled, kept=True)


def _assert_samples_gone(daemon: Daemon, name: str) -> None:
    daemon.wait_for_source(name, "healthy")
    # At least one batch after the startup test, so that there is one in the pool.
    daemon.wait_for(lambda: _seen(daemon, name) > STARTUP_SAMPLES, "with samples to pool")
    seen = _seen(daemon, name)
    pieces = {f"samples {at}": SAMPLES[at : at + 64] for at in range(0, seen - 63, 64)}
    assert_gone(everybody(daemon), pieces, kept=True)


def _seen(daemon: Daemon, name: str) -> int:
    return int(daemon.source(name)["samples"])


def _next(generator: ReferenceDrbg) -> bytes:
    """The bytes that it gives next, without taking them."""
    return copy(generator).read(KEY_BYTES)


def _seed_of(root: ReferenceDrbg, worker: int, generation: int) -> bytes:
    """The seed that a worker was given; fails where its state comes from no such seed."""
    state = generator_of(worker, b"worker").key
    for number in range(1, 10):
        for child in range(1, 30):
            seed = copy(root).child_seed(b"worker %d %d" % (number, child), generation)
            twin = ReferenceDrbg(b"worker")
            twin.reseed([(b"parent", seed)])
            twin.read(1)
            if twin.key == state:
                return seed
    raise AssertionError("the worker's key does not come from the root's next bytes")
