"""Who is at the other end of a connection, and whose share it draws on.

The kernel says uid, gid and pid (SO_PEERCRED, of the moment of `connect`) and the
groups (SO_PEERGROUPS); the control group is read from /proc.  What it does not protect
against: on kernels without SO_PEERPIDFD (before 6.5) a peer that ends while it connects
may be taken for the process that got its number next, so for another share of its uid.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import PurePosixPath
from typing import Final

#: <asm-generic/socket.h>; the `socket` module does not name them.
SO_PEERGROUPS: Final = 59
SO_PEERPIDFD: Final = 77

#: unix(7): pid, uid and gid as int; uid and gid are unsigned.
_CREDENTIALS: Final = struct.Struct("=iII")

#: A first guess: a login has some dozen groups.  The kernel says when there are more
#: (at most NGROUPS_MAX, 65,536).
_GROUPS_BYTES: Final = 64 * 4

#: Lowest subordinate uid (SUB_UID_MIN, login.defs(5)): from here on a user may have
#: thousands that are all its own (user_namespaces(7)).
SUBORDINATE_UID: Final = 100_000

#: Enough of a /proc/PID/cgroup: a path is at most 4,096 bytes (PATH_MAX), in as many
#: lines as there are controllers of version 1 (14).
_FILE_BYTES: Final = 64 * 1024

_UNIT_SUFFIXES: Final = (".service", ".scope")


@dataclass(frozen=True, slots=True)
class ShareKey:
    """Whose share: equal for all that one user can make of itself."""

    uid: int | None
    """None for a container: whoever is root in there has every uid."""
    group: str = ""
    """The control group of a service or container; empty for a login's own."""

    def __str__(self) -> str:
        if self.uid is None:
            return f"control group {self.group}"
        return f"uid {self.uid}" + (f" in {self.group}" if self.group else "")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected."""

    uid: int
    gid: int
    pid: int
    """0 where its process is not visible from here (another PID namespace)."""
    groups: frozenset[int] = frozenset()
    """Its supplementary groups."""
    cgroup: str | None = None
    """Path of its control group; None when it could not be read."""
    parts: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A daemon in a control group namespace of its own sees groups outside as /../../NAME
        # (cgroup_namespaces(7)): the names are the same.
        parts = tuple(dropwhile("..".__eq__, PurePosixPath(self.cgroup or "/").parts[1:]))
        object.__setattr__(self, "parts", parts)

    @property
    def unit(self) -> str:
        """The systemd unit of the system's manager that it runs in; "" for none.

        That manager puts units into slices only.  A user's own makes them below
        user.slice, under any name it likes: those do not count.
        """
        if self.parts[:1] == ("user.slice",):
            return ""
        first = next((one for one in self.parts if not one.endswith(".slice")), "")
        return first if first.endswith(_UNIT_SUFFIXES) else ""

    @property
    def key(self) -> ShareKey:
        """Whose share its connections draw on.

        A container by its control group alone, which only the system's manager makes: cut
        after its unit, or, where none is named (docker's cgroupfs driver), after two
        components, since whoever runs inside may make groups below.  Of a service of the
        host only root can make more than one user, but for subordinate uids: so its users
        are told apart (logins by sshd or cron where no session is made for them), and all
        of those are one.
        """
        parts = self.parts
        if self.cgroup is None:
            # Whose subordinate uid it was, nobody can say once its process has ended.
            return ShareKey(min(self.uid, SUBORDINATE_UID) if self.pid else self.uid, "?")
        if parts[:1] == ("user.slice",):
            return ShareKey(self._login())
        unit = self.unit
        cut = parts.index(unit) + 1 if unit else 2
        group = "/".join(parts[:cut])
        return ShareKey(min(self.uid, SUBORDINATE_UID) if self.hosts_own else None, group)

    @property
    def hosts_own(self) -> bool:
        """Whether it runs in a control group of the host's own, not in a container.

        That is the root group, a login, or a service of the system's manager.
        Containers are scopes, or are elsewhere (machine.slice, docker, kubepods).
        """
        parts = self.parts
        if self.cgroup is None:
            return False
        if not parts or parts[0] in {"user.slice", "init.scope"}:
            return True
        return parts[0] == "system.slice" and self.unit.endswith(".service")

    def _login(self) -> int:
        """The uid that a login answers for: subordinate uids are their owner's."""
        owner = self.parts[1] if len(self.parts) > 1 else ""
        number = owner.removeprefix("user-").removesuffix(".slice")
        if self.uid >= SUBORDINATE_UID and number.isdecimal():
            return int(number)
        return self.uid


def cgroup_of(pid: int) -> str | None:
    """The control group of whatever process has this number now, None for none."""
    text = _read(f"/proc/{pid}/cgroup")
    return parse_cgroup(os.fsdecode(text)) if text else None


def credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Process id, uid and gid of the peer (SO_PEERCRED).  Raises OSError."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid


def of(sock: socket.socket, look_up: Callable[[int], str | None] = cgroup_of) -> Peer:
    """The peer of a connected Unix socket; raises OSError when the kernel does not say.

    `look_up` gives the control group of a process id.
    """
    pid, uid, gid = credentials(sock)
    return Peer(uid, gid, pid, _groups(sock), _cgroup(sock, pid, look_up))


def _groups(sock: socket.socket) -> frozenset[int]:
    size = _GROUPS_BYTES
    while True:
        try:
            raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
        except OSError:
            if size >= 65_536 * 4:
                return frozenset()
            size = 65_536 * 4  # ERANGE; the answer is cut to what there is
        else:
            return frozenset(struct.unpack(f"={len(raw) // 4}I", raw))


def _cgroup(sock: socket.socket, pid: int, look_up: Callable[[int], str | None]) -> str | None:
    """The peer's control group, None if it has ended or is not visible."""
    if pid <= 0:
        return None
    try:
        pidfd = sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        # Else it has ended, and its number may be another's by now.
        return look_up(pid) if error.errno == errno.ENOPROTOOPT else None
    try:
        path = look_up(pid)
        # Of this process only if it is still there now that the file has been read.
        return path if b"\nPid:\t%d\n" % pid in _read(f"/proc/self/fdinfo/{pidfd}") else None
    finally:
        os.close(pidfd)


def _read(path: str) -> bytes:
    """A small file of /proc, whole: at every accept, so without a file object's 10 us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _FILE_BYTES)
    except OSError:
        return b""  # it ended in between
    finally:
        os.close(fd)


def parse_cgroup(text: str) -> str:
    """The path that systemd and container managers use, of a /proc/PID/cgroup.

    cgroups(7): `0::/path` is the unified hierarchy; before it, and beside it while
    nothing is in it, `N:name=systemd:/path` is the one with the names.
    """
    found = {}
    # Not `splitlines`: a user who may name a group could begin a line by a carriage return.
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found["unified" if number == "0" else controllers] = path
    unified = found.get("unified", "/")
    return unified if unified != "/" else found.get("name=systemd", "/")
