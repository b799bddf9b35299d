"""The listening sockets: ours alone, with the right modes, and gone afterwards."""

import grp
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from hwentropyd.command import EXIT_ALREADY_SERVED, EXIT_FAILED, main
from hwentropyd.serving import listeners as module
from hwentropyd.serving.listeners import (
    SO_PASSRIGHTS,
    SOCKETS,
    AlreadyServedError,
    Listeners,
    SocketError,
)

Inherit = Callable[..., list[socket.socket]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A runtime directory that is not there yet."""
    return tmp_path / "run" / "hwentropy"


@pytest.fixture
def inherit(mocker: MockerFixture, tmp_path: Path) -> Iterator[Inherit]:
    """Makes listening sockets (name -> file) that a service manager passed."""
    socks: list[socket.socket] = []

    def passed(*named: tuple[str, str]) -> list[socket.socket]:
        pairs = []
        for name, file in named:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(tmp_path / file) if file else f"\0hwentropy-{os.getpid()}-{name}")
            sock.listen()
            socks.append(sock)
            pairs.append((name, os.dup(sock.fileno())))
        mocker.patch.object(module, "inherited_sockets", return_value=pairs)
        return socks

    yield passed
    for sock in socks:
        sock.close()


def connects(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def leave_behind(path: Path) -> int:
    """A socket file of a daemon that crashed; returns its inode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
    return path.stat().st_ino


def kernel_refuses_descriptors() -> bool:
    """Whether the kernel can be told to (Linux 6.16)."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            return bool(sock.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS))
        except OSError:
            return False


@pytest.mark.skipif(not kernel_refuses_descriptors(), reason="needs SO_PASSRIGHTS, Linux 6.16")
def test_no_descriptor_is_taken_from_a_client(directory: Path, inherit: Inherit) -> None:
    """A connection sent over itself would outlive its client; on passed sockets as well."""
    (passed,) = inherit(("entropy", "entropy.sock"))
    listeners = Listeners(directory)
    for path in (Path(passed.getsockname()), *(directory.glob("*.sock"))):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            with pytest.raises(PermissionError):
                socket.send_fds(sock, [b"x"], [sock.fileno()])
    listeners.close()


def test_it_listens_on_all_of_them(directory: Path) -> None:
    """By the names that the units use, in a directory that it makes."""
    ours = Listeners(directory)
    assert [one.role for one in ours.sockets] == ["entropy", "stream", "control"]
    assert [one.path for one in ours.sockets] == [
        directory / file for file in ("entropy.sock", "stream.sock", "control.sock")
    ]
    assert all(connects(one.path) for one in ours.sockets)
    assert all(one.sock.getblocking() is False for one in ours.sockets)
    ours.close()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_modes_do_not_depend_on_the_umask(directory: Path, umask: int) -> None:
    """Everybody may ask for bytes; only owner and group may control."""
    before = os.umask(umask)
    try:
        ours = Listeners(directory)
    finally:
        os.umask(before)
    modes = {one.role: stat.S_IMODE(one.path.stat().st_mode) for one in ours.sockets}
    assert modes == {"entropy": 0o666, "stream": 0o666, "control": 0o660}
    ours.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to a group")
def test_the_control_socket_belongs_to_the_group(
    directory: Path, mocker: MockerFixture
) -> None:
    """Where the group is there; and the data sockets stay as they are."""
    group = grp.getgrgid(grp.getgrall()[-1].gr_gid)
    mocker.patch.object(module, "GROUP", group.gr_name)
    ours = Listeners(directory)
    gids = {one.role: one.path.stat().st_gid for one in ours.sockets}
    assert gids == {"entropy": os.getegid(), "stream": os.getegid(), "control": group.gr_gid}
    ours.close()


def test_a_host_without_the_group_does_without(directory: Path, mocker: MockerFixture) -> None:
    """Then the control socket is its user's."""
    mocker.patch.object(module, "GROUP", "hwentropy-no-such-group")
    ours = Listeners(directory)
    assert (directory / "control.sock").stat().st_gid == os.getegid()
    ours.close()


def test_what_a_crash_left_is_replaced(directory: Path) -> None:
    """A socket file that nobody answers on."""
    for file, _ in SOCKETS.values():
        leave_behind(directory / file)
    assert not connects(directory / "entropy.sock")
    ours = Listeners(directory)
    assert all(connects(one.path) for one in ours.sockets)
    ours.close()


def test_what_somebody_serves_is_not_replaced(directory: Path) -> None:
    """A live socket of another program: refused, untouched, and ours cleaned away."""
    directory.mkdir(parents=True)
    path = directory / "stream.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        inode = path.stat().st_ino
        with pytest.raises(AlreadyServedError, match=r"another program serves .*stream\.sock"):
            Listeners(directory)
        assert connects(path)
        assert path.stat().st_ino == inode
        assert not (directory / "entropy.sock").exists()


def test_a_program_too_busy_to_answer_is_alive(directory: Path) -> None:
    """A backlog that is full is somebody's."""
    directory.mkdir(parents=True)
    path = directory / "entropy.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        with ExitStack() as waiting:
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                try:
                    client.connect(str(path))
                except BlockingIOError:
                    break
            with pytest.raises(AlreadyServedError):
                Listeners(directory)


def test_two_daemons_do_not_share_a_directory(directory: Path) -> None:
    """The second one is told so, and the first one stays as it is."""
    first = Listeners(directory)
    inodes = [one.path.stat().st_ino for one in first.sockets]
    with pytest.raises(AlreadyServedError, match="another hwentropyd serves"):
        Listeners(directory)
    assert [one.path.stat().st_ino for one in first.sockets] == inodes
    assert all(connects(one.path) for one in first.sockets)
    first.close()
    Listeners(directory).close()


def test_of_daemons_that_race_one_wins(directory: Path) -> None:
    """Started at the same moment over sockets that a crash left: one serves, all others end."""
    leave_behind(directory / "entropy.sock")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hwentropyd.serving.listeners import AlreadyServedError, Listeners\n"
        "sys.stdin.read(1)\n"
        "try:\n"
        "    ours = Listeners(Path(sys.argv[1]))\n"
        "except AlreadyServedError:\n"
        "    print('lost', flush=True)\n"
        "else:\n"
        "    print('won', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("x")
            process.stdin.flush()
        results = []
        for process in processes:
            assert process.stdout is not None
            results.append(process.stdout.readline().strip())
        assert sorted(results) == ["lost", "lost", "lost", "won"]
        assert connects(directory / "entropy.sock")
    finally:
        for process in processes:
            process.communicate("", timeout=30)


def test_the_command_says_who_serves(
    directory: Path, capsys: pytest.CaptureFixture[str], mocker: MockerFixture
) -> None:
    """Exit code 3, one line."""
    mocker.patch("hwentropyd.command.confinement").raise_descriptor_limit.return_value = 66560
    first = Listeners(directory)
    assert main(["--runtime-dir", str(directory)]) == EXIT_ALREADY_SERVED == 3
    assert capsys.readouterr().err == (
        f"hwentropyd: another hwentropyd serves {directory}: stop it, "
        "or choose another directory\n"
    )
    first.close()


@pytest.mark.parametrize("below", [(), ("run",), ("run", "hwentropy")])
def test_the_command_says_that_it_cannot_make_its_directory(
    below: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mocker: MockerFixture,
) -> None:
    """Exit code 1, one line that names the file in the way, and the remedy."""
    mocker.patch("hwentropyd.command.confinement").raise_descriptor_limit.return_value = 66560
    (tmp_path / "file").touch()
    directory = tmp_path.joinpath("file", *below)
    assert main(["--runtime-dir", str(directory)]) == EXIT_FAILED == 1
    assert capsys.readouterr().err == (
        f"hwentropyd: cannot make the sockets in {directory}, because {tmp_path / 'file'} "
        "is not a directory: name one with --runtime-dir\n"
    )


def test_closing_takes_the_files_away(directory: Path) -> None:
    """Once; a second time does nothing."""
    ours = Listeners(directory)
    ours.close()
    ours.close()
    assert not list(directory.glob("*.sock"))


def test_only_our_own_file_is_taken_away(directory: Path) -> None:
    """What somebody put in its place meanwhile stays."""
    ours = Listeners(directory)
    path = directory / "entropy.sock"
    path.rename(directory / "kept")  # keeps its inode in use
    inode = leave_behind(path)
    ours.close()
    assert path.stat().st_ino == inode
    assert not (directory / "stream.sock").exists()


def test_a_path_too_long_is_said_to_be_so(tmp_path: Path) -> None:
    """108 bytes are all that a Unix socket's address has; with the remedy."""
    with pytest.raises(SocketError, match=r"path too long.*--runtime-dir"):
        Listeners(tmp_path / ("x" * 100))


def test_what_is_no_socket_file_is_not_removed_with_its_contents(directory: Path) -> None:
    """A directory of that name is an error."""
    (directory / "entropy.sock" / "precious").mkdir(parents=True)
    with pytest.raises(SocketError, match=r"cannot make the socket .*entropy\.sock"):
        Listeners(directory)
    assert (directory / "entropy.sock" / "precious").is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(directory: Path, mode: int) -> None:
    """They could put a link in a socket's place, which root would follow."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(SocketError, match=r"can be written by others.*chmod go-w"):
        Listeners(directory)
    assert not list(directory.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(directory: Path) -> None:
    """Root must not serve from where a user can change what is served."""
    directory.mkdir(parents=True)
    os.chown(directory, 65534, -1)
    with pytest.raises(SocketError, match=r"belongs to user 65534.*--runtime-dir"):
        Listeners(directory)
    assert not list(directory.iterdir())


def test_the_lock_is_no_link(directory: Path, tmp_path: Path) -> None:
    """A file elsewhere is not made by way of it."""
    directory.mkdir(parents=True)
    (directory / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SocketError, match="symbolic links"):
        Listeners(directory)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_in_a_sockets_place_is_not_followed(
    directory: Path, tmp_path: Path, mocker: MockerFixture
) -> None:
    """Put there right after `bind`, it changes neither mode nor group of its target."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    before = secret.stat()
    mocker.patch.object(module, "GROUP", grp.getgrgid(grp.getgrall()[-1].gr_gid).gr_name)

    class Raced(socket.socket):
        def bind(self, address: Any, /) -> None:
            super().bind(address)
            Path(address).unlink()
            Path(address).symlink_to(secret)

    mocker.patch("hwentropyd.serving.listeners.socket.socket", Raced)
    Listeners(directory).close()
    after = secret.stat()
    assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)


