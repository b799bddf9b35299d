"""The serving processes, seen from the supervisor: started, fed, replaced.

Each worker is a fresh process (not a fork: the root key must not be in its
memory) at the other end of a SEQPACKET socket pair.  A worker whose end closes
is dead and is replaced; one that does not answer a ping is killed.

No message to a worker is lost: what the channel does not take at once waits its
turn here.  A connection is not a message that waits: it goes to another worker,
or is held until one has room.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

from hwentropy_core.memory import wipe
from hwentropy_core.status import WorkerStatus
from hwentropyd import channel
from hwentropyd.config.schema import ServerConfig
from hwentropyd.operating import signals
from hwentropyd.seeding.root import Root

from .incoming import Incoming

log = logging.getLogger(__name__)

#: Seconds between two looks at whether a worker answered its last ping.
PING_SECONDS: Final = 5.0

#: Seconds that a worker may leave a ping unanswered before it is killed: three
#: looks, so that a machine that swaps does not look like a hang.  Counted from
#: the ping and not from the last answer: a supervisor that was itself stopped
#: for a while has not asked, and blames nobody.
SILENT_SECONDS: Final = 15.0

#: Seconds for a worker's answer to a ping of Status: a busy one takes some twenty
#: milliseconds, and whoever asks for the status does not wait for one that hangs.
COUNT_SECONDS: Final = 0.2

#: Pause before a worker is replaced that died within a second of its start or could
#: not be started.
RESPAWN_SECONDS: Final = 0.5

#: Seconds for a worker to end after Stop: its own 0.6 and the way there, so that
#: all of a stop takes less than a second.
STOP_SECONDS: Final = 0.85

#: The channel is full: a worker is slower than messages or connections come.
_FULL: Final = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}


class WorkerHandle:
    """One worker process."""

    def __init__(self, pool: "WorkerPool", number: int, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        page_fd = pool.root.page.fd
        with theirs, signals.blocked():
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "hwentropyd.worker",
                    str(theirs.fileno()),
                    str(page_fd),
                    str(pool.server.lease_bytes),
                    str(pool.server.lease_seconds),
                ],
                pass_fds=(theirs.fileno(), page_fd),
                stdin=subprocess.DEVNULL,
            )
        ours.setblocking(False)
        self._loop = pool.loop
        self._queue: deque[bytes] = deque()
        self.number = number
        self.sock = ours
        self.started = now
        self.asked: float | None = None
        """When the ping was sent that it has not answered yet."""
        self.ready = False
        self.connections: dict[int, Incoming] = {}
        """By number; the socket of each is closed here."""
        self.requests = 0
        self.bytes = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def send(self, message: channel.Message) -> None:
        """Send a message, in its turn if the channel is full.

        The queue is bounded by the answers to its own wishes and by the seeds of
        SILENT_SECONDS: at some hundred reseeds a second, one megabyte.  To one that is
        closed there is nothing to say: a wish of its may be met in that moment.
        """
        if self.sock.fileno() < 0:
            return
        self._queue.append(message.encode())
        if len(self._queue) == 1:
            self._flush()

    def ask(self, now: float) -> None:
        """Send it a ping."""
        self.asked = now
        self.send(channel.Ping())

    def hand_over(self, message: channel.Assign, fd: int) -> bool:
        """Give it a connection; False when it cannot take it now or ever."""
        return not self._queue and self._sent(message.encode(), [fd])

    def close(self) -> None:
        """Kill it, reap it and close the channel."""
        self._loop.remove_reader(self.sock)
        self._loop.remove_writer(self.sock)
        self.sock.close()
        self._queue.clear()
        self.process.kill()
        self.process.wait()

    def _flush(self) -> None:
        while self._queue and self._sent(self._queue[0], []):
            self._queue.popleft()
        if self._queue:
            self._loop.add_writer(self.sock, self._flush)
        else:
            self._loop.remove_writer(self.sock)

    def _sent(self, datagram: bytes, fds: list[int]) -> bool:
        try:
            socket.send_fds(self.sock, [datagram], fds)
        except OSError as error:
            if error.errno in _FULL:
                return False
            # Its end is closed: there is nobody to tell, and `_lost` comes next.
            log.debug("worker %d: %s", self.pid, error.strerror)
            self._queue.clear()
            return False
        return True

    def status(self) -> WorkerStatus:
        """What `hwentropy status` shows of it."""
        return WorkerStatus(
            pid=self.pid,
            connections=len(self.connections),
            requests=self.requests,
            bytes=self.bytes,
        )


class WorkerPool:
    """All workers; runs in the supervisor's event loop."""

    def __init__(
        self,
        root: Root,
        server: ServerConfig,
        *,
        drawn: Callable[[int], None],
        want_fresh: Callable[[WorkerHandle, int], None],
        ended: Callable[[WorkerHandle, int], None],
        refused: Callable[[int, int, int], None],
    ) -> None:
        """`drawn` hears of bytes handed out, `want_fresh` of prediction resistance.

        `ended` hears of a connection that is over, by its worker and number; `refused` of
        requests over quota and not permitted, by the user's number.
        """
        self.root = root
        self.workers: list[WorkerHandle] = []
        self.server = server
        self._drawn = drawn
        self._want_fresh = want_fresh
        self._ended = ended
        self._refused = refused
        self.loop = asyncio.get_running_loop()
        self._serial = 0
        self._next_connection = 0
        self._stopping = False
        self._all_ready = asyncio.Event()
        self._held: deque[Incoming] = deque()
        self._counted = asyncio.Event()
        """Whether a worker has answered a ping, or is gone, since it was last cleared."""

    def start(self) -> None:
        """Start the workers; raises OSError when one cannot be started."""
        for _ in range(self.server.workers):
            self._spawn()

    async def ready(self) -> None:
        """Return once all of them serve."""
        await self._all_ready.wait()

    @property
    def full(self) -> bool:
        """Whether connections have to wait for a worker to take them."""
        return bool(self._held)

    def assign(self, incoming: Incoming) -> None:
        """Hand a connection to the worker with the fewest, or to its user's one worker."""
        if self._held or not self._hand_over(incoming):
            self._held.append(incoming)
            if len(self._held) == 1:
                self.loop.call_later(0.005, self._retry_held)

    def send_seeds(self, generation: int) -> None:
        """Send every worker its seed of this generation."""
        for worker in list(self.workers):
            self._send_seed(worker, generation)

    def wake(self) -> None:
        """The state on the page changed."""
        for worker in self.workers:
            worker.send(channel.Wake())

    def tick(self, now: float) -> None:
        """Ping every worker; kill those that are silent.  Call every PING_SECONDS."""
        for worker in self.workers:
            if worker.asked is None:
                worker.ask(now)
            elif now - worker.asked >= SILENT_SECONDS:
                log.warning("worker %d does not answer: killed, to be replaced", worker.pid)
                worker.process.kill()

    async def count(self) -> None:
        """Bring the workers' counts up to date.

        After COUNT_SECONDS those of a worker that hangs stay what they were.
        """
        for worker in self.workers:
            if worker.asked is None:
                worker.ask(self.loop.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_SECONDS):
                while any(one.ready and one.asked is not None for one in self.workers):
                    self._counted.clear()
                    await self._counted.wait()

    async def stop(self) -> None:
        """Let the workers answer what they have begun, then end them."""
        self._stopping = True
        for incoming in self._held:
            incoming.turn_away()
        self._held.clear()
        for worker in self.workers:
            worker.send(channel.Stop())
        deadline = self.loop.time() + STOP_SECONDS
        # Their messages are still read: a worker that cannot report the end of
        # a connection gets no further.
        while self.workers and self.loop.time() < deadline:
            await asyncio.sleep(0.01)
        for worker in self.workers:
            worker.close()
        self.workers.clear()

    def _spawn(self) -> None:
        if self._stopping:
            return
        self._serial += 1
        worker = WorkerHandle(self, self._serial, self.loop.time())
        self.workers.append(worker)
        self.loop.add_reader(worker.sock, self._receive, worker)
        if self.root.seeded:
            self._send_seed(worker, self.root.generation)

    def _send_seed(self, worker: WorkerHandle, generation: int) -> None:
        seed = self.root.child_seed(b"worker %d" % worker.number, generation)
        worker.send(channel.Seed(generation, bytes(seed)))
        wipe(seed)

    def _hand_over(self, incoming: Incoming) -> bool:
        message = incoming.assign(self._next_connection)
        for worker in self._candidates(incoming):
            if worker.hand_over(message, incoming.sock.fileno()):
                worker.connections[self._next_connection] = incoming
                self._next_connection += 1
                incoming.sock.close()
                return True
        return False

    def _candidates(self, incoming: Incoming) -> list[WorkerHandle]:
        """Those that may take it, best first."""
        if incoming.admission.allowance.pinned and self.workers:
            # Its user's requests are counted in one place.
            return [self.workers[incoming.admission.user % len(self.workers)]]
        return sorted(self.workers, key=lambda one: len(one.connections))

    def _retry_held(self) -> None:
        while self._held:
            if not self._hand_over(self._held[0]):
                self.loop.call_later(0.005, self._retry_held)
                return
            self._held.popleft()

    def _receive(self, worker: WorkerHandle) -> None:
        for _ in range(256):
            try:
                datagram = worker.sock.recv(channel.MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:
                self._lost(worker)
                return
            try:
                message = channel.decode(datagram)
            except ValueError:
                log.exception("worker %d is not understood", worker.pid)
                self._lost(worker)
                return
            self._handle(worker, message)

    def _handle(self, worker: WorkerHandle, message: channel.Message) -> None:
        if isinstance(message, channel.Closed):
            self._over(worker, message.id)
        elif isinstance(message, channel.WantFresh):
            incoming = worker.connections.get(message.id)
            if incoming is None:
                return  # it has ended meanwhile
            if incoming.admit_fresh(incoming.admission):
                self._want_fresh(worker, message.id)
            else:
                worker.send(channel.FreshRefused(message.id))
        elif isinstance(message, channel.Refused):
            self._refused(message.user, message.over_quota, message.not_permitted)
        elif isinstance(message, channel.Drawn):
            self._drawn(message.count)
        elif isinstance(message, channel.Pong):
            worker.asked = None
            self._counted.set()
            worker.requests, worker.bytes = message.requests, message.bytes
            self._drawn(message.drawn)
        elif isinstance(message, channel.Ready):
            worker.ready = True
            if all(one.ready for one in self.workers):
                self._all_ready.set()

    def _over(self, worker: WorkerHandle, number: int) -> None:
        incoming = worker.connections.pop(number, None)
        if incoming is not None:
            incoming.ended(incoming.admission)
            self._ended(worker, number)

    def _lost(self, worker: WorkerHandle) -> None:
        self.workers.remove(worker)
        self._counted.set()
        # Its end is closed, so it has exited or is about to; do not wait for that.
        worker.close()
        for number in list(worker.connections):
            self._over(worker, number)
        if self._stopping:
            return
        log.warning("worker %d ended (%s): replaced", worker.pid, _how(worker.process))
        if self.loop.time() - worker.started < 1.0:
            self.loop.call_later(RESPAWN_SECONDS, self._replace)
        else:
            self._replace()

    def _replace(self) -> None:
        """Start a worker in the place of a lost one, as soon as the machine lets us."""
        try:
            self._spawn()
        except OSError as error:
            # No process, memory or descriptor to be had: for now, as a rule.
            log.warning("no worker can be started (%s): tried again", error.strerror)
            self.loop.call_later(RESPAWN_SECONDS, self._replace)


def _how(process: "subprocess.Popen[bytes]") -> str:
    code = process.returncode
    return f"signal {-code}" if code < 0 else f"exit code {code}"
