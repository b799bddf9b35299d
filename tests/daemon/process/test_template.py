"""The template as a process of its own, asked by the test in the supervisor's place."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hwentropyd.collector.messages import CollectorSettings, Ready, decode_answer
from hwentropyd.template_messages import ENDED, NOT_STARTED, NUMBER, REPORT_BYTES, STARTED
from support.raw_client import PATIENCE

pytestmark = pytest.mark.process


class Started:
    """A child that was asked for: our ends of its channel and of its report."""

    def __init__(self, requests: socket.socket, words: str, settings: msgspec.Struct) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        (self.channel, theirs), (self.reports, reporter) = pairs
        for sock in (self.channel, self.reports):
            sock.settimeout(PATIENCE)
        self.channel.send(msgspec.msgpack.encode(settings))
        with theirs, reporter:
            socket.send_fds(requests, [words.encode()], [theirs.fileno(), reporter.fileno()])

    def report(self) -> tuple[bytes, bytes, list[int]]:
        """Kind, the rest, and descriptors of the next report."""
        datagram, fds, _, _ = socket.recv_fds(self.reports, REPORT_BYTES, 1)
        return datagram[:1], datagram[1:], fds

    def close(self) -> None:
        """Both ends."""
        self.channel.close()
        self.reports.close()


class Template:
    """The process, and what was asked of it."""

    def __init__(self) -> None:
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.children: list[Started] = []
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hwentropyd.template", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )

    def start(self, words: str = "collector info") -> Started:
        """Ask for a child: a collector of the kernel's generator."""
        child = Started(self.requests, words, CollectorSettings("os", {}, silent=True))
        self.children.append(child)
        return child

    def ready(self) -> tuple[Started, int, int]:
        """A child that can be asked; its process id and a handle of it."""
        child = self.start()
        kind, number, (handle,) = child.report()
        assert kind == STARTED
        assert decode_answer(memoryview(child.channel.recv(REPORT_BYTES))) == Ready()
        (pid,) = NUMBER.unpack(number)
        return child, pid, handle

    def end(self) -> bytes:
        """Close its requests and wait for it; what it has written."""
        self.requests.close()
        _, errors = self.process.communicate(timeout=PATIENCE)
        for child in self.children:
            child.close()
        return errors


@pytest.fixture
def template() -> Iterator[Template]:
    """One of its own, which writes nothing."""
    made = Template()
    yield made
    assert made.end() == b""
    assert made.process.returncode == 0


def parent_of(pid: int) -> int:
    """Its parent's process id; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    state, parent = text.rpartition(")")[2].split()[:2]
    return 0 if state == "Z" else int(parent)


def until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + PATIENCE
    while parent_of(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_child_is_reported_from_its_start_to_its_end(template: Template) -> None:
    """Started, with a handle that is of no other process; then its wait status."""
    child, pid, handle = template.ready()
    assert parent_of(pid) == template.process.pid
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    kind, status, _ = child.report()
    assert (kind, NUMBER.unpack(status)) == (ENDED, (signal.SIGKILL,))


def test_a_child_that_cannot_begin_says_why(template: Template) -> None:
    """One line of the reason, and the next is started as if nothing had been."""
    child = template.start("worker info")  # these are a collector's settings
    kinds = {}
    for _ in range(3):
        kind, rest, fds = child.report()
        kinds[kind] = rest
        for fd in fds:
            os.close(fd)
    assert kinds.keys() == {STARTED, NOT_STARTED, ENDED}
    assert kinds[NOT_STARTED].startswith(b"ValidationError: ")
    assert b"\n" not in kinds[NOT_STARTED]
    os.close(template.ready()[2])


def test_a_request_without_its_descriptors_starts_nothing(template: Template) -> None:
    """As where no descriptor is free for them; it goes on."""
    template.requests.send(b"collector info")
    child, _, handle = template.ready()
    os.close(handle)
    assert child.reports.fileno() >= 0


def test_when_the_supervisor_is_gone_every_child_ends(template: Template) -> None:
    """A frozen one too, and one that was asked for and not forked yet; then the template."""
    running = [template.ready() for _ in range(2)]
    signal.pidfd_send_signal(running[0][2], signal.SIGSTOP)
    template.start()
    template.requests.close()
    template.process.wait(PATIENCE)
    for _, pid, handle in running:
        assert not parent_of(pid)
        os.close(handle)


def test_a_stop_of_the_whole_group_ends_no_template(template: Template) -> None:
    """Ctrl-C and a unit's stop reach it too: it ends when its supervisor does."""
    os.close(template.ready()[2])
    for number in (signal.SIGTERM, signal.SIGINT):
        template.process.send_signal(number)
    os.close(template.ready()[2])
