"""Threads, tasks and forked children that share a client."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hwentropy import AsyncClient, Client, Timeout
from hwentropy_core.limits import MAX_READ
from support.fake_server import FakeDaemon, honest
from support.script import environment, run_script


def pieces(daemon: FakeDaemon, size: int) -> list[bytes]:
    """What the daemon handed out, request by request."""
    out = bytes(daemon.handed_out)
    return [out[i : i + size] for i in range(0, len(out), size)]


def test_threads_share_a_client(daemon: FakeDaemon) -> None:
    """Eight threads: every reply reaches one of them, whole, and none twice."""
    got: list[bytes] = []
    with Client(daemon.path) as client:

        def work() -> None:
            for _ in range(100):
                got.append(client.read(32))  # noqa: PERF401 - interleaving is the point

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == sorted(pieces(daemon, 32))
    assert daemon.connections == 1


def test_tasks_share_a_client(daemon: FakeDaemon) -> None:
    """Fifty tasks: every reply reaches one of them, whole, and none twice."""

    async def work() -> list[bytes]:
        async with AsyncClient(daemon.path) as client:
            return await asyncio.gather(*(client.read(32) for _ in range(50)))

    assert sorted(asyncio.run(work())) == sorted(pieces(daemon, 32))
    assert daemon.connections == 1


def test_info_waits_for_its_turn(daemon: FakeDaemon) -> None:
    """Behind a read that waits for the first seed, in another thread, nothing is asked."""
    asked, seeded = threading.Event(), threading.Event()

    def unseeded(peer: Any, request: Any) -> None:
        asked.set()
        assert seeded.wait(30)
        honest(peer, request)

    daemon.handler = unseeded
    states: list[str] = []
    with Client(daemon.path, timeout=30) as client:
        reader = threading.Thread(target=client.read, args=(32,))
        reader.start()
        assert asked.wait(30)
        other = threading.Thread(target=lambda: states.append(client.info().state))
        other.start()
        other.join(0.05)
        assert states == []
        assert len(daemon.requests) == 1
        seeded.set()
        reader.join()
        other.join()
    assert states == ["ok"]


def test_a_cancelled_call_gives_its_late_reply_to_nobody(daemon: FakeDaemon) -> None:
    """Cancelled in the middle: zeros in the buffer, and the next call connects anew."""
    asked, release = threading.Event(), threading.Event()

    def late(peer: Any, request: Any) -> None:
        asked.set()
        assert release.wait(30)
        honest(peer, request)

    async def work() -> bytes:
        buffer = bytearray(b"\xaa" * 64)
        async with AsyncClient(daemon.path) as client:
            task = asyncio.create_task(client.read_into(buffer))
            await asyncio.to_thread(asked.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not any(buffer)
            daemon.handler = honest
            return await client.read(16)

    daemon.handler = late
    try:
        assert asyncio.run(work()) == daemon.handed_out
    finally:
        release.set()
    assert [number for number, _ in daemon.requests] == [1, 2]


def test_an_async_client_moves_to_another_loop(daemon: FakeDaemon) -> None:
    """Each event loop gets a connection of its own."""
    client = AsyncClient(daemon.path)
    data = asyncio.run(client.read(8)) + asyncio.run(client.read(8))
    asyncio.run(client.close())
    assert data == daemon.handed_out
    assert daemon.connections == 2


def test_waiting_for_another_thread_counts_as_waiting(daemon: FakeDaemon) -> None:
    """The timeout covers the time in which another thread's call is under way."""
    asked, release = threading.Event(), threading.Event()

    def late(peer: Any, request: Any) -> None:
        asked.set()
        assert release.wait(30)
        honest(peer, request)

    daemon.handler = late
    client = Client(daemon.path, timeout=30)
    thread = threading.Thread(target=client.read, args=(16,))
    thread.start()
    assert asked.wait(30)
    client._timeout = 0.05
    with pytest.raises(Timeout):
        client.read(16)
    release.set()
    thread.join()
    client.close()
    assert len(daemon.requests) == 1


def test_close_ends_a_call_of_another_thread(daemon: FakeDaemon) -> None:
    """A thread that waits for a seed does not keep `close` waiting; it gets a ValueError."""
    asked, release = threading.Event(), threading.Event()
    caught: list[BaseException] = []

    def never(peer: Any, request: Any) -> None:
        asked.set()
        assert release.wait(30)

    def work() -> None:
        try:
            client.read(16)
        except ValueError as error:
            caught.append(error)

    daemon.handler = never
    client = Client(daemon.path)
    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(30)
    client.close()
    thread.join(30)
    release.set()
    assert "closed" in str(caught[0])
    assert len(daemon.requests) == 1


