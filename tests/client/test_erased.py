"""What was used is gone: the memory of clients on a lease, searched for known secrets.

A fake daemon grants the leases, so their seeds are known, and with them every key of the
generator behind.  docs/security.md, "Keys in memory", is the list that this holds.
"""

import hashlib
import hmac
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hwentropy.lease.drbg import BLOCK_BYTES, SMALL_BYTES
from hwentropy_core.limits import KEY_BYTES
from support import compiled, memory_scan, needed
from support.compiled import PROGRAMS, Compiler, Native
from support.drbg_reference import ReferenceDrbg
from support.fake_leases import PURPOSE, Leases
from support.fake_server import FakeDaemon
from support.memory_scan import assert_gone, scan
from support.needed import needs
from support.script import environment

pytestmark = [pytest.mark.process, needs(memory_scan.MISSING)]

#: Draws into memory of its own, overwrites it, and waits to be looked at and told to go on.
SCRIPT = """
import asyncio, sys
from hwentropy import AsyncClient, Client
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir

path, kind = sys.argv[1:]
generator = Generator(PythonReservoir if kind == "python" else make_reservoir)
generator.configure(path=path)

def draw(size, fill=generator.fill):
    buffer = bytearray(size)
    fill(buffer)
    buffer[:] = bytes(size)

def awaited(buffer):
    async def call():
        async with AsyncClient(path) as client:
            await client.read_into(buffer)
    asyncio.run(call())

for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Drawing:
    """A process that runs a line of Python at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def run(self, line: str) -> None:
        """Wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def drawing(daemon: FakeDaemon, kind: str) -> Iterator[Drawing]:
    """A process with a generator of this kind."""
    needed.module("hwentropy_core._hkdf", "the C extension was not built")
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(daemon.path), kind],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Drawing(process)


@pytest.fixture(params=["c", "python"])
def client(request: pytest.FixtureRequest, daemon: FakeDaemon) -> Iterator[Drawing]:
    """One with each kind of reservoir."""
    with drawing(daemon, request.param) as made:
        yield made


def seeds_of(leases: Leases) -> dict[str, bytes]:
    """All that were granted, and the keys between the two steps of HKDF."""
    found = {}
    for number, seed in enumerate(leases.seeds):
        found[f"seed {number}"] = seed
    first = b"\0\0\0\6parent\0\0\0\x20" + leases.seeds[1]
    found["inner key"] = hmac.digest(bytes(KEY_BYTES), first, hashlib.sha512)
    return found


def generator_of(leases: Leases) -> ReferenceDrbg:
    """The client's, after its first lease."""
    copy = ReferenceDrbg(PURPOSE, block=BLOCK_BYTES, small=SMALL_BYTES)
    copy.reseed([(b"parent", leases.seeds[1])])
    return copy


def test_a_lease_leaves_only_its_living_key(client: Drawing, leases: Leases) -> None:
    """Seeds, the first key and the output are gone; the key lies where no fork takes it."""
    client.run("draw(64)")
    assert len(leases.seeds) == 2
    copy = generator_of(leases)
    first = copy.key
    drawn = copy.read(64)
    assert_gone([client.pid], {"key": copy.key, "rest": copy.rest[:4096]})
    assert scan([client.pid], {"key": copy.key, "rest": copy.rest[:4096]}, kept=True)
    secrets = {**seeds_of(leases), "first key": first, "output": drawn}
    assert_gone([client.pid], secrets, kept=True)


def test_a_large_draw_leaves_nothing(client: Drawing, leases: Leases) -> None:
    """Neither its one-time key nor a part of what its caller overwrote."""
    client.run("draw(64)")
    client.run("draw(500_000)")
    copy = generator_of(leases)
    copy.read(64)
    key = copy.rest[:KEY_BYTES]
    drawn = copy.read(500_000)
    assert_gone([client.pid], {"key": key, "output": drawn}, kept=True)


def test_a_new_lease_leaves_nothing_of_the_one_before(client: Drawing, leases: Leases) -> None:
    """Keys and block."""
    client.run("draw(64)")
    copy = generator_of(leases)
    copy.read(64)
    leases.page.generation += 1
    client.run("draw(64)")
    assert len(leases.seeds) == 3
    old = {"key": copy.key, "rest": copy.rest[-4096:]}
    assert_gone([client.pid], {**old, **seeds_of(leases)}, kept=True)


def test_a_closed_generator_leaves_nothing(client: Drawing, leases: Leases) -> None:
    """`close` is what an interpreter's end calls."""
    client.run("draw(64)")
    copy = generator_of(leases)
    copy.read(64)
    client.run("generator.close()")
    old = {"key": copy.key, "rest": copy.rest[:4096]}
    assert_gone([client.pid], {**old, **seeds_of(leases)}, kept=True)


@pytest.mark.parametrize("way", ["straight.read_into", "awaited"])
@pytest.mark.parametrize("size", [32, 5000, 3 << 20])
def test_bytes_straight_from_the_daemon_are_gone(
    daemon: FakeDaemon, size: int, way: str
) -> None:
    """Small, large and in several replies, once their owner has overwritten them."""
    with drawing(daemon, "c") as client:
        client.run("straight = Client(path)")
        client.run(f"draw({size}, {way})")
        assert_gone([client.pid], {"output": bytes(daemon.handed_out)[-size:]}, kept=True)


def test_the_c_client_leaves_only_its_living_key(
    tmp_path: Path, daemon: FakeDaemon, leases: Leases
) -> None:
    """The same of the C header: seeds, first key, one-time key."""
    needed.check(compiled.MISSING)
    # The sanitizers keep what was freed, and shadows of terabytes.
    program = Compiler(tmp_path / "compiled")(PROGRAMS / "probe.c", "-fno-sanitize=all")
    # Bound late, the first call of memset has the dynamic linker save registers on the
    # stack, among them a part of what was copied last (docs/security.md).
    with Native(program, {"LD_BIND_NOW": "1"}) as native:
        native.open(daemon.path, "lease")
        drawn = native.draw(64)
        copy = ReferenceDrbg(PURPOSE)
        copy.reseed([(b"parent", leases.seeds[1])])
        secrets = {**seeds_of(leases), "first key": copy.key}
        assert drawn == copy.read(64)
        native.draw(5000)
        secrets["one-time key"] = copy.rest[:KEY_BYTES]
        copy.read(KEY_BYTES)
        assert_gone([native.pid], secrets, kept=True)
        living = {"key": copy.key, "rest": copy.rest[-1024:]}
        assert_gone([native.pid], living)
        assert scan([native.pid], living, kept=True).keys() == living.keys()