# From the service manager


def test_sockets_are_taken_by_their_names(
    inherit: Inherit, directory: Path, tmp_path: Path
) -> None:
    """FileDescriptorName= decides, whatever the file is called; no directory is touched."""
    inherit(("control", "a"), ("entropy", "b"), ("stream", "c"))
    ours = Listeners(directory)
    assert [(one.role, one.path.name) for one in ours.sockets] == [
        ("control", "a"),
        ("entropy", "b"),
        ("stream", "c"),
    ]
    assert not directory.exists()
    ours.close()
    assert (tmp_path / "a").exists()


def test_an_inherited_socket_does_not_block(inherit: Inherit, directory: Path) -> None:
    """Where the service manager left it blocking: a client that goes must not be waited for."""
    passed = inherit(("control", "a"), ("entropy", "b"), ("stream", "c"))
    assert all(sock.getblocking() for sock in passed)
    ours = Listeners(directory)
    assert [os.get_blocking(one.sock.fileno()) for one in ours.sockets] == [False] * 3
    ours.close()


def test_sockets_without_a_name_of_ours_are_taken_by_their_files(
    inherit: Inherit, directory: Path
) -> None:
    """systemd names them after the unit where nothing is set."""
    inherit(
        ("hwentropyd.socket", "stream.sock"),
        ("", "entropy.sock"),
        ("unknown", "control.sock"),
    )
    ours = Listeners(directory)
    assert [one.role for one in ours.sockets] == ["stream", "entropy", "control"]
    ours.close()


