"""The template: `hwentropyd.template REQUESTS_FD`, the parent of every child.

It is executed afresh, imports what workers and collectors need, and then forks one
for every request (template_messages.py): a child costs the pages that it changes and no
import.  It never held a key, a sample or a configuration, so a child's memory holds none
either.  One thread, no event loop: what it has at a fork is all there is.

Whatever a child leaves behind is adopted (PR_SET_CHILD_SUBREAPER) and killed when a
child ends.  When the supervisor is gone, the requests' end closes: then all are
killed, and the template ends.

What this does not protect against: all children share one address layout, see
docs/decisions/0010.
"""

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from hwentropyd import confinement
from hwentropyd.operating import logs, signals, streams

from .template_messages import ENDED, NOT_STARTED, NUMBER, REPORT_BYTES, REQUEST_BYTES, STARTED

log = logging.getLogger(__name__)

#: What a child can be: the module whose `prepare` takes the channel, gives up rights,
#: and returns what serves until the channel closes.
ROLES: Final = {
    "worker": "hwentropyd.worker.process",
    "collector": "hwentropyd.collector.process",
}

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h

Prepare = Callable[[socket.socket], Callable[[], None]]


class Template:
    """Forks on request and reports ends."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._prepare: dict[str, Prepare] = {
            role: import_module(module).prepare for role, module in ROLES.items()
        }
        self._reports: dict[int, socket.socket] = {}
        """Where to report a living child's end, by its process id."""
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def run(self) -> None:
        """Fork until the supervisor is gone; then end every child."""
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        # What is there by now is never collected, so no collection touches its pages,
        # which would copy them: gc.freeze.
        gc.collect()
        gc.freeze()
        poll = select.poll()
        for watched in (self._requests, self._woken):
            poll.register(watched, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                self._reap()
            if self._requests.fileno() in ready and not self._serve():
                break
        # What they leave behind becomes ours as they end.
        while children := set(_children()):
            self._kill(children)
            for pid in children:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _serve(self) -> bool:
        """Take a request; False when there will be no more."""
        try:
            request, fds, _, _ = socket.recv_fds(self._requests, REQUEST_BYTES, 2)
        except ConnectionResetError:
            return False
        if not request:
            return False
        socks = [socket.socket(fileno=fd) for fd in fds]
        if len(socks) != 2:
            # No descriptor was free for them (MSG_CTRUNC); what the kernel closed tells
            # the supervisor that nothing was started.
            for sock in socks:
                sock.close()
            return True
        for sock in socks:
            sock.set_inheritable(False)  # what a source's code executes gets none
        with socks[0]:
            self._fork(request.decode(), *socks)
        return True

    def _fork(self, request: str, sock: socket.socket, report: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            with contextlib.suppress(OSError):
                report.send(NOT_STARTED + os.strerror(error.errno or 0).encode())
            report.close()
            return
        if pid == 0:
            role, level = request.split()
            self._become(role, level, sock, report)
        self._reports[pid] = report
        with contextlib.suppress(OSError):  # nobody may listen any more
            handle = os.pidfd_open(pid)
            try:
                socket.send_fds(report, [STARTED + NUMBER.pack(pid)], [handle])
            finally:
                os.close(handle)

    def _become(
        self, role: str, level: str, sock: socket.socket, report: socket.socket
    ) -> NoReturn:
        """In the child: let go of what is the template's, and be what was asked for."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self._requests, self._woken, self._wake, *self._reports.values()):
                other.close()
            with report:
                try:
                    logging.getLogger().setLevel(level.upper())
                    serve = self._prepare[role](sock)
                    streams.release()
                except Exception as error:  # noqa: BLE001  (told to the owner, who decides)
                    report.send(NOT_STARTED + _in_a_line(error))
                    os._exit(code)
            serve()
            code = 0
        except Exception:
            log.exception("a %s ended by an unforeseen error", role)
        finally:
            streams.finish(streams.STOP_SECONDS)
            # Threads may be in the middle of a system call, a source's code anywhere.
            os._exit(code)

    def _reap(self) -> None:
        ended = False
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                report = self._reports.pop(pid, None)
                if report is not None:
                    ended = True
                    with report, contextlib.suppress(OSError):
                        report.send(ENDED + NUMBER.pack(status))
        if ended:
            self._kill(set(_children()) - self._reports.keys())

    @staticmethod
    def _kill(pids: set[int]) -> None:
        for pid in pids:
            # Ours, and not waited for yet: the number is of no other process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _ignore(*_: object) -> None:
    """What has been waited for is told by the wake-up descriptor."""


def _children() -> Iterator[int]:
    """Of this process, which has one thread; proc(5)."""
    own = os.getpid()
    with contextlib.suppress(OSError):
        for pid in Path(f"/proc/self/task/{own}/children").read_text("ascii").split():
            yield int(pid)


def _in_a_line(error: Exception) -> bytes:
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    return text.encode(errors="replace")[: REPORT_BYTES - 1]


def main() -> None:
    """Entry point of the process."""
    (requests_fd,) = sys.argv[1:]
    signals.ignore()
    requests = socket.socket(fileno=int(requests_fd))
    confinement.confine_template()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        # Held back for ever here, and released in each child: a page that is written to
        # before the fork is not copied after it, and there is no thread to be lost.
        streams.install(held=True)
        logs.set_up()
        template = Template(requests)
    except Exception as error:  # noqa: BLE001  (told to the supervisor, who says it once)
        with contextlib.suppress(OSError):
            requests.send(NOT_STARTED + _in_a_line(error))
        sys.exit(1)
    template.run()


if __name__ == "__main__":
    main()