FORK = """
import os, sys, hwentropy
client = hwentropy.Client(sys.argv[1])
print(client.read(32).hex(), flush=True)
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        for _ in range(50):
            os.write(1, client.read(32).hex().encode() + b"\\n")
        os._exit(0)
    children.append(pid)
for _ in range(50):
    os.write(1, client.read(32).hex().encode() + b"\\n")
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
"""


def test_forked_children_have_connections_of_their_own(daemon: FakeDaemon) -> None:
    """A parent and four children at once: every reply is whole, and none comes twice."""
    lines = run_script(FORK, str(daemon.path)).split()
    assert sorted(lines) == sorted(piece.hex() for piece in pieces(daemon, 32))
    assert len(set(lines)) == 251
    assert daemon.connections == 5
    parent = [number for number, _ in daemon.requests if number == 1]
    assert len(parent) == 51


FORK_LOCKED = """
import os, sys, threading, hwentropy
client = hwentropy.Client(sys.argv[1])
thread = threading.Thread(target=client.read, args=(16,), daemon=True)
thread.start()
sys.stdin.readline()
pid = os.fork()
if not pid:
    print(client.read(8).hex(), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
thread.join()
print("parent was answered", flush=True)
"""


def test_a_fork_while_a_thread_waits(daemon: FakeDaemon) -> None:
    """The child neither inherits the lock nor ends the call of the parent's thread."""
    asked, release = threading.Event(), threading.Event()

    def first_waits(peer: Any, request: Any) -> None:
        if len(daemon.requests) == 1:
            asked.set()
            assert release.wait(30)
        honest(peer, request)

    daemon.handler = first_waits
    with subprocess.Popen(
        [sys.executable, "-c", FORK_LOCKED, str(daemon.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert asked.wait(30)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == daemon.handed_out.hex()
        release.set()
        assert process.stdout.readline().strip() == "parent was answered"
    assert process.returncode == 0


FORKING = """
import asyncio, os, signal, sys, hwentropy
from hwentropy.aio.connection import Connection as Awaited
from hwentropy.blocking import connection as module
from hwentropy.blocking.connection import Connection
path, kind, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
children = []
signal.signal(signal.SIGUSR1, lambda number, frame: children.append(os.fork()))

def interrupt(owner, name):
    # As if the signal came in the method's last step: its handler runs on return.
    method = getattr(owner, name)
    def interrupted(*arguments, **keywords):
        result = method(*arguments, **keywords)
        if not children:
            signal.raise_signal(signal.SIGUSR1)
        return result
    setattr(owner, name, interrupted)
"""

FORK_IN_A_CALL = """
for kept in (False, True):
    with hwentropy.Client(path) as client:
        drawn = [client.read(size) for _ in range(kept)]
        interrupt(module if kind == "connect" else Connection, kind)
        children.clear()
        if kind == "connect":
            client.after_fork()  # so that it connects
        drawn.append(client.read(size))
        if children[0]:
            assert os.waitpid(children[0], 0)[1] == 0
        drawn.append(client.read(size))
        for one in drawn if children[0] else drawn[-2:]:
            os.write(1, one[:32].hex().encode() + b"\\n")
        if not children[0]:
            os._exit(0)
"""


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("connect", 32), ("connect", 5000), ("connect", 2 * MAX_READ)),
        *(("_ask", 32), ("_finish", 32), ("_finish", 5000), ("_send", 5000)),
        *(("_send", 2 * MAX_READ), ("_accept", 2 * MAX_READ), ("_receive", 2 * MAX_READ)),
        ("_done", 2 * MAX_READ),
    ],
)
def test_a_fork_in_the_middle_of_a_call(daemon: FakeDaemon, kind: str, size: int) -> None:
    """A signal handler forks and returns, in both: no bytes twice, and no zeros."""
    lines = run_script(FORKING + FORK_IN_A_CALL, str(daemon.path), kind, str(size)).split()
    assert len(set(lines)) == len(lines) == 2 + 2 + 3 + 2
    assert bytes(32).hex() not in lines


FORK_IN_AN_AWAITED_CALL = """
async def read():
    interrupt(Awaited, kind)
    async with hwentropy.AsyncClient(path) as client:
        try:
            await client.read(size)
        except hwentropy.DaemonUnavailable:
            os._exit(children[0])
        assert os.waitpid(children[0], 0)[1] == 0
asyncio.run(read())
"""


@pytest.mark.parametrize(("kind", "size"), [("_accept", 32), ("_done", 32), ("_done", 5000)])
def test_a_fork_in_the_middle_of_an_awaited_call(
    daemon: FakeDaemon, kind: str, size: int
) -> None:
    """In a forked child of an event loop nothing can be asked: it raises."""
    run_script(FORKING + FORK_IN_AN_AWAITED_CALL, str(daemon.path), kind, str(size))


