"""Threads, tasks, greenlets, signal handlers and exceptions in the middle of a draw.

The claim of every test: no byte twice, no zeros, no state half-made.
"""

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hwentropy import Client
from hwentropy.generator import Generator
from hwentropy.lease.connection import LeaseConnection
from hwentropy.lease.drbg import BLOCK_BYTES, SMALL_BYTES, LeasedDrbg
from hwentropy.lease.reservoir import PythonReservoir
from hwentropy_core.drbg import Drbg, Keystream
from support.fake_leases import Leases
from support.fake_server import FakeDaemon
from support.needed import needs
from support.script import run_script

pytestmark = pytest.mark.process

#: Every point at which a draw is interrupted below: class and method.
PLACES: dict[str, tuple[type, str]] = {
    "refill": (Drbg, "refill"),
    "reseed": (Drbg, "reseed"),
    "renewal": (LeaseConnection, "renew"),
    "lease": (LeasedDrbg, "draw"),
    "keystream": (Keystream, "fill"),
    "look": (LeasedDrbg, "_see_to_lease"),
    "python take": (PythonReservoir, "_reserve"),
    "python arm": (PythonReservoir, "arm"),
}


def interrupt(
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    *,
    before: Callable[[], object],
    after: Callable[[], object],
) -> list[int]:
    """Have code run before and after a method, once, as a signal handler's would."""
    kind, name = PLACES[place]
    original = getattr(kind, name)
    done: list[int] = []
    within: list[int] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if within:
            return original(*args, **kwargs)
        within.append(1)
        try:
            before()
            result = original(*args, **kwargs)
            after()
        finally:
            within.clear()
        done.append(1)
        return result

    monkeypatch.setattr(kind, name, interrupted)
    return done


def check(drawn: list[bytes]) -> None:
    """No two alike, and no eight zeros in a row (which chance makes once in 2^64 places)."""
    assert len(set(drawn)) == len(drawn)
    pieces = [one[i : i + 8] for one in drawn for i in range(0, len(one) - 7, 8)]
    assert bytes(8) not in b"".join(drawn)
    assert len(set(pieces)) == len(pieces)


