"""A child process from its start to its end, and the template behind it, as processes."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from pytest_mock import MockerFixture

from hwentropyd.child import Child, Children, SettingsTooLongError, describe_code
from hwentropyd.collector.messages import CollectorSettings, Describe, Ready, decode_answer
from support.children import until_known
from support.raw_client import PATIENCE

pytestmark = pytest.mark.process

SETTINGS = CollectorSettings("os", {}, silent=True)


@pytest.fixture
def children() -> Iterator[Children]:
    """Of a template of its own."""
    with closing(Children()) as made:
        yield made


def start(children: Children) -> Child:
    """A collector of the kernel's generator, ready."""
    child = children.start("collector", SETTINGS)
    buffer = bytearray(1000)
    length = child.receive_into(buffer, PATIENCE)
    assert decode_answer(memoryview(buffer)[:length]) == Ready()
    return until_known(child)


def answers(child: Child) -> bool:
    """Whether it does."""
    child.sock.send(msgspec.msgpack.encode(Describe()))
    return child.receive_into(bytearray(1000), PATIENCE) > 0


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_ended(pid: int) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-11, "died of SIGSEGV"),
        (-31, "died of SIGSYS"),
        (-40, "died of signal 40"),
    ],
)
def test_an_end_has_a_name(code: int, said: str) -> None:
    """A signal by its name; a real-time one has none."""
    assert describe_code(code) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGKILL, "died of SIGKILL"), (signal.SIGSEGV, "died of SIGSEGV")],
)
def test_how_a_child_died_is_reported(children: Children, number: int, said: str) -> None:
    """By the template, which waits for it."""
    with closing(start(children)) as child:
        os.kill(child.pid, number)
        assert child.wait(PATIENCE)
        assert child.ended == said
        with pytest.raises(EOFError):
            child.receive_into(bytearray(10), PATIENCE)


def test_a_child_ends_with_its_channel(children: Children) -> None:
    """On its own, as it was told nothing else."""
    with closing(start(children)) as child:
        child.sock.shutdown(socket.SHUT_RDWR)
        assert child.wait(PATIENCE)
        assert child.ended == "ended with exit code 0"


def test_a_frozen_child_can_be_killed_and_is_not_waited_for(children: Children) -> None:
    """Its answer is waited for as long as was said."""
    with closing(start(children)) as child:
        os.kill(child.pid, signal.SIGSTOP)
        child.sock.send(msgspec.msgpack.encode(Describe()))
        with pytest.raises(TimeoutError):
            child.receive_into(bytearray(10), 0.05)
        child.kill()
        assert child.wait(PATIENCE)
        assert child.ended == "died of SIGKILL"


def test_a_template_that_dies_is_replaced_and_costs_no_child(children: Children) -> None:
    """The child it had answers and can be killed; the next one comes from another."""
    with closing(start(children)) as old:
        before = children.prepare().pid
        os.kill(before, signal.SIGKILL)
        until_ended(before)
        with closing(start(children)) as new:
            assert children.prepare().pid != before
            assert answers(old)
            assert answers(new)
            old.take_reports()
            assert not old.reported
            assert not old.ended
            old.kill()
            until_ended(old.pid)


def test_a_frozen_template_is_replaced_and_costs_no_child(children: Children) -> None:
    """What was asked of it cannot start, and says so; the next one comes from another."""
    with closing(start(children)) as old:
        before = children.prepare().pid
        os.kill(before, signal.SIGSTOP)
        with closing(children.start("collector", SETTINGS)) as never:
            never.wait_for_fork()
            assert never.wait(PATIENCE)
            assert never.ended == "could not start (the template process died of SIGKILL)"
        with closing(start(children)):
            assert children.prepare().pid != before
            assert answers(old)


def test_at_the_end_a_child_without_its_template_is_killed(children: Children) -> None:
    """One that is stopped too, and sees no channel close: nothing is left behind."""
    child = start(children)
    template = children.prepare().pid
    os.kill(template, signal.SIGKILL)
    until_ended(template)
    os.kill(child.pid, signal.SIGSTOP)
    children.close()
    until_ended(child.pid)
    child.close()


def test_children_end_with_the_template_that_is_told_to(children: Children) -> None:
    """Even one that is frozen; this is what happens when the supervisor is gone."""
    both = [start(children), start(children)]
    os.kill(both[0].pid, signal.SIGSTOP)
    pids = [children.prepare().pid, *(child.pid for child in both)]
    children.close()
    assert not any(is_alive(pid) for pid in pids)
    for child in both:
        child.close()


def test_a_template_that_cannot_be_executed_says_why(mocker: MockerFixture) -> None:
    """To whoever asked for a child, who does not wait for it."""
    mocker.patch("hwentropyd.child.sys.executable", "/bin/false")
    with closing(Children()) as children, closing(children.start("worker", SETTINGS)) as child:
        assert child.wait(PATIENCE)
        said = "could not start (the template process ended with exit code 1)"
        assert child.ended == said


def test_a_child_that_fails_at_its_start_says_why(children: Children) -> None:
    """In a line, to its owner and not to the log."""
    with closing(children.start("worker", SETTINGS)) as child:  # another's settings
        assert child.wait(PATIENCE)
        assert child.ended.startswith("could not start (ValidationError: ")


def test_settings_that_do_not_fit_are_refused(children: Children) -> None:
    """Before anything is started."""
    with pytest.raises(SettingsTooLongError):
        children.start("collector", CollectorSettings("os", {"path": "x" * 70_000}, True))
