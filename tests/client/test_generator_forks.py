"""Forks of every kind: no two processes share a byte string, no child hangs.

Each test forks in a Python of its own: the test's own process has threads.
"""

import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hwentropy.lease.drbg import BLOCK_BYTES
from support import needed
from support.drbg_reference import ReferenceDrbg
from support.fake_leases import Leases
from support.fake_server import FakeDaemon
from support.script import PATIENCE, environment, run_script

pytestmark = pytest.mark.process

KINDS = ["c", "python"]

#: What every script begins with: a generator of the kind and mode asked for, and
#: `child`, which runs a function in a forked child and gives what it returned.
PROLOGUE = """
import os, signal, sys, threading
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
from support.forking import begin, check, child, result
path, kind = sys.argv[1:3]
signal.alarm(100)  # whatever hangs, a child too, ends
generator = Generator(PythonReservoir if kind == "python" else make_reservoir)
generator.configure(path=path)
"""


CHILDREN = """
drawn = [generator.random_bytes(64)]
for _ in range(100):
    drawn.append(child(lambda: generator.random_bytes(64)))
    drawn.append(generator.random_bytes(64))
check(drawn)

def family():
    own = generator.random_bytes(32)
    return own + child(lambda: generator.random_bytes(32))

check([generator.random_bytes(64)] + [child(family) for _ in range(10)])

# The parent's own lease and connection are as before.
check([generator.random_bytes(100) for _ in range(3000)])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_children_share_nothing(daemon: FakeDaemon, leases: Leases, kind: str) -> None:
    """A hundred children and ten with children of their own: each has its own lease."""
    run_script(PROLOGUE + CHILDREN, str(daemon.path), kind)
    # Two requests for the first lease of each process that drew.
    assert len(leases.seeds) == 2 * (1 + 100 + 20)
    assert daemon.connections == 1 + 100 + 20


NOTHING_LEFT = """
import ctypes
from hwentropy.lease.drbg import BLOCK_BYTES
libc_fork = ctypes.PyDLL(None).fork
fork = {"os": os.fork, "libc": libc_fork}[sys.argv[3]]
generator.random_bytes(16)
leased = generator._leased
state = leased.reservoir.block
assert any(state[:32]) and any(state[64:])

def look():
    if fork is libc_fork:
        # Python ran nothing in this child: what is gone is gone by the kernel.
        assert leased.inherited
        assert leased._drbg.reseeds
    else:
        assert not leased.inherited
        assert not leased._drbg.reseeds
        assert leased._granted is None and leased._connection is None
    assert leased.reservoir.left == 0
    assert not any(state[:32]) and not any(state[64:])
    assert generator.take(0) is None and generator.take(1) is None
    assert not leased.reservoir.take_into(bytearray(1))
    return generator.random_bytes(64)

drawn = [child(look, fork) for _ in range(5)]
drawn += [generator.random_bytes(64) for _ in range(5)]
assert not leased.inherited
check(drawn)
"""


@pytest.mark.parametrize("fork", ["os", "libc"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_sees_nothing_of_its_parent_s_state(
    daemon: FakeDaemon, leases: Leases, kind: str, fork: str
) -> None:
    """Key and block are zeros, also after a fork(2) that Python is not told of."""
    run_script(PROLOGUE + NOTHING_LEFT, str(daemon.path), kind, fork)


UNTOLD = """
import ctypes
fork = ctypes.PyDLL(None).fork
for mode in ("lease", "direct", "prediction_resistant"):
    generator.configure(mode, path=path)
    drawn = [generator.random_bytes(64)]
    started = []
    for _ in range(20):
        several = lambda: b"".join(generator.random_bytes(16) for _ in range(50))
        started.append(begin(several, fork))
        drawn.append(generator.random_bytes(64))
    drawn += [result(one) for one in started]
    drawn.append(generator.random_bytes(64))
    check(drawn)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_that_python_is_not_told_of(
    daemon: FakeDaemon, leases: Leases, kind: str
) -> None:
    """Parent and children draw at once, in every mode: nobody gets another's reply."""
    run_script(PROLOGUE + UNTOLD, str(daemon.path), kind)


UNTOLD_THREADS = """
import ctypes, time
fork = ctypes.PyDLL(None).fork
lock = generator._lock()
holding = threading.Event()
over = threading.Event()

def hold():
    with lock:
        holding.set()
        over.wait(60)

threading.Thread(target=hold).start()
holding.wait(60)

def several():
    got = []
    draw = lambda: got.append(generator.random_bytes(64))
    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(got) == 8
    return b"".join(got)

try:
    check([child(several, fork) for _ in range(20)])
finally:
    over.set()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_untold_fork_while_a_thread_has_the_lock(
    daemon: FakeDaemon, leases: Leases, kind: str
) -> None:
    """The child, in which that thread is not, does not wait for it; its threads share well."""
    run_script(PROLOGUE + UNTOLD_THREADS, str(daemon.path), kind)


THREADS = """
stop = threading.Event()
drawn = [[] for _ in range(4)]

