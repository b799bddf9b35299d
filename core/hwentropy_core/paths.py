"""Where the sockets and the seed log are, for the daemon and every client alike.

`HWENTROPY_RUNTIME_DIR` overrides.  A daemon of root's is in /run/hwentropy, one
of anybody else's below their `$XDG_RUNTIME_DIR`.  A client looks for a daemon of
its own user first, then for the system's.

What this does not protect against: an environment that somebody else has set.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ENVIRONMENT_VARIABLE: Final = "HWENTROPY_RUNTIME_DIR"
SYSTEM_DIR: Final = Path("/run/hwentropy")
STATE_ENVIRONMENT_VARIABLE: Final = "HWENTROPY_STATE_DIR"
SYSTEM_STATE_DIR: Final = Path("/var/lib/hwentropy")

#: A number of 122 random bits that the kernel draws once a boot (random(4)).
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

ENTROPY_SOCKET: Final = "entropy.sock"
STREAM_SOCKET: Final = "stream.sock"
CONTROL_SOCKET: Final = "control.sock"


def daemon_runtime_dir(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> Path:
    """The directory in which a daemon of this user puts its sockets."""
    override = environ.get(ENVIRONMENT_VARIABLE)
    if override:
        return Path(override)
    uid = os.geteuid() if uid is None else uid
    if uid == 0:
        return SYSTEM_DIR
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    # The XDG Base Directory Specification: a relative path is invalid, ignore it.
    if not runtime.is_absolute():
        runtime = Path(f"/run/user/{uid}")
    return runtime / "hwentropy"


def client_runtime_dir(
    environ: Mapping[str, str] = os.environ,
    uid: int | None = None,
    system_dir: Path = SYSTEM_DIR,
) -> Path:
    """The directory in which a client looks for the sockets.

    The daemon of this user if there is one, else the system's: a user who
    started a daemon of their own means to use it.
    """
    own = daemon_runtime_dir(environ, uid)
    if environ.get(ENVIRONMENT_VARIABLE) or _has_socket(own):
        return own
    return system_dir if _has_socket(system_dir) else own


def daemon_state_dir(
    environ: Mapping[str, str] = os.environ, uid: int | None = None, runtime: Path | None = None
) -> Path:
    """The directory in which a daemon of this user keeps what outlives it.

    `HWENTROPY_STATE_DIR` overrides.  A daemon that was told where its sockets go
    (`runtime`, or HWENTROPY_RUNTIME_DIR) and not where its state goes is one of several,
    and keeps it beside its sockets.
    """
    # systemd sets the second, to what StateDirectory= names.
    named = environ.get(STATE_ENVIRONMENT_VARIABLE) or environ.get("STATE_DIRECTORY")
    if named:
        return Path(named)
    told = runtime or environ.get(ENVIRONMENT_VARIABLE)
    if told:
        return Path(told) / "state"
    uid = os.geteuid() if uid is None else uid
    if uid == 0:
        return SYSTEM_STATE_DIR
    state = Path(environ.get("XDG_STATE_HOME", ""))
    # As for XDG_RUNTIME_DIR, a relative path is invalid.
    if not state.is_absolute():
        state = Path(environ.get("HOME", "/nonexistent")) / ".local/state"
    return state / "hwentropy"


def file_in_the_way(path: Path) -> Path | None:
    """What stands where `path` needs a directory: itself, or one of those it is in.

    None if there is nothing, or if this user may not look.
    """
    for one in (path, *path.parents):
        try:
            if one.is_dir():
                return None
            if one.exists() or one.is_symlink():
                return one
        except OSError:
            return None
    return None


def _has_socket(directory: Path) -> bool:
    try:
        return (directory / ENTROPY_SOCKET).exists()
    except OSError:
        # `exists` raises where it may not look: another user's directory, which
        # `su` leaves in XDG_RUNTIME_DIR.  What we cannot see we cannot use.
        return False
