"""Where the sockets are, for the daemon and every client alike.

`HWENTROPY_RUNTIME_DIR` overrides; root uses /run/hwentropy; anybody else uses
the system's directory where a daemon serves there, or else their own below
`$XDG_RUNTIME_DIR`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ENVIRONMENT_VARIABLE: Final = "HWENTROPY_RUNTIME_DIR"
SYSTEM_DIR: Final = Path("/run/hwentropy")

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
    return Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}") / "hwentropy"


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
    if environ.get(ENVIRONMENT_VARIABLE) or (own / ENTROPY_SOCKET).exists():
        return own
    return system_dir if (system_dir / ENTROPY_SOCKET).exists() else own
