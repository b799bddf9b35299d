"""A child process, seen from the supervisor: one way to start, watch and kill it.

    children = Children()                     # the template process behind it
    child = children.start("worker", settings, [page_fd])
    child.sock                                # the channel; the settings are its first message
    child.take_reports()                      # what the template has reported meanwhile
    child.ended                               # "died of SIGSEGV", "ended with exit code 3"
    child.kill()

`start` waits for nothing: the request and the settings lie in sockets until the
template has come as far, so it can be called from the event loop and from threads.
A template that has died is replaced by the next `start`; the children it had go on,
and of their end only the fact is known.

What this does not protect against: a child that keeps its channel open and does
nothing is its owner's to notice.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Final

import msgspec

from hwentropy_core.errors import HwentropyError

from .operating import signals
from .template_messages import ENDED, NOT_STARTED, NUMBER, REPORT_BYTES, STARTED

#: The largest first message: a table of a configuration, far below what a socket's
#: buffer holds at once (net.core.wmem_default, 212,992).
SETTINGS_BYTES: Final = 1 << 16

#: Seconds for a child to be ready.  Forked it takes some 10 ms, the template before it
#: 0.2 s where everything is to be read from a disk a few seconds; three times that.
START_SECONDS: Final = 10.0

#: Seconds for a template that has forked before to fork again, which takes it 2 ms; long
#: for a machine that swaps.  One that takes longer is stopped or stuck, and is replaced.
FORK_SECONDS: Final = 2.0

#: Seconds from the end of a channel to the report of its process's end, which the
#: kernel and the template take a millisecond for; long for a machine that swaps.
REPORT_SECONDS: Final = 2.0


class SettingsTooLongError(HwentropyError):
    """What a child would have to be told does not fit into its first message."""


class Child:
    """One process.  For one thread at a time; `kill` for all."""

    def __init__(
        self, template: "Template", sock: socket.socket, report: socket.socket
    ) -> None:
        self.sock = sock
        """Our end of the channel."""
        self.report = report
        """Readable when `take_reports` will find something new."""
        self.pid = 0
        """Its process id; 0 until it is known to be started."""
        self.ended = ""
        """How it ended; empty while it has not.  After "its process"."""
        self.reported = True
        """Whether its end will be reported; False once its template has died."""
        self._template = template
        self._handle = -1

    def take_reports(self) -> None:
        """Take what has been reported; waits for nothing."""
        while self.reported and not self.ended:
            try:
                datagram, fds, _, _ = socket.recv_fds(self.report, REPORT_BYTES, 1)
            except BlockingIOError:
                return
            except ConnectionResetError:
                datagram, fds = b"", []
            kind, rest = datagram[:1], datagram[1:]
            if kind in {STARTED, NOT_STARTED}:
                self._template.answered = True
            if kind == STARTED and fds:
                (self.pid,) = NUMBER.unpack(rest)
                self._handle = fds[0]
            elif kind == ENDED:
                self.ended = describe(NUMBER.unpack(rest)[0])
            elif kind == NOT_STARTED:
                self.ended = f"could not start ({rest.decode(errors='replace')})"
            else:
                self.reported = False
                if not self.pid:
                    self.ended = f"could not start ({self._template.failure()})"

    @property
    def awaits_fork(self) -> bool:
        """Whether it is not forked yet, by a template that did so at once before."""
        return not self.pid and not self.ended and self._template.answered

    def wait_for_fork(self) -> None:
        """Wait until it is forked; a template that does not come to it is killed.

        Not for the first that a template is asked for: START_SECONDS hold for that one.
        """
        give_up = time.monotonic() + FORK_SECONDS
        self.take_reports()
        while self.awaits_fork:
            left = give_up - time.monotonic()
            if left <= 0 or not _readable([self.report], left):
                self.kill()
                return
            self.take_reports()

    def wait(self, seconds: float) -> bool:
        """Wait until its end is known, so long at most."""
        give_up = time.monotonic() + seconds
        self.take_reports()
        while not self.ended and self.reported:
            left = give_up - time.monotonic()
            if left <= 0 or not _readable([self.report], left):
                return False
            self.take_reports()
        return bool(self.ended)

    def receive_into(self, buffer: bytearray, seconds: float) -> int:
        """The next message on the channel, cut to the buffer; its true length.

        Raises TimeoutError, and EOFError when its end has come instead.
        """
        give_up = time.monotonic() + seconds
        while True:
            # Something else may hold the channel open after the process's end.
            self.take_reports()
            with contextlib.suppress(BlockingIOError):
                try:
                    length = self.sock.recv_into(buffer, 0, socket.MSG_TRUNC)
                except ConnectionResetError:
                    length = 0
                if length == 0:
                    raise EOFError
                return length
            if self.ended:
                raise EOFError
            left = give_up - time.monotonic()
            watched = [self.sock, *([self.report] if self.reported else [])]
            if left <= 0 or not _readable(watched, left):
                raise TimeoutError

    def kill(self) -> None:
        """SIGKILL, if it is not dead already; may be called twice, and after `close`."""
        if self.report.fileno() < 0:
            return
        if not self.pid:
            self.take_reports()
        if self.ended:
            return
        if self._handle < 0:
            # Its template has not come to it: it is stuck, or hopelessly late.
            self._template.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; a living one sees its channel end."""
        self.sock.close()
        self.report.close()
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


