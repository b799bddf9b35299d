"""Which part of the outside a process may reach: files by Landlock, sockets by its filter."""

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .landlock import Access

READ: Final = Access.READ_FILE | Access.READ_DIR
#: A device: read, written, controlled.
USE: Final = READ | Access.WRITE_FILE | Access.IOCTL_DEV
#: A directory of one's own files.
KEEP: Final = READ | Access.WRITE_FILE | Access.TRUNCATE | Access.MAKE_REG | Access.REMOVE_FILE

#: What programs and libraries are made of, what the kernel and udev tell of devices, and
#: what libc and libtss2 read of /etc; nothing of a user's, and no password file.
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/opt", "/sys", "/proc", "/run/udev", "/etc/ld.so.cache"),
    *("/etc/ssl", "/etc/tpm2-tss", "/etc/localtime", "/etc/machine-id"),
    *("/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf"),
)
_HARMLESS_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

#: The families that leave the machine, or may.
NETWORK: Final = frozenset({socket.AF_INET, socket.AF_INET6})


@dataclass(frozen=True, slots=True)
class Reach:
    """What a collector, or the supervisor, may use beside programs and libraries."""

    devices: tuple[Path, ...] = ()
    """Files to read, write and control, and directories of such."""
    families: tuple[int, ...] = ()
    """Of the sockets that it may make."""
    programs: bool = False
    """Whether it may start processes and execute the system's programs in them."""

    @property
    def network(self) -> bool:
        """Whether it may use TCP."""
        return not NETWORK.isdisjoint(self.families)


def readable() -> dict[Path, Access]:
    """What every process but a worker may read: the system, and Python's modules."""
    packages = {
        path
        for name, module in sys.modules.items()
        if "." not in name
        for path in getattr(module, "__path__", ())
    }
    paths = (*_SYSTEM, sys.prefix, sys.base_prefix, *filter(os.path.isabs, sys.path), *packages)
    return {
        **dict.fromkeys(map(Path, paths), READ),
        **dict.fromkeys(map(Path, _HARMLESS_DEVICES), USE),
    }


def interpreter() -> Iterator[Path]:
    """What executing this Python again takes: it, and the loader that it asks for.

    And ldconfig, which it executes to find a library.
    """
    yield Path(sys.executable).resolve()
    yield Path("/sbin/ldconfig")
    # The sixth field of a line is the mapped file's path: proc(5).
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(("ld-", "ld.")):
            yield Path(fields[5])
