"""`hwentropy.numpy.BitGenerator` across forks, without its lock, and with a real daemon.

Each test has a Python of its own: it forks, or ends in an abort.
"""

import os
import signal
from typing import Any

import pytest

from support import needed
from support.script import run_python, run_script

needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
needed.module("hwentropy._bitgen", "the C extension was not built")
pytestmark = pytest.mark.process

#: What every script begins with: `drawn` of a child, and checks of words.
PROLOGUE = """
import ctypes, os, resource, signal, sys, threading
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.alarm(100)  # whatever hangs ends
import numpy as np
import hwentropy.bit_generator as module
import hwentropy.numpy as ours
from support.forking import check, child
from support.one_time_keys import page_of
"""
#: Keys without a daemon.
KEYS = """
module.take = lambda size: None
module.random_bytes = os.urandom
bits = ours.BitGenerator()
rng = np.random.Generator(bits)
"""


def run(text: str, *arguments: str) -> str:
    """A script's output."""
    return run_script(PROLOGUE + KEYS + text, *arguments)


HELD = """
fork = {"os": os.fork, "libc": ctypes.PyDLL(None).fork}[sys.argv[1]]
held, end = threading.Event(), threading.Event()
drawn = []

def hold():
    with bits.lock:
        drawn.append(bits.random_raw(3).tobytes())
        held.set()
        assert end.wait(60)
        drawn.append(bits.random_raw(50).tobytes())

thread = threading.Thread(target=hold)
thread.start()
assert held.wait(60)
assert not bits.lock.acquire(blocking=False)

def work():
    # The lock that another thread of the parent holds is free, the key is gone.
    assert not any(page_of(bits))
    assert bits.lock.acquire(blocking=False)
    bits.lock.release()
    return rng.integers(0, 2**64, 50, np.uint64).tobytes()

drawn += [child(work, fork) for _ in range(20)]
end.set()
thread.join()
drawn.append(bits.random_raw(50).tobytes())
check(drawn)
"""


@pytest.mark.parametrize("fork", ["os", "libc"])
def test_a_child_finds_the_lock_free_and_no_key(fork: str) -> None:
    """Whatever the parent's threads do, also after a fork(2) that Python is not told of."""
    run(HELD, fork)


BUSY = """
stop = threading.Event()
drawn = []

def draw():
    while not stop.is_set():
        drawn.append(bits.random_raw(2000).tobytes())
        bits.random_raw(2000, output=False)

threads = [threading.Thread(target=draw) for _ in range(2)]
for thread in threads:
    thread.start()
children = [child(lambda: bits.random_raw(500).tobytes()) for _ in range(50)]
stop.set()
for thread in threads:
    thread.join()
assert drawn
check(drawn[-100:] + children)
assert not {one[:8] for one in drawn} & {one[:8] for one in children}
"""


def test_children_of_a_process_that_draws() -> None:
    """Fifty children, forked while two threads draw: no word twice."""
    run(BUSY)


IN_THE_KEY = """
armed = True

def random_bytes(size):
    global armed, pid
    key = os.urandom(size)
    if armed:
        armed = False
        pid = os.fork()  # both now have this key
    return key

module.random_bytes = random_bytes
bits = ours.BitGenerator()
reader, writer = os.pipe()
os.write(writer, bits.random_raw(4).tobytes())
assert bits.lock.acquire(blocking=False)
bits.lock.release()
if not pid:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
check([os.read(reader, 64)])
"""


def test_a_fork_while_the_key_is_drawn() -> None:
    """As by a signal handler there: the child throws that key away and draws another."""
    run(IN_THE_KEY)


IN_THE_DRAW = """
pids = []

class Forking(list):
    def __setitem__(self, index, value):
        super().__setitem__(index, value)
        if len(pids) < 3 and 0 not in pids:
            pids.append(os.fork())
            if not pids[-1] and len(pids) == 3:
                # What the child draws by itself is its own.
                assert not any(page_of(bits))
                assert len(set(bits.random_raw(100).tolist())) == 100
                os._exit(0)

cards = Forking(range(20))
rng.shuffle(cards)
assert sorted(cards) == list(range(20))
assert 0 not in pids, "a child went on with the parent's shuffle"
ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
assert ends == [-signal.SIGABRT] * (len(pids) - 1) + [0], ends
"""