def test_what_was_not_passed_is_made(inherit: Inherit, directory: Path) -> None:
    """A unit with one socket only; its file stays when the daemon ends, ours go."""
    passed = inherit(("entropy", "entropy.sock"))
    ours = Listeners(directory)
    assert {one.role: one.inherited for one in ours.sockets} == {
        "entropy": True,
        "stream": False,
        "control": False,
    }
    ours.close()
    assert connects(Path(passed[0].getsockname()))
    assert not list(directory.glob("*.sock"))


def test_an_unknown_socket_is_refused(inherit: Inherit, directory: Path) -> None:
    """It would never be served: the error names it and the names there are."""
    inherit(("entropy", "entropy.sock"), ("http", "web"))
    with pytest.raises(SocketError, match=r"'http'.*name it one of entropy, stream, control"):
        Listeners(directory)


def test_a_socket_that_is_no_unix_socket_is_refused(
    mocker: MockerFixture, directory: Path
) -> None:
    """Bytes do not go over a network, whatever the name of the socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        pairs = [("entropy", os.dup(sock.fileno()))]
        mocker.patch.object(module, "inherited_sockets", return_value=pairs)
        with pytest.raises(SocketError, match="'entropy'"):
            Listeners(directory)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
@pytest.mark.parametrize("passed", [False, True], ids=["own", "inherited"])
def test_a_socket_file_that_is_gone_is_warned_of_once(
    directory: Path,
    tmp_path: Path,
    inherit: Inherit,
    caplog: pytest.LogCaptureFixture,
    passed: bool,  # noqa: FBT001 (a table)
    replaced: bool,  # noqa: FBT001 (a table)
) -> None:
    """The daemon would serve on, and nobody could find it; what replaced it stays."""
    if passed:
        inherit(("entropy", "entropy.sock"))
    ours = Listeners(directory)
    ours.check()
    assert caplog.messages == []
    path = (tmp_path if passed else directory) / "entropy.sock"
    path.unlink()
    if replaced:
        path.touch()
    for _ in range(3):
        ours.check()
    said = f"{path} is gone or another's, so no new client finds it: restart hwentropyd"
    assert caplog.messages == [said]
    ours.close()
    assert path.exists() == replaced


def test_the_kernels_log_comes_with_them_and_is_no_socket(
    mocker: MockerFixture, directory: Path
) -> None:
    """OpenFile= of the unit passes it by this name."""
    passed = os.open("/dev/null", os.O_RDONLY)
    mocker.patch.object(module, "inherited_sockets", return_value=[("kmsg", passed)])
    listeners = Listeners(directory)
    assert listeners.kernel_log == passed
    assert {one.role for one in listeners.sockets} == set(module.SOCKETS)
    listeners.close()
    os.close(passed)
