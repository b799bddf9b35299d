"""The serving processes, seen from the supervisor: started, fed, replaced.

Each worker is a child (`hwentropyd.child`) at the other end of a SEQPACKET socket
pair.  One whose process or channel ends is replaced; one that does not answer a ping
gets no connection, and is killed if that goes on.

A connection that no worker can take now is held until one has room.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from hwentropy_core.memory import wipe
from hwentropy_core.page import ServiceState
from hwentropy_core.status import WorkerStatus
from hwentropyd import channel
from hwentropyd.child import FORK_SECONDS, REPORT_SECONDS, Children
from hwentropyd.config.schema import ServerConfig
from hwentropyd.seeding.root import Root
from hwentropyd.worker.settings import WorkerSettings

from .incoming import Incoming
from .starts import Starts
from .worker_handle import WorkerHandle

log = logging.getLogger(__name__)

#: Seconds between two looks at whether a worker answered its last ping: two messages
#: of some 50 us each, 0.02 % of a core a worker.
PING_SECONDS: Final = 0.5

#: Looks without an answer after which a worker is killed, with all its connections:
#: 10 s.  It has some 3 MB of its own, 750 pages, which a machine that swaps reads back
#: from a disk, 100 a second, in 8 s.  Looks and not seconds: when the supervisor was
#: itself stopped it has not looked, and blames nobody.
SILENT_LOOKS: Final = 20

#: Looks after which one has to be forked at least: child.FORK_SECONDS.
FORK_LOOKS: Final = round(FORK_SECONDS / PING_SECONDS)

#: Seconds for a worker's answer to a ping of Status: whoever asks for the status does
#: not wait for one that hangs.
COUNT_SECONDS: Final = 0.2

#: Seconds for a worker to end after Stop: its own 0.6 and the way there, so that
#: all of a stop takes less than a second.
STOP_SECONDS: Final = 0.85


class WorkerPool:
    """All workers; runs in the supervisor's event loop."""

    def __init__(
        self,
        root: Root,
        server: ServerConfig,
        children: Children,
        *,
        drawn: Callable[[int], None],
        want_fresh: Callable[[WorkerHandle, int], None],
        ended: Callable[[WorkerHandle, int], None],
        refused: Callable[[int, int, int], None],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`drawn` hears of bytes handed out, `want_fresh` of prediction resistance.

        `ended` hears of a connection that is over, by its worker and number; `refused` of
        requests over quota and not permitted, by the user's number.
        """
        self.root = root
        self.workers: list[WorkerHandle] = []
        self.server = server
        self.loop = asyncio.get_running_loop()
        self._children = children
        self._drawn = drawn
        self._want_fresh = want_fresh
        self._ended = ended
        self._refused = refused
        self._clock = clock or self.loop.time
        self._serial = 0
        self._next_connection = 0
        self._stopping = False
        self._all_ready = asyncio.Event()
        self._held: deque[Incoming] = deque()
        self._counted = asyncio.Event()
        """Whether a worker has answered, or is gone, since it was last cleared."""
        self._starts = Starts(server.workers)

    def start(self) -> None:
        """Start the workers."""
        for _ in range(self.server.workers):
            self._spawn()

    async def ready(self) -> None:
        """Return once all of them serve."""
        await self._all_ready.wait()

    @property
    def full(self) -> bool:
        """Whether connections have to wait for a worker to take them."""
        return bool(self._held) or not self._serving()

    def shortage(self) -> tuple[ServiceState, str] | None:
        """How the service is for want of workers; None while one serves."""
        if self._serving():
            return None
        if self._starts.failure:
            return ServiceState.FAILED, f"no worker can be started: {self._starts.failure}"
        if any(worker.ready for worker in self.workers):
            return ServiceState.FAILED, "no worker answers"
        return ServiceState.STARTING, "no worker is ready yet"

    def assign(self, incoming: Incoming) -> None:
        """Hand a connection to the worker with the fewest, or to its user's one worker."""
        if self._held or not self._hand_over(incoming):
            self._held.append(incoming)
            if len(self._held) == 1:
                self.loop.call_later(0.005, self._retry_held)

    def status(self) -> list[WorkerStatus]:
        """What `hwentropy status` shows of them, the counts as of their last answers."""
        now = self._clock()
        return [worker.status(now) for worker in self.workers]

    def send_seeds(self, generation: int) -> None:
        """Send every worker its seed of this generation."""
        for worker in list(self.workers):
            self._send_seed(worker, generation)

    def forget(self) -> None:
        """The generation has moved, and its seeds are still to come."""
        for worker in self.workers:
            worker.send(channel.Forget())

    def wake(self) -> None:
        """The state on the page changed."""
        for worker in self.workers:
            worker.send(channel.Wake())

    def tick(self) -> None:
        """Ping every worker; kill those that are silent.  Call every PING_SECONDS."""
        now = self._clock()
        for worker in self.workers:
            if worker.asked is None:
                worker.silent_looks = 0
                worker.ask(now)
                continue
            worker.silent_looks += 1
            if worker.silent_looks == FORK_LOOKS and worker.child.awaits_fork:
                log.warning("the process that starts workers is stuck: killed, to be replaced")
                worker.child.kill()
            elif worker.silent_looks == SILENT_LOOKS:
                what = "does not answer" if worker.ready else "does not get ready"
                log.warning("worker %d %s: killed, to be replaced", worker.pid, what)
                worker.child.kill()
        ready = sum(worker.ready for worker in self.workers)
        if ready == self.server.workers and self._starts.all_there():
            log.info("all workers serve again")

    async def count(self) -> None:
        """Bring the workers' counts up to date.

        After COUNT_SECONDS those of a worker that hangs stay what they were.
        """
        now = self._clock()
        waited = [one for one in self.workers if one.serves(now)]
        for worker in waited:
            if worker.asked is None:
                worker.ask(now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_SECONDS):
                while any(one.asked is not None for one in waited if one in self.workers):
                    self._counted.clear()
                    await self._counted.wait()

    async def check(self, seconds: float) -> list[int]:
        """Have the workers run their known-answer tests; the process ids of those that did.

        One that fails ends, and is replaced by one that tests itself at its start.
        """
        asked = [one for one in self.workers if one.ready]
        for worker in asked:
            worker.checked = False
            worker.send(channel.Check())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(one.checked for one in asked if one in self.workers):
                    self._counted.clear()
                    await self._counted.wait()
        return [worker.pid for worker in asked if worker.checked]

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

    def _serving(self) -> list[WorkerHandle]:
        now = self._clock()
        return [worker for worker in self.workers if worker.serves(now)]

    def _spawn(self) -> None:
        """Start a worker, as soon as the machine lets us."""
        if self._stopping:
            return
        settings = WorkerSettings(self.server.lease_bytes, self.server.lease_seconds)
        try:
            child = self._children.start("worker", settings, [self.root.page.fd])
        except OSError as error:
            # No process, memory or descriptor to be had: for now, as a rule.
            self._not_started(f"{error.strerror}")
            return
        self._serial += 1
        worker = WorkerHandle(child, self._serial, self.loop, self._clock())
        self.workers.append(worker)
        self.loop.add_reader(worker.sock, self._receive, worker)
        self.loop.add_reader(child.report, self._reported, worker)
        if self.root.seeded:
            self._send_seed(worker, self.root.generation)

    def _send_seed(self, worker: WorkerHandle, generation: int) -> None:
        seed = self.root.child_seed(b"worker %d" % worker.number, generation)
        worker.send(channel.Seed(generation, seed))
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
        serving = self._serving()
        if incoming.admission.allowance.pinned and serving:
            # Its user's requests are counted in one place.
            return [serving[incoming.admission.user % len(serving)]]
        return sorted(serving, key=lambda one: len(one.connections))

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
                self._hung_up(worker)
                return
            try:
                message = channel.decode(datagram)
            except ValueError:
                log.exception("worker %d is not understood", worker.pid)
                self._hung_up(worker)
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
        elif isinstance(message, channel.Checked):
            worker.checked = True
            self._counted.set()
        elif isinstance(message, channel.Ready):
            worker.child.take_reports()  # it was started, whether or not that was read before
            worker.ready = True
            if all(one.ready for one in self.workers):
                self._all_ready.set()

    def _over(self, worker: WorkerHandle, number: int) -> None:
        incoming = worker.connections.pop(number, None)
        if incoming is not None:
            incoming.ended(incoming.admission)
            self._ended(worker, number)

    def _hung_up(self, worker: WorkerHandle) -> None:
        """Its channel is closed: it has ended or is about to, and how is reported next."""
        self.loop.remove_reader(worker.sock)
        worker.hung_up = True
        worker.child.kill()
        if worker.child.reported:
            self.loop.call_later(REPORT_SECONDS, self._lost, worker)
        else:
            self._lost(worker)

    def _reported(self, worker: WorkerHandle) -> None:
        worker.child.take_reports()
        if worker.child.ended:
            self._receive(worker)  # what it said before
            self._lost(worker)
        elif not worker.child.reported:
            self.loop.remove_reader(worker.child.report)

    def _lost(self, worker: WorkerHandle) -> None:
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        self._counted.set()
        how = worker.child.ended or "ended, nobody saw how"
        worker.close()
        for number in list(worker.connections):
            self._over(worker, number)
        if self._stopping:
            return
        if not worker.ready:
            self._not_started(f"its process {how}")
            return
        log.warning("worker %d %s: replaced", worker.pid, how)
        self._spawn_in(self._starts.died(self._clock() - worker.started))

    def _not_started(self, reason: str) -> None:
        """Try again after a pause; say why once."""
        pause, new = self._starts.failed(reason)
        if new:
            log.warning("a worker cannot be started: %s; tried again", reason)
        self._spawn_in(pause)

    def _spawn_in(self, pause: float) -> None:
        if pause:
            self.loop.call_later(pause, self._spawn)
        else:
            self._spawn()
