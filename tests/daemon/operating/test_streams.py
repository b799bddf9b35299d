"""Outputs that wait for nobody: what is written, dropped, counted and said."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropyd.operating import streams
from hwentropyd.operating.streams import QUEUE_BYTES, Output
from support.daemon import ROOT
from support.pipes import Pipe, small_pipe
from support.raw_client import PATIENCE

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """An empty pipe of one page."""
    one = small_pipe()
    yield one
    os.close(one.read)
    # A thread that has yet to write would write to whatever has the number next.
    while made:
        assert made.pop().finish(PATIENCE)
    os.close(one.write)


#: The outputs of a test.
made: list[Output] = []


def output(fd: int, *, held: bool = False) -> Output:
    """An output on this descriptor."""
    made.append(Output(fd, "utf-8", held=held))
    return made[-1]


def test_what_is_written_arrives_in_order(pipe: Pipe) -> None:
    """From the writer's thread, once there is a whole line."""
    out = output(pipe.write)
    print("one", end="", file=out)
    print("-and-a-half", file=out)
    print("two\nthr", end="", file=out)
    assert out.finish(PATIENCE)
    assert os.read(pipe.read, 100) == b"one-and-a-half\ntwo\nthr"


def test_a_full_pipe_is_not_waited_for_and_what_is_lost_is_counted(pipe: Pipe) -> None:
    """Every line either arrives or is counted in a line that says so, at its place."""
    count = pipe.fill()
    out = output(pipe.write)
    written = 3 * QUEUE_BYTES // len(LINE)
    for _ in range(written):
        out.write(LINE)
    assert not out.finish(0.0)
    pipe.receive(count)
    text = pipe.read_until(r"missing here.*\n")
    lost = re.search(r"\n(\d+) lines are missing here: they could not be", text)
    assert lost
    assert text.count(LINE) + int(lost[1]) == written
    out.write("after\n")
    assert out.finish(PATIENCE)
    assert os.read(pipe.read, 100) == b"after\n"


