"""The kernel's log: the line that it writes when its machine was copied.

Linux from 5.18 on with CONFIG_VMGENID reseeds its own generator when the hypervisor says
by an ACPI device that this is a copy, and writes

    random: crng reseeded due to virtual machine fork

/dev/kmsg gives a record at each read, `<priority>,<sequence>,<microseconds>,<flags>;<text>`
and perhaps more lines (Documentation/ABI/testing/dev-kmsg).  The priority's facility is 0
for the kernel's own lines and never for those that a program wrote.

Where kernel.dmesg_restrict is 1 to open it takes CAP_SYSLOG; reading on does not.

What this does not protect against: what runs before the line is read, and a hypervisor
that says nothing or gives two copies one number, of which the kernel writes no line.
"""

import errno
import os
from pathlib import Path
from typing import Final

from .sign import ForbiddenError, UnwatchedError

PATH: Final = Path("/dev/kmsg")

#: drivers/char/random.c, add_vmfork_randomness.
LINE: Final = b"random: crng reseeded due to virtual machine fork"

#: The longest record: PRINTKRB_RECORD_MAX of kernel/printk/internal.h is 1,024, and
#: CONSOLE_EXT_LOG_MAX, the room for one with its escapes, 8,192.
RECORD_BYTES: Final = 8192


def says_copied(record: bytes) -> bool:
    """Whether a record is the kernel's own word that the machine was copied."""
    head, _, text = record.partition(b";")
    priority = head.partition(b",")[0]
    # linux/kern_levels.h: three bits of level below the facility.
    return priority in {b"%d" % level for level in range(8)} and (
        text.partition(b"\n")[0] == LINE
    )


class KernelLog:
    """What is written from now on."""

    def __init__(self, fd: int) -> None:
        """Read from an open /dev/kmsg, which belongs to this from now on."""
        self._fd = fd
        os.set_blocking(fd, False)  # whoever opened it may have left it to wait
        os.lseek(fd, 0, os.SEEK_END)

    @property
    def wakes(self) -> int:
        """Readable when there is a record."""
        return self._fd

    def look(self) -> bool:
        """Read what there is.

        True also where records were lost, being overwritten before they were read: the
        line may have been one of them, and a reseed costs milliseconds.
        """
        found = False
        while True:
            try:
                record = os.read(self._fd, RECORD_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                found = True
                continue
            if not record:
                return found
            found |= says_copied(record)

    def close(self) -> None:
        """Stop reading."""
        os.close(self._fd)


def watch(path: Path = PATH) -> KernelLog:
    """Open the log.  Raises UnwatchedError."""
    try:
        return KernelLog(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError as error:
        raise ForbiddenError(
            f"{path} may not be read ({error.strerror}): the capability CAP_SYSLOG, or "
            "OpenFile= in the unit, lets it"
        ) from None
    except OSError as error:
        raise UnwatchedError(f"{path} cannot be read ({error.strerror})") from None