class Template:
    """One template process; `Children` replaces it once it is of no use."""

    def __init__(self) -> None:
        """Execute it.  Raises OSError."""
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, signals.blocked():
            try:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", "hwentropyd.template"),
                        str(theirs.fileno()),
                    ],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                )
            except BaseException:
                self.requests.close()
                raise
        self.requests.setblocking(False)
        self.used = False
        """Whether it was asked for a child."""
        self.answered = False
        """Whether it has come to a request."""
        self._lock = threading.Lock()
        self._failure = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it; the children it has go on."""
        self._process.kill()

    def failure(self) -> str:
        """Why it is of no use any more; waits for its end."""
        with self._lock:
            if not self._failure:
                said = self._last_words()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(REPORT_SECONDS)  # it has closed its end already
                self._process.kill()
                how = describe_code(self._process.wait())
                self._failure = said or f"the template process {how}"
            return self._failure

    def _last_words(self) -> str:
        for _ in range(2):
            try:
                return self.requests.recv(REPORT_BYTES)[1:].decode(errors="replace")
            except ConnectionResetError:
                continue  # said once, where it had not read all; what it sent comes after
            except OSError:
                break
        return ""

    def close(self) -> None:
        """Tell it to end with every child it has, and wait for that."""
        self.requests.close()
        if not self.used:
            self.kill()  # it may have its imports still to do
        try:
            self._process.wait(REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            # Stopped (SIGSTOP), for one: not to be left behind.
            self.kill()
            self._process.wait()


class Children:
    """Starts children; for any thread."""

    def __init__(self) -> None:
        self.log_level = "info"
        """From which level on the children log that are started from now on."""
        self._lock = threading.Lock()
        self._template: Template | None = None
        self._started: weakref.WeakSet[Child] = weakref.WeakSet()
        self._closed = False

    def prepare(self) -> Template:
        """The template, executed now if there is none.  Raises OSError."""
        with self._lock:
            if self._closed:
                raise OSError(errno.ESHUTDOWN, "the daemon ends")
            if self._template is None:
                self._template = Template()
            return self._template

    def start(self, role: str, settings: msgspec.Struct, fds: Sequence[int] = ()) -> Child:
        """Start a child and give it its settings, with descriptors of ours.

        Raises OSError where the machine has no process, descriptor or memory for it, and
        SettingsTooLongError.
        """
        encoded = msgspec.msgpack.encode(settings)
        if len(encoded) > SETTINGS_BYTES:
            raise SettingsTooLongError(
                f"{len(encoded)} bytes of settings for a {role} are more than {SETTINGS_BYTES}"
            )
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)
            with theirs:
                report, reporter = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                undo.callback(report.close)
                with reporter:
                    ours.setblocking(False)
                    report.setblocking(False)
                    socket.send_fds(ours, [encoded], fds)
                    template = self._request(
                        f"{role} {self.log_level}".encode(), theirs, reporter
                    )
            undo.pop_all()
        child = Child(template, ours, report)
        with self._lock:
            self._started.add(child)
        return child

    def close(self) -> None:
        """End the template and every child that is left; for good."""
        with self._lock:
            self._closed = True
            if self._template is not None:
                self._template.close()
                self._template = None
            # Those of a template that died before, of which one may be stopped (SIGSTOP)
            # or in a source's endless call: it would not see its channel end.
            for child in self._started:
                with contextlib.suppress(OSError):  # its owner is letting go of it
                    child.kill()

    def _request(self, request: bytes, *ends: socket.socket) -> Template:
        fds = [end.fileno() for end in ends]
        template = self.prepare()
        template.used = True
        try:
            socket.send_fds(template.requests, [request], fds)
        except (BrokenPipeError, ConnectionResetError):
            with self._lock:
                if self._template is template:
                    self._template = None
            template.failure()
            template.requests.close()
            template = self.prepare()
            template.used = True
            socket.send_fds(template.requests, [request], fds)
        return template


def describe(status: int) -> str:
    """How a process ended, by its wait status: after "its process"."""
    return describe_code(os.waitstatus_to_exitcode(status))


def describe_code(code: int) -> str:
    """The same by its exit code, a negative one a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"died of signal {-code}"


def _readable(socks: list[socket.socket], seconds: float) -> bool:
    poll = select.poll()  # select(2) ends at descriptor 1,023
    for sock in socks:
        poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