def work(mine):
    sizes = (16, 48, 4096, 20000)
    while not stop.is_set():
        mine.append(generator.random_bytes(sizes[len(mine) % 4])[:4096])

def several():
    got = []
    draw = lambda: got.append(generator.random_bytes(64))
    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(got) == 4
    return b"".join(got)

threads = [threading.Thread(target=work, args=(mine,)) for mine in drawn]
for thread in threads: thread.start()
children = []
errors = []

def forker():
    try:
        for _ in range(20):
            children.append(child(several))
    except BaseException as error:
        errors.append(error)

forkers = [threading.Thread(target=forker) for _ in range(2)]
for thread in forkers: thread.start()
for thread in forkers: thread.join()
stop.set()
for thread in threads: thread.join()
assert not errors, errors
assert len(children) == 40
assert all(drawn)
check([one for mine in drawn for one in mine] + children)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_forks_from_threads_while_others_draw(
    daemon: FakeDaemon, leases: Leases, kind: str
) -> None:
    """Two threads fork, four draw, children have threads: no deadlock, nothing twice."""
    leases.max_bytes = 5 * BLOCK_BYTES
    run_script(PROLOGUE + THREADS, str(daemon.path), kind)


IN_THE_MIDDLE = """
import ctypes
from hwentropy.lease import connection as lease
from hwentropy.lease.connection import LeaseConnection
from hwentropy.lease.drbg import LeasedDrbg
from hwentropy_core.drbg import Drbg, Keystream
places = [
    (Drbg, "refill"), (Drbg, "reseed"), (LeaseConnection, "renew"), (LeaseConnection, "_ask"),
    (LeaseConnection, "_receive"), (LeasedDrbg, "draw"), (LeasedDrbg, "_see_to_lease"),
    (Keystream, "fill"), (PythonReservoir, "arm"), (PythonReservoir, "_reserve"),
    (PythonReservoir, "attach"), (PythonReservoir, "extend"), (lease, "connect"),
]
size = int(sys.argv[3])
fork = {"os": os.fork, "libc": ctypes.PyDLL(None).fork}[sys.argv[4]]
draws = sys.argv[5] == "draws"

def fork_in(kind, name, before):
    # As a signal handler that forks, and comes back in both processes.
    original = getattr(kind, name)
    forked = []
    def interrupted(*args, **kwargs):
        if forked:
            return original(*args, **kwargs)
        result = None if before else original(*args, **kwargs)
        reader, writer = os.pipe()
        forked.append((reader, writer, fork()))
        if not forked[0][2]:
            signal.alarm(50)
            if draws:
                forked.append(generator.random_bytes(16))
        return original(*args, **kwargs) if before else result
    setattr(kind, name, interrupted)
    try:
        generator.configure(path=path)
        got = [generator.random_bytes(size), *(generator.random_bytes(16) for _ in range(3))]
    finally:
        setattr(kind, name, original)
    if not forked:
        return got
    reader, writer, pid = forked[0]
    if not pid:
        try:
            got += forked[1:]
            with open(writer, "wb") as stream:
                stream.write(b"".join(got))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    return [*got, result((reader, pid))]

drawn = []
for kind_of, name in places:
    for before in (True, False):
        got = fork_in(kind_of, name, before)
        if kind_of is not PythonReservoir or kind == "python" and name != "extend":
            assert len(got) == 5, (kind_of, name)
        check(got)
        drawn += got
check(drawn)
"""


