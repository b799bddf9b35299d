"""The listening sockets: made here, or taken from the service manager.

Who holds the lock file of a runtime directory is the one daemon there; so a
socket file found under the lock was left by a crash and is replaced, unless
something that is not a hwentropyd still answers on it.

A directory that somebody else can write to is refused: a link put in the place of
a socket or of the lock would have root make or open a file of their choice.  What
this does not protect against: an ancestor of the directory that is somebody else's.
They can move it away, and clients then find what they put there.  Before Linux 6.16 a
connection that was sent to the daemon over itself lasts as long as the daemon.
"""

import contextlib
import fcntl
import grp
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwentropy_core.errors import HwentropyError
from hwentropy_core.paths import (
    CONTROL_SOCKET,
    ENTROPY_SOCKET,
    STREAM_SOCKET,
    file_in_the_way,
)
from hwentropyd.operating.notify import inherited_sockets
from hwentropyd.role import Role

log = logging.getLogger(__name__)

#: Role of a socket -> file name and mode.
SOCKETS: Final = {
    Role.ENTROPY: (ENTROPY_SOCKET, 0o666),
    Role.STREAM: (STREAM_SOCKET, 0o666),
    Role.CONTROL: (CONTROL_SOCKET, 0o660),
}
_BY_NAME: Final = {
    **{role.value: role for role in SOCKETS},
    **{file: role for role, (file, _) in SOCKETS.items()},
}

#: The name of a descriptor that is passed with them (OpenFile= in the unit).
KERNEL_LOG: Final = "kmsg"

#: Group that may use the control socket, where it exists (sysusers.d makes it).
GROUP: Final = "hwentropy"

#: Connections the kernel holds while the supervisor is busy: a thousand at once must
#: not be refused, and whoever comes behind a crowd that connects without end waits
#: for a full queue to be taken, at some 60 us each.  The kernel lowers it to
#: net.core.somaxconn.
BACKLOG: Final = 1024


#: <asm-generic/socket.h>, Linux 6.16; the `socket` module does not name it.
SO_PASSRIGHTS: Final = 83


class AlreadyServedError(HwentropyError):
    """Another daemon serves this runtime directory."""


class SocketError(HwentropyError):
    """A socket could not be made."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket."""

    role: Role
    path: Path
    sock: socket.socket
    inherited: bool


class Listeners:
    """All of them, with the lock that makes them ours."""

    def __init__(self, directory: Path) -> None:
        """Take what the service manager passed and make the rest below `directory`.

        Raises AlreadyServedError or SocketError.
        """
        self.sockets: list[Listener] = []
        self._lock: int | None = None
        self._inodes: dict[Path, int] = {}
        self.kernel_log: int | None = None
        """An open /dev/kmsg among what was passed; the caller's."""
        try:
            for name, fd in inherited_sockets():
                if name == KERNEL_LOG:
                    self.kernel_log = fd
                else:
                    self._adopt(name, fd)
            missing = [role for role in SOCKETS if role not in {s.role for s in self.sockets}]
            if missing:
                self._lock_directory(directory)
            for role in missing:
                self._make(role, directory)
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Warn, once, of a socket file that somebody removed or replaced."""
        for path in [path for path in self._inodes if not self._is_there(path)]:
            del self._inodes[path]
            log.warning(
                "%s is gone or another's, so no new client finds it: restart hwentropyd", path
            )

    def _is_there(self, path: Path) -> bool:
        try:
            return path.stat().st_ino == self._inodes.get(path)
        except OSError:
            return False

    def close(self) -> None:
        """Stop listening; remove the socket files that are ours."""
        for listener in self.sockets:
            if not listener.inherited:
                with contextlib.suppress(OSError):
                    if self._is_there(listener.path):
                        listener.path.unlink()
            listener.sock.close()
        self.sockets.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _adopt(self, name: str, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        path = (
            Path(os.fsdecode(sock.getsockname())) if sock.family == socket.AF_UNIX else Path()
        )
        role = _BY_NAME.get(name) or _BY_NAME.get(path.name)
        if role is None or not path.name:
            sock.close()
            raise SocketError(
                f"the service manager passed a socket {name or path.name!r} that hwentropyd "
                f"does not know: name it one of {', '.join(SOCKETS)}"
            )
        sock.setblocking(False)
        _take_no_descriptors(sock)
        with contextlib.suppress(OSError):
            self._inodes[path] = path.stat().st_ino
        self.sockets.append(Listener(role, path, sock, inherited=True))

    def _lock_directory(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            _check_directory(directory)
            lock = os.open(
                directory / ".lock",
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except (FileExistsError, NotADirectoryError):
            raise SocketError(
                f"cannot make the sockets in {directory}, because "
                f"{file_in_the_way(directory) or directory} is not a directory: "
                "name one with --runtime-dir"
            ) from None
        except OSError as error:
            raise SocketError(
                f"cannot write to {directory} ({error.strerror}): "
                "choose another with --runtime-dir, or run as its owner"
            ) from None
        self._lock = lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServedError(
                f"another hwentropyd serves {directory}: stop it, or choose another directory"
            ) from None

    def _make(self, role: Role, directory: Path) -> None:
        file, mode = SOCKETS[role]
        path = directory / file
        if _answers(path):
            raise AlreadyServedError(f"another program serves {path}: stop it first")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            # By the umask: `chmod` would follow a link put there in between.
            before = os.umask(0o777 & ~mode)
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            if role is Role.CONTROL and os.geteuid() == 0:
                with contextlib.suppress(KeyError):
                    group = grp.getgrnam(GROUP).gr_gid
                    os.chown(path, -1, group, follow_symlinks=False)
            _take_no_descriptors(sock)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise SocketError(
                f"cannot make the socket {path} ({error.strerror or error}): "
                "choose another directory with --runtime-dir"
            ) from None
        sock.setblocking(False)
        self._inodes[path] = path.stat().st_ino
        self.sockets.append(Listener(role, path, sock, inherited=False))


def _take_no_descriptors(listener: socket.socket) -> None:
    """Have the kernel refuse descriptors that clients send: none is ever received.

    A client could send its own end: while that lies here unread, the connection goes on
    and holds its share, though no process has it any more.
    """
    with contextlib.suppress(OSError):  # an older kernel
        listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)


def _check_directory(directory: Path) -> None:
    """Raises SocketError where others than root and ourselves can change what is in it."""
    info = directory.stat()
    if info.st_uid not in {0, os.geteuid()}:
        raise SocketError(
            f"{directory} belongs to user {info.st_uid}, who could put other sockets there: "
            "choose a directory of your own with --runtime-dir"
        )
    if info.st_mode & 0o022:
        raise SocketError(
            f"{directory} can be written by others, who could put other sockets there: "
            f"`chmod go-w {directory}`, or choose another directory with --runtime-dir"
        )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A Unix socket connects or refuses at once; there is nothing to wait for.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # a full backlog is somebody's
        except OSError:
            return False
        return True