def test_a_fork_in_the_middle_of_a_draw() -> None:
    """The child has no key: it ends when it goes on, and can begin anew."""
    done = run_python("-c", PROLOGUE + KEYS + IN_THE_DRAW)
    assert done.returncode == 0, done.stderr
    assert "child forked during a draw" in done.stderr


WITHOUT = """
# numpy/random/bitgen.h: state, next_uint64, next_uint32, next_double, next_raw.
pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
fields = (ctypes.c_void_p * 5).from_address(pointer(bits.capsule, b"BitGenerator"))
number, when = int(sys.argv[1]), sys.argv[2]
result = [ctypes.c_uint64, ctypes.c_uint32, ctypes.c_double, ctypes.c_uint64][number - 1]
call = ctypes.CFUNCTYPE(result, ctypes.c_void_p)(fields[number])
with bits.lock:
    call(fields[0])
    print("drawn", flush=True)
    if when == "other thread":
        thread = threading.Thread(target=call, args=(fields[0],))
        thread.start()
        thread.join()
        print("wrong", flush=True)
call(fields[0])
print("wrong", flush=True)
"""


@pytest.mark.parametrize("when", ["afterwards", "other thread"])
@pytest.mark.parametrize("callback", [1, 2, 3, 4])
def test_who_draws_without_the_lock_ends_the_process(callback: int, when: str) -> None:
    """Each callback, with no key or with that of another thread's draw: abort, and why."""
    done = run_python("-c", PROLOGUE + KEYS + WITHOUT, str(callback), when)
    assert done.returncode == -signal.SIGABRT
    assert done.stdout == "drawn\n"
    assert done.stderr.count("\n") == 1
    assert "draw inside `with bit_generator.lock:`" in done.stderr


INTERRUPTED = """
class Interrupted(Exception):
    pass

def handler(*_):
    raise Interrupted

signal.signal(signal.SIGUSR1, handler)
held, end = threading.Event(), threading.Event()

def hold():
    with bits.lock:
        held.set()
        assert end.wait(200)  # beyond the alarm: nothing else ends the wait

thread = threading.Thread(target=hold)
thread.start()
assert held.wait(60)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
try:
    rng.normal()
except Interrupted:
    end.set()
    thread.join()
    assert -40 < rng.normal() < 40
    print("interrupted")
"""


def test_a_wait_for_the_lock_can_be_interrupted() -> None:
    """A signal handler runs, and what it raises ends the wait; Ctrl-C works."""
    assert run(INTERRUPTED) == "interrupted\n"


DAEMON = """
from hwentropy.errors import DaemonUnavailable
from hwentropy.generator import configure

rng = ours.default_rng()
bits = rng.bit_generator
values = rng.normal(5.0, 2.0, 100_000)
# Standard errors 2 / 316 and, of the deviation, 2 / 447: eight of them.
assert abs(values.mean() - 5) < 0.051 and abs(values.std() - 2) < 0.036
drawn = [bits.random_raw(100).tobytes() for _ in range(100)]
drawn += [child(lambda: bits.random_raw(100).tobytes()) for _ in range(20)]
for mode in ("direct", "prediction_resistant", "lease"):
    configure(mode)
    drawn.append(bits.random_raw(1000).tobytes())
check(drawn)

configure(path="/nowhere/entropy.sock")
cards = list(range(52))
for draw in (rng.normal, bits.random_raw, lambda: rng.shuffle(cards)):
    try:
        draw()
    except DaemonUnavailable:
        assert cards == list(range(52))
    else:
        sys.exit("drawn from nowhere")
configure()
assert sorted(rng.permutation(cards)) == cards
print("done")
"""


def test_with_a_real_daemon(real_daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws, children, every mode, an outage and its end."""
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", os.fspath(real_daemon.directory))
    assert run_script(PROLOGUE + DAEMON) == "done\n"