INTERRUPTED = """
import threading
class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop

class Lock:
    # A lock that is interrupted as soon as it was acquired.
    def __init__(self):
        self.lock = real()
    def acquire(self, *arguments, **keywords):
        got = self.lock.acquire(*arguments, **keywords)
        if armed:
            armed.clear()
            signal.raise_signal(signal.SIGUSR1)
        return got
    def release(self):
        self.lock.release()
    def __enter__(self):
        self.acquire()
    def __exit__(self, *ignored):
        self.release()

real, threading.RLock = threading.RLock, Lock
signal.signal(signal.SIGUSR1, stop)
armed = []
for timeout in (None, 30):
    with hwentropy.Client(path, timeout=timeout) as client:
        client.read(size)
        armed.append(True)
        try:
            client.read(size)
        except Stop:
            pass
        else:
            raise AssertionError
        thread = threading.Thread(target=client.read, args=(size,))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
"""


def test_an_interrupt_leaves_no_lock_held(daemon: FakeDaemon) -> None:
    """Ctrl-C just when a call has got the lock: another thread's call goes through."""
    run_script(FORKING + INTERRUPTED, str(daemon.path), "-", "32")


def test_a_call_within_a_call_is_refused(daemon: FakeDaemon) -> None:
    """By a signal handler: neither waits for itself for ever nor mixes two replies."""
    script = """
refused = []
def handler(number, frame):
    try:
        client.read(8)
    except RuntimeError:
        refused.append(True)
    children.append(1)
client = hwentropy.Client(path)
interrupt(Connection, kind)
signal.signal(signal.SIGUSR1, handler)
print(client.read(size).hex(), client.read(size).hex())
assert refused == [True]
signal.signal(signal.SIGUSR1, lambda number, frame: children.append(client.close()))
children.clear()
try:
    print(client.read(size).hex())
except ValueError as error:
    assert "closed" in str(error)
"""
    lines = run_script(FORKING + script, str(daemon.path), "_finish", "32").split()
    assert lines == [piece.hex() for piece in pieces(daemon, 32)][:2]


FORK_ASYNC_LOOP = """
import asyncio, os, sys, hwentropy
client = hwentropy.AsyncClient(sys.argv[1])
with asyncio.Runner() as runner:
    print(runner.run(client.read(8)).hex(), flush=True)
    pid = os.fork()
    if not pid:
        print(asyncio.run(client.read(8)).hex(), flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print(runner.run(client.read(8)).hex(), flush=True)
"""


def test_a_forked_child_leaves_the_parents_loop_alone(daemon: FakeDaemon) -> None:
    """After a child used the asyncio client, the parent's connection still works."""
    lines = run_script(FORK_ASYNC_LOOP, str(daemon.path)).split()
    assert lines == [piece.hex() for piece in pieces(daemon, 8)]
    assert [number for number, _ in daemon.requests] == [1, 2, 1]


def test_a_signal_that_raises_leaves_no_half_read_connection(daemon: FakeDaemon) -> None:
    """Ctrl-C in the middle of a reply: zeros in the buffer, and a new connection after."""
    script = """
import signal, os, sys, hwentropy
def handler(number, frame): raise KeyboardInterrupt
signal.signal(signal.SIGUSR1, handler)
client = hwentropy.Client(sys.argv[1])
buffer = bytearray(b"x" * 5000)
print(os.getpid(), flush=True)
try:
    client.read_into(buffer)
except KeyboardInterrupt:
    print(any(buffer), flush=True)
print(client.read(8).hex(), flush=True)
"""
    half = threading.Event()

    def first_half(peer: Any, request: Any) -> None:
        if len(daemon.requests) == 1:
            peer.send(peer.reply(request)[:2500])
            half.set()
        else:
            honest(peer, request)

    daemon.handler = first_half
    with subprocess.Popen(
        [sys.executable, "-c", script, str(daemon.path)],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert half.wait(30)
        wait_until_asleep(pid)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline().strip() == "False"
        assert process.stdout.readline().strip() == daemon.handed_out[-8:].hex()
    assert [number for number, _ in daemon.requests] == [1, 2]


def wait_until_asleep(pid: int) -> None:
    """Until the process waits in a system call."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < deadline


def test_a_large_read_needs_no_second_copy(daemon: FakeDaemon) -> None:
    """`read` hands out the very memory the kernel filled: its peak is one buffer."""
    import tracemalloc  # noqa: PLC0415 - it slows down whatever is imported after it

    size = 8 * MAX_READ

    def constant(peer: Any, request: Any) -> None:
        peer.send(reply[:2] + request.tag.to_bytes(2, "big") + reply[4:])

    reply = bytes([0, 0, 0, 0]) + MAX_READ.to_bytes(4, "big") + bytes(MAX_READ)
    daemon.handler = constant
    with Client(daemon.path) as client:
        client.read(MAX_READ)
        tracemalloc.start()
        try:
            client.read(size)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # The fake daemon, in this process, builds each 1 MiB reply twice over.
    assert peak < size + 4 * MAX_READ
