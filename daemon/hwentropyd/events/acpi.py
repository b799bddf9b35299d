r"""The count of the ACPI event by which a hypervisor says that its guest is a copy.

QEMU's device QEMUVGID (hw/acpi/vmgenid.c) notifies by `\_GPE._E05`: general purpose event
5, which nothing else of QEMU's uses on x86.  The kernel counts each of its events in
/sys/firmware/acpi/interrupts, for everybody to read, also that of a copy whose number is
that of the last one, of which it says nothing.  Other devices of this kind (Firecracker,
Hyper-V, VMware) use other events, and which is in tables that only root reads: they are
not watched.  A lid or a button has other events and is not taken for it.

What this does not protect against: what runs before the next look.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from .sign import UnwatchedError

SYSFS: Final = Path("/sys")

_HARDWARE_ID: Final = "QEMUVGID"
_EVENT: Final = "gpe05"

#: The kernel's name for every device of this kind (drivers/virt/vmgenid.c).
_COMPATIBLE_ID: Final = "VM_GEN_COUNTER"


def count_of(text: bytes) -> int:
    """The number of events in a file of /sys/firmware/acpi/interrupts.

    Raises ValueError.
    """
    return int(text.strip().partition(b" ")[0])


class AcpiEvents:
    """Events that come from now on."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or ValueError for a file without a count."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._count = self._read()
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def wakes(self) -> None:
        """The file wakes nobody."""
        return

    def look(self) -> bool:
        """Whether there was an event since the last look."""
        before, self._count = self._count, self._read()
        return self._count != before

    def close(self) -> None:
        """Stop looking."""
        os.close(self._fd)

    def _read(self) -> int:
        # A count and four words.
        return count_of(os.pread(self._fd, 128, 0))


def watch(sysfs: Path = SYSFS) -> AcpiEvents:
    """Watch the event of QEMU's device.  Raises UnwatchedError."""
    kind = ""
    for device in sorted((sysfs / "bus/acpi/devices").glob("*")):
        with contextlib.suppress(OSError):
            if _COMPATIBLE_ID in (device / "modalias").read_text("ascii", "replace").upper():
                kind = (device / "hid").read_text("ascii", "replace").strip()
    if not kind:
        raise UnwatchedError("this machine has no ACPI device that tells of copies")
    if kind != _HARDWARE_ID:
        raise UnwatchedError(f"which ACPI event the device {kind} uses is not known")
    path = sysfs / "firmware/acpi/interrupts" / _EVENT
    try:
        return AcpiEvents(path)
    except OSError as error:
        raise UnwatchedError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise UnwatchedError(f"{path} holds no count") from None
