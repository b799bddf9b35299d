"""Where the daemon is, and what to tell somebody who does not reach it."""

import errno
import os
from pathlib import Path
from typing import Final

from hwentropy_core.errors import HwentropyError
from hwentropy_core.paths import (
    CONTROL_SOCKET,
    ENTROPY_SOCKET,
    client_runtime_dir,
    file_in_the_way,
)

from .errors import DaemonUnavailable, NotPermitted, Timeout

#: What a connect says where nobody listens.
_NOBODY: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED})


def entropy_path(path: str | os.PathLike[str] | None) -> str:
    """The native socket: `path`, or where this user's clients look for it."""
    return os.fspath(client_runtime_dir() / ENTROPY_SOCKET if path is None else path)


def control_path(path: str | os.PathLike[str] | None) -> str:
    """The control socket: `path`, or where this user's clients look for it."""
    return os.fspath(client_runtime_dir() / CONTROL_SOCKET if path is None else path)


def unreachable(path: str, error: OSError) -> HwentropyError:
    """The exception for a connect that failed."""
    if error.errno in _NOBODY:
        return DaemonUnavailable(
            f"no daemon answers at {path}; start it with `systemctl start hwentropyd` "
            "or `hwentropyd`"
        )
    if isinstance(error, NotADirectoryError):
        directory = Path(path).parent
        return DaemonUnavailable(
            f"no daemon answers at {path}: {file_in_the_way(directory) or directory} is not "
            "a directory; name the directory with the daemon's sockets"
        )
    if isinstance(error, PermissionError):
        return NotPermitted(f"no permission on {path}; {_way_in(path)}")
    return DaemonUnavailable(f"cannot connect to {path}: {error.strerror or error}")


def lost(path: str) -> DaemonUnavailable:
    """The exception for a connection that ended before the reply was complete."""
    return DaemonUnavailable(
        f"the daemon at {path} closed the connection before it had answered; try again, "
        "and see its log if that repeats"
    )


def expired(path: str, seconds: float) -> Timeout:
    """The exception for a call that took longer than the client's timeout."""
    return Timeout(
        f"the daemon at {path} did not answer within {seconds:g} s; allow more, or see "
        "`hwentropy status` for what it waits for"
    )


def _way_in(path: str) -> str:
    try:
        group = Path(path).group()
    except (OSError, KeyError):
        # The directory is closed to this user too, or the group has no name.
        return "use sudo"
    return "use sudo" if group == "root" else f"join the group {group} or use sudo"
