"""The kernel's uevent NEW_VMGENID: this machine is a copy.

Some kernels send it (Amazon's; in Linux itself it was taken back before a release), to
whoever listens on a netlink socket, with or without udevd.  A uevent is a datagram,
`change@<device>` and fields `KEY=value`, each ended by a zero byte; what is written to a
device's file `uevent` becomes one whose keys begin with SYNTH_ARG_
(Documentation/ABI/testing/sysfs-uevent).

What this does not protect against: what runs before it is read.  Events that are lost
where they come faster than they are read (a thousand devices at the start) are no sign:
a kernel that sends this one writes the line of `kernel_log` as well.
"""

import errno
import socket
from typing import Final

from .sign import UnwatchedError

#: linux/netlink.h; Python does not name it.
NETLINK_KOBJECT_UEVENT: Final = 15

#: The multicast group of the kernel's own events; 2 is udevd's.
_KERNEL_GROUP: Final = 1

#: UEVENT_BUFFER_SIZE of linux/kobject.h is 2,048 for the fields; the head repeats a path.
_EVENT_BYTES: Final = 8192


def says_copied(datagram: bytes) -> bool:
    """Whether a uevent says that the machine has a new generation."""
    head, *fields = datagram.split(b"\0")
    return head.startswith(b"change@") and b"NEW_VMGENID=1" in fields


class Uevents:
    """The kernel's events from now on."""

    def __init__(self) -> None:
        """Raises OSError."""
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_KOBJECT_UEVENT)
        try:
            self._socket.bind((0, _KERNEL_GROUP))
        except BaseException:
            self._socket.close()
            raise

    @property
    def wakes(self) -> int:
        """Readable when there is an event."""
        return self._socket.fileno()

    def look(self) -> bool:
        """Read what there is."""
        found = False
        while True:
            try:
                datagram, (sender, _) = self._socket.recvfrom(_EVENT_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            # 0 is the kernel; anybody of its network namespace's root may send here too.
            found |= sender == 0 and says_copied(datagram)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def watch() -> Uevents:
    """Listen.  Raises UnwatchedError."""
    try:
        return Uevents()
    except OSError as error:
        raise UnwatchedError(f"uevents cannot be heard ({error.strerror})") from None