@pytest.mark.parametrize("handler", ["draws", "returns"])
@pytest.mark.parametrize("fork", ["os", "libc"])
@pytest.mark.parametrize("size", [32, 40_000, 400_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_in_the_middle_of_a_draw(
    daemon: FakeDaemon, leases: Leases, kind: str, size: int, fork: str, handler: str
) -> None:
    """A signal handler that forks and returns, in both: two draws, not one twice.

    Also by the C library's fork, of which Python and we are told nothing.
    """
    arguments = (str(daemon.path), kind, str(size), fork, handler)
    run_script(PROLOGUE + IN_THE_MIDDLE, *arguments)


WHILE_IT_WAITS = """
import ctypes, time
fork = {"os": os.fork, "libc": ctypes.PyDLL(None).fork}[sys.argv[3]]
reader, writer = os.pipe()
forked = []

def handler(number, frame):
    forked.append(fork())

signal.signal(signal.SIGUSR1, handler)
print(flush=True)
got = [generator.random_bytes(64) for _ in range(3)]
assert len(forked) == 1
if not forked[0]:
    os.write(writer, b"".join(got))
    os._exit(0)
os.close(writer)
check([*got, result((reader, forked[0]))])
"""


@pytest.mark.parametrize("fork", ["os", "libc"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_while_a_lease_is_waited_for(
    daemon: FakeDaemon, leases: Leases, kind: str, fork: str
) -> None:
    """The handler comes in the middle of the receive; the parent gets its own reply.

    The daemon answers the parent when the child has come with a connection of its own.
    """
    asked: list[int] = []
    child_asks = threading.Event()

    def wait_for_the_child() -> None:
        asked.append(1)
        if len(asked) > 1:
            child_asks.set()
            return
        script.send_signal(signal.SIGUSR1)
        assert child_asks.wait(PATIENCE)

    leases.before = wait_for_the_child
    with subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + WHILE_IT_WAITS, str(daemon.path), kind, fork],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as script:
        _, errors = script.communicate(timeout=PATIENCE)
    assert script.returncode == 0, errors.decode()


IN_A_THREAD = """
original = PythonReservoir._reserve
forked = []

def interrupted(self, size):
    start = original(self, size)
    if not forked:
        reader, writer = os.pipe()
        forked.extend((reader, writer, os.fork()))
        if not forked[2]:
            thread = threading.Thread(target=lambda: forked.append(generator.random_bytes(16)))
            thread.start()
            thread.join(40)
    return start

generator.random_bytes(1)
PythonReservoir._reserve = interrupted
got = [generator.random_bytes(64) for _ in range(40)]
reader, writer, pid, *within = forked
if not pid:
    os.write(writer, b"".join(got + within))
    os._exit(0)
os.close(writer)
check([*got, result((reader, pid))])
"""


def test_a_fork_in_the_middle_of_a_draw_and_a_thread(
    daemon: FakeDaemon, leases: Leases
) -> None:
    """In the child a thread draws before the handler returns: nobody gets zeros."""
    run_script(PROLOGUE + IN_A_THREAD, str(daemon.path), "python")


DIRECT = """
for mode in ("direct", "prediction_resistant"):
    generator.configure(mode, path=path)
    drawn = [generator.random_bytes(64)]
    for _ in range(20):
        drawn.append(child(lambda: generator.random_bytes(64)))
        drawn.append(generator.random_bytes(64))
    check(drawn)
"""


def test_direct_children(daemon: FakeDaemon, leases: Leases) -> None:
    """Without a lease too a child has its own connection."""
    run_script(PROLOGUE + DIRECT, str(daemon.path), "c")
    assert daemon.connections == 2 * 21


DIRECT_IN_THE_MIDDLE = """
import ctypes, warnings
from hwentropy.blocking.connection import Connection
warnings.simplefilter("error")
complaints = []
sys.unraisablehook = complaints.append
name, size = sys.argv[3], int(sys.argv[4])
fork = {"os": os.fork, "libc": ctypes.PyDLL(None).fork}[sys.argv[5]]
draws = sys.argv[6] == "draws"
original = getattr(Connection, name)
forked = []

def interrupted(*args, **kwargs):
    result = original(*args, **kwargs)
    if not forked:
        reader, writer = os.pipe()
        forked.extend((reader, writer, fork()))
        signal.alarm(50)
        if draws:
            forked.append(generator.random_bytes(16))
    return result

generator.configure("direct", path=path)
generator.random_bytes(1)
setattr(Connection, name, interrupted)
got = [generator.random_bytes(size), generator.random_bytes(16)]
reader, writer, pid, *within = forked
got += within
assert not complaints, complaints
if not pid:
    os.write(writer, b"".join(one[:64] for one in got))
    os._exit(0)
os.close(writer)
check([one[:64] for one in got] + [result((reader, pid))])
"""


@pytest.mark.parametrize("handler", ["draws", "returns"])
@pytest.mark.parametrize(
    ("name", "size"),
    [("_ask", 32), ("_finish", 32), ("_finish", 5000), ("_receive", 2 << 20)],
)
def test_a_fork_in_the_middle_of_a_direct_draw(
    daemon: FakeDaemon, leases: Leases, name: str, size: int, handler: str
) -> None:
    """The same without a lease; the child leaves no connection behind."""
    arguments = (str(daemon.path), "c", name, str(size), "os", handler)
    run_script(PROLOGUE + DIRECT_IN_THE_MIDDLE, *arguments)


@pytest.mark.parametrize("handler", ["draws", "returns"])
@pytest.mark.parametrize("size", [32, 5000])
def test_an_untold_fork_once_a_direct_draw_has_come(
    daemon: FakeDaemon, leases: Leases, size: int, handler: str
) -> None:
    """A child that the C library forks between reply and result draws anew."""
    arguments = (str(daemon.path), "c", "_finish", str(size), "libc", handler)
    run_script(PROLOGUE + DIRECT_IN_THE_MIDDLE, *arguments)


POOL = """
import multiprocessing, os, sys
import hwentropy.generator as generator

def draw(number):
    if number % 3:
        return os.getpid(), generator.random_bytes(64)
    buffer = bytearray(64)
    generator.fill(buffer)
    return os.getpid(), bytes(buffer)

if __name__ == "__main__":
    generator.configure(path=sys.argv[1])
    os.environ["HWENTROPY_RUNTIME_DIR"] = os.path.dirname(sys.argv[1])
    generator.random_bytes(1)
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(4) as pool:
        got = pool.map(draw, range(400), chunksize=5)
        pool.close()
        pool.join()
    drawn = [one for _, one in got] + [draw(i)[1] for i in range(10)]
    pieces = [one[i:i + 8] for one in drawn for i in range(0, 64, 8)]
    assert len(set(pieces)) == 410 * 8
    assert bytes(8) not in pieces
    print(len({pid for pid, _ in got}))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(
    daemon: FakeDaemon, leases: Leases, method: str, tmp_path: Path
) -> None:
    """The processes of a pool, however they are started, draw bytes of their own."""
    file = tmp_path / "pool.py"
    file.write_text(POOL)
    done = subprocess.run(
        [sys.executable, str(file), str(daemon.path), method],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    assert daemon.connections == 1 + int(done.stdout)


CORE = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
drawn = generator.random_bytes(32)
print(drawn.hex(), flush=True)
signal.signal(signal.SIGABRT, signal.SIG_DFL)
if sys.argv[3] == "abort":
    os.abort()
sys.stdin.read()
"""


def core_of(daemon: FakeDaemon, kind: str, directory: Path) -> tuple[bytes, bytes]:
    """What a process drew, and a core dump of it; by the kernel, or else by gdb."""
    command = [sys.executable, "-c", PROLOGUE + CORE, str(daemon.path), kind]
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    by_kernel = pattern == "core" and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
    if not by_kernel and shutil.which("gcore") is None:
        needed.check(f"no core dump: core_pattern is {pattern!r} and gcore (gdb) is not there")
    with subprocess.Popen(
        [*command, "abort" if by_kernel else "wait"],
        env=environment(),
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        drawn = bytes.fromhex(process.stdout.readline().decode())
        if not by_kernel:
            subprocess.run(
                ["gcore", "-o", str(directory / "core"), str(process.pid)],
                check=True,
                capture_output=True,
                timeout=PATIENCE,
            )
            process.stdin.close()
    return drawn, next(directory.glob("core*")).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_in_no_core_dump(
    daemon: FakeDaemon, leases: Leases, kind: str, tmp_path: Path
) -> None:
    """Neither seeds nor keys nor a byte still to be given; what was given is its owner's."""
    directory = tmp_path / "cores"
    directory.mkdir()
    drawn, core = core_of(daemon, kind, directory)
    drbg = ReferenceDrbg(b"lease", block=BLOCK_BYTES)
    drbg.reseed([(b"parent", leases.seeds[-1])])
    made_by = drbg.key
    assert drawn == drbg.read(32)
    # The search finds what is there: the bytes in the script's own variable.
    assert drawn in core
    for secret in (*leases.seeds, made_by, drbg.key):
        assert secret not in core
        assert secret[:16] not in core
    for at in range(0, len(drbg.rest) - 16, 4000):
        assert drbg.rest[at : at + 16] not in core


def test_a_child_that_never_draws_costs_nothing(daemon: FakeDaemon, leases: Leases) -> None:
    """No connection for a child that does not draw, and none left open by it."""
    text = """
generator.random_bytes(1)
connection = generator._leased._connection._sock.fileno()
def look():
    try:
        os.fstat(connection)
    except OSError:
        return b"closed"
    return b"open"
for _ in range(10):
    assert child(look) == b"closed"
generator.random_bytes(1)
"""
    run_script(PROLOGUE + text, str(daemon.path), "c")
    assert daemon.connections == 1
