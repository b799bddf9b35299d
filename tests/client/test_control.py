"""hwentropy.control against a scripted control socket."""

import os
import socket
import threading
from pathlib import Path

import pytest

from hwentropy import (
    Control,
    ControlError,
    DaemonUnavailable,
    NotPermitted,
    ProtocolError,
    Timeout,
)
from hwentropy.control import Reseeded
from hwentropy.endpoint import unreachable
from hwentropy_core.limits import MAX_CONTROL_MESSAGE
from hwentropy_core.varlink import encode
from support import control_replies as replies
from support.fake_server import FakeDaemon


def test_status_is_typed(daemon: FakeDaemon) -> None:
    """Every field of the reply arrives; the call names the interface and the method."""
    daemon.control["Status"] = replies.status(replies.source("os"), surprise=1)
    with Control(daemon.control_path, timeout=30) as control:
        status = control.status()
        assert control.raw_status()["surprise"] == 1
    assert (status.state, status.generation, status.reseeds, status.pid) == ("ok", 4, 12, 4711)
    assert status.workers[0].bytes == 3168
    assert status.sources[0].group == "group-of-os"
    assert daemon.calls[0] == {"method": "org.hwentropy.Control.Status", "parameters": {}}


def test_several_calls_on_one_connection(daemon: FakeDaemon) -> None:
    """Sources, Reseed and TestSource, with their parameters."""
    daemon.control |= {
        "Sources": replies.sources(replies.source("os"), replies.source("tpm2", "absent")),
        "Reseed": {"generation": 5, "live": True},
        "TestSource": {"passed": True, "samples": 1024, "reason": ""},
    }
    with Control(daemon.control_path, timeout=30) as control:
        assert [s.state for s in control.sources()] == ["healthy", "absent"]
        assert control.reseed() == Reseeded(generation=5, live=True)
        assert control.test_source("os").passed
    assert daemon.calls[-1]["parameters"] == {"name": "os"}
    assert daemon.connections == 1


def test_a_daemon_that_does_not_say_how_fresh_a_reseed_is_is_not_live(
    daemon: FakeDaemon,
) -> None:
    """One of before the key."""
    daemon.control["Reseed"] = {"generation": 5}
    with Control(daemon.control_path, timeout=30) as control:
        assert control.reseed() == Reseeded(generation=5, live=False)


def test_an_error_reply_keeps_its_name_and_parameters(daemon: FakeDaemon) -> None:
    """A ControlError, after which the connection goes on."""
    daemon.control["TestSource"] = replies.error("UnknownSource", name="x", known=["os"])
    daemon.control["Reseed"] = {"generation": 5, "live": True}
    with Control(daemon.control_path, timeout=30) as control:
        with pytest.raises(ControlError) as caught:
            control.test_source("x")
        assert control.reseed() == Reseeded(generation=5, live=True)
    assert caught.value.name == "org.hwentropy.Control.UnknownSource"
    assert caught.value.parameters == {"name": "x", "known": ["os"]}
    assert str(caught.value).endswith(".UnknownSource (name: 'x', known: ['os'])")


@pytest.mark.parametrize(
    "reply",
    [
        b"garbage\0",
        b"[]\0",
        b'{"parameters": 3}\0',
        b'{"error": 3}\0',
        b"{}\0",
        b'{"parameters": {"generation": "5"}}\0',
        encode({"parameters": {"generation": 5}}) * 2,
        b"x" * (MAX_CONTROL_MESSAGE + 1),
    ],
    ids=["garbage", "list", "parameters", "error", "empty", "type", "two", "endless"],
)
def test_a_bad_reply_is_a_protocol_error(reply: bytes, daemon: FakeDaemon) -> None:
    """Nothing a daemon sends raises anything else, or fills the memory."""
    daemon.control["Reseed"] = reply
    with Control(daemon.control_path, timeout=30) as control, pytest.raises(ProtocolError):
        control.reseed()


def test_a_daemon_that_hangs_up(daemon: FakeDaemon) -> None:
    """DaemonUnavailable, not a half message."""
    daemon.control["Reseed"] = b'{"parameters": {'
    with Control(daemon.control_path) as control:
        thread = threading.Thread(target=_hang_up_after_call, args=(daemon,))
        thread.start()
        with pytest.raises(DaemonUnavailable):
            control.reseed()
        thread.join()


def _hang_up_after_call(daemon: FakeDaemon) -> None:
    while not daemon.calls:
        os.sched_yield()
    daemon.hang_up()


def test_a_daemon_that_says_nothing(daemon: FakeDaemon) -> None:
    """Timeout, after which the connection is of no more use."""
    daemon.control["Reseed"] = b""
    with (
        Control(daemon.control_path, timeout=0.05) as control,
        pytest.raises(Timeout, match="did not answer"),
    ):
        control.reseed()


def test_no_daemon(tmp_path: Path) -> None:
    """The path and the remedy."""
    with pytest.raises(DaemonUnavailable, match="start it with `systemctl start hwentropyd`"):
        Control(tmp_path / "control.sock")


def test_a_full_queue_is_waited_for_until_the_timeout(tmp_path: Path) -> None:
    """A daemon that does not accept is a Timeout, not an error at once."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(Timeout):
            Control(path, timeout=0.05)


def test_no_permission_names_the_way_in(tmp_path: Path) -> None:
    """A closed socket names its group, one of the group root names sudo."""
    path = tmp_path / "control.sock"
    path.touch()
    denied = PermissionError(13, "Permission denied")
    if os.geteuid() == 0:
        os.chown(path, 0, 1)
        error = unreachable(str(path), denied)
        assert isinstance(error, NotPermitted)
        assert str(error).endswith("join the group daemon or use sudo")
        os.chown(path, 0, 0)
        assert str(unreachable(str(path), denied)).endswith("; use sudo")
    assert str(unreachable("/nowhere/control.sock", denied)).endswith("; use sudo")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_closed_socket_keeps_another_user_out(tmp_path: Path) -> None:
    """The error a real kernel gives for mode 0660 is NotPermitted, with the remedy."""
    with FakeDaemon(tmp_path) as daemon:
        daemon.directory.chmod(0o755)
        daemon.control_path.chmod(0o660)
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            with pytest.raises(
                NotPermitted, match=r"no permission on .*control\.sock; use sudo"
            ):
                Control(daemon.control_path)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