def draws(generator: Generator, leases: Leases, drawn: list[bytes]) -> None:
    """Draws that refill, renew and take one-time keys."""
    for _ in range(3):
        drawn.extend(generator.random_bytes(16) for _ in range(5))
        sizes = (SMALL_BYTES, BLOCK_BYTES // 2, 3 * BLOCK_BYTES)
        drawn.extend(generator.random_bytes(size) for size in sizes)
        buffer = bytearray(24)
        generator.fill(buffer)
        drawn.append(bytes(buffer))
        leases.page.generation += 1


@pytest.mark.parametrize("size", [16, SMALL_BYTES + 8])
@pytest.mark.parametrize("place", PLACES)
def test_a_draw_within_a_draw(
    generator: Generator,
    leases: Leases,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    size: int,
) -> None:
    """A signal handler that draws, wherever it interrupts: bytes that nobody else has."""
    drawn: list[bytes] = []

    def handler() -> None:
        drawn.append(generator.random_bytes(size))

    done = interrupt(monkeypatch, place, before=handler, after=handler)
    draws(generator, leases, drawn)
    check(drawn)
    assert done or place.split(maxsplit=1)[0] == "python"


@pytest.mark.parametrize("place", ["refill", "reseed", "renewal"])
def test_a_thread_takes_nothing_while_the_block_is_made(
    generator: Generator, leases: Leases, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Though bytes were left before: else it would be handed zeros, or what comes next."""
    taken: list[bytes | None] = []

    def other_thread() -> None:
        thread = threading.Thread(target=lambda: taken.append(generator.take(8)))
        thread.start()
        thread.join()

    generator.random_bytes(8)
    assert generator.random_bytes(generator._leased.reservoir.left - 100)
    assert generator._leased.reservoir.left == 100
    done = interrupt(monkeypatch, place, before=other_thread, after=other_thread)
    if place != "refill":
        # The lease has had its bytes, but for those in the block.
        generator._leased._granted = None
    drawn = [generator.random_bytes(200)]
    assert done
    if place == "renewal":
        # The old lease is good until there is a new one.
        assert [None if one is None else len(one) for one in taken] == [8, 8]
    else:
        assert taken == [None, None]
    drawn += [generator.random_bytes(200) for _ in range(3 * BLOCK_BYTES // 200)]
    check([one for one in (*drawn, *taken) if one is not None])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", PLACES)
def test_an_exception_in_the_middle(
    generator: Generator,
    leases: Leases,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    when: str,
) -> None:
    """Ctrl-C anywhere: zeros in the buffer, and later draws are good ones."""
    armed = [True]

    def stop() -> None:
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    def nothing() -> None:
        """The other side."""

    drawn: list[bytes] = []
    buffer = bytearray(b"\xaa" * (SMALL_BYTES + 8))
    interrupt(
        monkeypatch,
        place,
        before=stop if when == "before" else nothing,
        after=stop if when == "after" else nothing,
    )
    interrupted = False
    for _ in range(3):
        try:
            generator.fill(buffer)
        except KeyboardInterrupt:
            interrupted = True
            assert not any(buffer)
        else:
            drawn.append(bytes(buffer))
    assert interrupted or place.split(maxsplit=1)[0] == "python"
    draws(generator, leases, drawn)
    check(drawn)
    # Back to leases, and no request of the bytes themselves.
    assert generator.take(8) is not None or generator.random_bytes(8)


def test_settings_do_not_change_within_a_draw(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`configure` in a signal handler in the middle: RuntimeError; `close`: not now."""
    errors: list[str] = []

    def handler() -> None:
        generator.close()
        try:
            generator.configure("direct")
        except RuntimeError as error:
            errors.append(str(error))

    interrupt(monkeypatch, "refill", before=handler, after=handler)
    check([generator.random_bytes(16), generator.random_bytes(16)])
    assert errors == ["configure was called in the middle of a draw"] * 2
    assert generator.take(1) is not None


@pytest.mark.parametrize("mode", ["direct", "prediction_resistant"])
def test_a_direct_draw_within_a_direct_draw(
    generator: Generator,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    mode: Any,
) -> None:
    """It has a connection of its own: no deadlock, and neither gets the other's reply."""
    generator.configure(mode, path=daemon.path)
    drawn: list[bytes] = []
    original = Client.read_into
    depth: list[int] = []

    def interrupted(self: Any, buffer: Any, **options: bool) -> None:
        depth.append(1)
        # As the client does while it has its lock.
        with self._lock if len(depth) == 1 else threading.Lock():
            if len(depth) == 1:
                drawn.append(generator.random_bytes(16))
        original(self, buffer, **options)

    monkeypatch.setattr(Client, "read_into", interrupted)
    drawn.append(generator.random_bytes(16))
    check(drawn)
    assert len(drawn) == 2
    assert daemon.connections == 2


def test_threads_get_no_bytes_twice(generator: Generator, leases: Leases) -> None:
    """Eight threads, through refills, small leases and reseeds: each piece is one thread's."""
    leases.max_bytes = 5 * BLOCK_BYTES // 2
    per_thread = 1500
    got: list[list[bytes]] = [[] for _ in range(8)]
    sizes = (16, 32, 504, 4096, SMALL_BYTES + 8)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(number: int) -> None:
        mine = got[number]
        for i in range(per_thread):
            size = sizes[(i * 7 + number) % len(sizes) if i % 10 else -1]
            if i % 3:
                mine.append(generator.random_bytes(size))
            else:
                buffer = bytearray(size)
                generator.fill(buffer)
                mine.append(bytes(buffer))
            if i % 300 == 299:
                leases.page.generation += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    drawn = [one for mine in got for one in mine]
    assert len(drawn) == 8 * per_thread
    check(drawn)


def test_tasks_get_no_bytes_twice(generator: Generator, leases: Leases) -> None:
    """asyncio: tasks in the loop and in its threads."""

    async def work(number: int) -> list[bytes]:
        got = []
        for i in range(40):
            got.append(
                await asyncio.to_thread(generator.random_bytes, 2048)
                if (i + number) % 2
                else generator.random_bytes(32)
            )
            await asyncio.sleep(0)
            if not i % 10:
                leases.page.generation += 1
        return got

    async def all_of_them() -> list[list[bytes]]:
        return await asyncio.gather(*(work(number) for number in range(20)))

    check([one for mine in asyncio.run(all_of_them()) for one in mine])


GEVENT = """
import sys
early = sys.argv[2] == "early"
if early:
    from gevent import monkey; monkey.patch_all()
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
if not early:
    from gevent import monkey; monkey.patch_all()
import gevent
for make in (make_reservoir, PythonReservoir):
    for mode in ("lease", "direct"):
        generator = Generator(make)
        generator.configure(mode, path=sys.argv[1])
        got = []
        def work():
            for i in range(20):
                got.append(generator.random_bytes((32, 1600)[i % 2]))
                gevent.sleep(0)
        gevent.joinall([gevent.spawn(work) for _ in range(20)], raise_error=True)
        assert len(set(got)) == 400
        pieces = [one[i:i + 8] for one in got for i in range(0, len(one), 8)]
        assert len(set(pieces)) == len(pieces)
        assert bytes(8) not in pieces
        generator.close()
"""


@needs("" if importlib.util.find_spec("gevent") else "gevent is not installed")
@pytest.mark.parametrize("when", ["early", "late"])
def test_greenlets_get_no_bytes_twice(daemon: FakeDaemon, leases: Leases, when: str) -> None:
    """gevent, patched before and after the import: renewals that switch greenlets."""
    leases.max_bytes = 3000
    run_script(GEVENT, str(daemon.path), when)
    assert len(leases.seeds) > 20


SIGNALS = """
import random, signal, sys, time
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
generator = Generator(PythonReservoir if sys.argv[2] == "python" else make_reservoir)
generator.configure(path=sys.argv[1])
pauses = random.Random(1)
hits = 0
drawn = []
def handler(number, frame):
    global hits
    hits += 1
    drawn.append(generator.random_bytes(16))
    drawn.append(generator.random_bytes(1024))
    # The next one after this one's end, else they would nest without end; and none after the
    # last, which would meet an interpreter at its end, with the default action: death.
    if hits < 2000:
        signal.setitimer(signal.ITIMER_REAL, pauses.uniform(1e-6, 3e-4))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 1e-4)
deadline = time.monotonic() + 60
while hits < 2000:
    for size in (16, 4096, 40000):
        drawn.append(generator.random_bytes(size)[:4096])
    assert time.monotonic() < deadline, hits
pieces = [one[i:i + 8] for one in drawn for i in range(0, len(one), 8)]
assert len(set(pieces)) == len(pieces)
assert bytes(8) not in pieces
generator.close()
print(hits)
"""


@pytest.mark.parametrize("kind", ["c", "python"])
def test_signals_in_a_storm(daemon: FakeDaemon, leases: Leases, kind: str) -> None:
    """Two thousand handlers that draw, in draws that refill and renew all the time."""
    leases.max_bytes = 300_000
    assert int(run_script(SIGNALS, str(daemon.path), kind)) >= 2000


def test_finalizers_draw(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that draws when it goes, in the middle of a refill."""
    drawn: list[bytes] = []

    class Last:
        def __del__(self) -> None:
            drawn.append(generator.random_bytes(16))

    def drop() -> None:
        Last()

    interrupt(monkeypatch, "refill", before=drop, after=drop)
    drawn.append(generator.random_bytes(16))
    check(drawn)
    assert len(drawn) == 3


def test_draws_at_the_interpreter_s_end(daemon: FakeDaemon, leases: Leases) -> None:
    """atexit functions registered before and after the import, and finalizers, get bytes."""
    text = """
import atexit, sys, weakref
got = []
def draw():
    got.append(hwentropy.generator.random_bytes(16))
@atexit.register
def first_registered():
    draw()
    for _ in range(9000):
        draw()
    assert len(set(got)) == len(got) == 9003, len(got)
    assert bytes(8) not in {one[i:i + 8] for one in got for i in (0, 8)}
    print("done", flush=True)
    hwentropy.generator._shared.close()
import hwentropy.generator
hwentropy.generator.configure(path=sys.argv[1])
class Thing: pass
thing = Thing()
weakref.finalize(thing, draw)
atexit.register(draw)
"""
    assert run_script(text, str(daemon.path)) == "done\n"