def test_the_line_that_tells_of_lost_ones_comes_before_later_ones(pipe: Pipe) -> None:
    """Also where the queue has room again before it is empty."""
    out = output(pipe.write, held=True)
    for _ in range(QUEUE_BYTES // len(LINE) + 10):
        out.write(LINE)
    out.write("short\n")
    out.release()
    text = pipe.read_until("short\n")
    assert re.search(r"x\n\d+ lines are missing here: [^\n]+\nshort\n$", text)


def test_it_leaves_the_description_blocking(pipe: Pipe) -> None:
    """Other programs write to the same terminal or pipe."""
    pipe.fill()
    out = output(pipe.write)
    out.write(LINE)
    assert not out.finish(0.0)
    assert os.get_blocking(pipe.write)


def test_a_description_that_others_made_non_blocking_is_written_in_full(pipe: Pipe) -> None:
    """As some shells and ssh do: what it does not take at once follows."""
    os.set_blocking(pipe.write, False)
    out = output(pipe.write)
    out.write(LINE * 200)
    assert pipe.receive(200 * len(LINE)) == LINE.encode() * 200


def test_what_an_output_refuses_is_counted_until_it_takes_lines_again(
    pipe: Pipe, tmp_path: Path
) -> None:
    """A full disk, then room: no exception, and one line for those that are lost."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        out = output(fd)
        for _ in range(3):
            out.write(LINE)
            assert out.finish(PATIENCE)
        os.dup2(pipe.write, fd)
        out.write("room\n")
        assert out.finish(PATIENCE)
        said = os.read(pipe.read, 1000).decode()
    finally:
        os.close(fd)
    assert re.fullmatch(r"3 lines are missing here: [^\n]+\nroom\n", said)


def test_what_the_journal_is_told_of_lost_lines_has_a_priority(pipe: Pipe) -> None:
    """A warning, as logs.set_up wants it."""
    out = output(pipe.write, held=True)
    out.notice_prefix = "<4>"
    for _ in range(QUEUE_BYTES // len(LINE) + 1):
        out.write(LINE)
    out.release()
    assert pipe.read_until(r"missing[^\n]*\n").splitlines()[-1].startswith("<4>1 lines")


def test_no_thread_is_started_before_the_release(pipe: Pipe) -> None:
    """Landlock holds for the threads that are started after it."""
    before = threading.active_count()
    out = output(pipe.write, held=True)
    out.write("held\n")
    assert threading.active_count() == before
    out.release()
    assert os.read(pipe.read, 100) == b"held\n"


def test_what_cannot_be_encoded_is_escaped(pipe: Pipe) -> None:
    """A file name of any bytes."""
    out = output(pipe.write)
    out.write("caf\udce9\n")
    assert out.finish(PATIENCE)
    assert os.read(pipe.read, 100) == b"caf\\udce9\n"


def ran(
    script: str, stdout: int | None = None, stderr: int | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """A process that runs this script."""
    return subprocess.run(
        [sys.executable, "-c", "from hwentropyd.operating import streams\n" + script],
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
        stdout=stdout,
        stderr=stderr,
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("print('said'); return 3", 3, b"said\n", b""),
        ("raise SystemExit(2)", 2, b"", b""),
        ("raise SystemExit", 0, b"", b""),
        ("return 1 // 0", 1, b"", rb"Traceback .*ZeroDivisionError: .*\n"),
        ("sys.stderr.write('no line end'); return 0", 0, b"", b"no line end"),
    ],
)
def test_the_end_of_a_process(body: str, code: int, out: bytes, err: bytes) -> None:
    """Its exit code, and all that it said, a traceback too."""
    script = f"import sys\ndef main():\n    {body}\nstreams.install()\nstreams.run(main)\n"
    done = ran(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code
    assert done.stdout == out
    assert re.fullmatch(err, done.stderr, re.DOTALL)


@pytest.mark.process
def test_a_process_ends_with_its_code_although_its_pipe_stays_full(pipe: Pipe) -> None:
    """Its traceback has nowhere to go."""
    pipe.fill()
    script = "streams.EXIT_SECONDS = 0.01\nstreams.install()\nstreams.run(lambda: 1 // 0)\n"
    assert ran(script, stdout=pipe.write, stderr=pipe.write).returncode == 1


@pytest.mark.process
def test_a_file_does_not_get_the_number_of_a_closed_output(tmp_path: Path) -> None:
    """Log lines would be written into it."""
    file = tmp_path / "file"
    script = (
        "import sys\n"
        "def main():\n"
        f"    stream = open({str(file)!r}, 'w')\n"
        "    print('out'); print('err', file=sys.stderr)\n"
        "    return stream.fileno()\n"
        "streams.install()\nstreams.run(main)\n"
    )
    command = f'exec {sys.executable} -c "$SCRIPT" <&- >&- 2>&-'
    script = "from hwentropyd.operating import streams\n" + script
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "SCRIPT": script},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode > 2
    assert file.read_text() == ""


@pytest.mark.process
def test_a_forked_child_writes_its_own_lines(pipe: Pipe) -> None:
    """The thread is not forked, and what the parent has yet to write stays the parent's."""
    script = (
        "import os, sys\n"
        "def main():\n"
        "    print('parent', file=sys.stderr)\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        print('child', file=sys.stderr)\n"
        "        return 0\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "streams.install(held=True)\nstreams.run(main)\n"
    )
    done = ran(script, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert sorted(done.stderr.split()) == [b"child", b"parent"]


def test_its_limits_fit_together() -> None:
    """The whole of a stop takes less than a second."""
    from hwentropyd.serving import workers  # noqa: PLC0415 - for this claim only

    assert workers.STOP_SECONDS + streams.STOP_SECONDS < 1.0


@pytest.mark.process
def test_a_confined_worker_still_says_something() -> None:
    """Its thread is started under Landlock and seccomp, and may make the calls it needs."""
    script = (
        "import sys\n"
        "from hwentropyd import confinement\n"
        "from hwentropyd.operating import logs\n"
        "import logging\n"
        "def main():\n"
        "    logs.set_up()\n"
        "    logging.warning('before')\n"
        "    confinement.confine_worker()\n"
        "    streams.release()\n"
        "    logging.warning('after')\n"
        "    return 0\n"
        "streams.install(held=True)\nstreams.run(main)\n"
    )
    done = ran(script, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"before\nafter\n")


def test_a_socket_that_is_not_read_is_not_waited_for() -> None:
    """The journal's stream is one."""
    ours, journal = socket.socketpair()
    with ours, journal:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        out = output(ours.fileno())
        for _ in range(3 * QUEUE_BYTES // len(LINE)):
            out.write(LINE)
        assert not out.finish(0.0)
        text = ""
        while "missing here" not in text:
            text += journal.recv(65536).decode()
        assert out.finish(PATIENCE)
