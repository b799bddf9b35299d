"""Finding devices by what the kernel calls them, with pyudev.

Enumeration reads /sys through libudev and needs no udevd, so a device is taken
as found whether or not udev has initialised it (`is_initialized` stays False
for ever in a container).  pyudev is imported at the first call: a process that
looks for no device does not pay for it.

What this does not protect against: that a device is listed does not mean that
its node in /dev exists or may be opened.  The source finds that out.
"""

import contextlib
import functools
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .contract import SourceAbsent, SourceError

#: libudev is not for two threads at once (its manual page), and its context is one.
#: Held until the last of its objects is gone, hence around calls.
_one_at_a_time: Final = threading.Lock()


class Device(Protocol):
    """What is used of a `pyudev.Device`."""

    @property
    def sys_name(self) -> str:
        """The last part of its path in /sys, such as `tpmrm0`."""
        ...

    @property
    def device_node(self) -> str | None:
        """Its node in /dev."""
        ...

    @property
    def parent(self) -> "Device | None":
        """The device it belongs to."""
        ...


class Context(Protocol):
    """What is used of a `pyudev.Context`."""

    def list_devices(self, *, subsystem: str, sys_name: str = ...) -> Iterable[Device]:
        """The devices that match."""
        ...


@dataclass(frozen=True, slots=True)
class TpmDevice:
    """One TPM 2.0, as the kernel's resource manager offers it."""

    path: Path
    """`/dev/tpmrm0`."""
    sysname: str
    """`tpmrm0`."""
    name: str
    """The device behind it, such as `MSFT0101:00` or `vtpmx`'s; empty if it has none."""
    number: int
    """The 0 of `tpmrm0`, and of `tpm-rng-0` where the kernel reads it too."""

    @property
    def group(self) -> str:
        """The independence group of everything that comes out of this TPM."""
        return tpm_group(self.number)


def prepare() -> None:
    """Load libudev, while programs may be executed: it is found by executing ldconfig.

    Where it is missing, who looks for a device is told.
    """
    with contextlib.suppress(SourceAbsent):
        _system_context()


def tpm_group(number: int) -> str:
    """The independence group of TPM `number`, however it is reached."""
    return f"tpm{number}"


def find_hwrng(context: Context | None = None) -> Path | None:
    """The node of the kernel's hardware RNG device, `/dev/hwrng`; None without one."""
    with _one_at_a_time:
        return _find_hwrng(context)


def _find_hwrng(context: Context | None) -> Path | None:
    for device in _devices(context, subsystem="misc", sys_name="hw_random"):
        if device.device_node is not None:
            return Path(device.device_node)
    return None


def find_tpms(context: Context | None = None) -> list[TpmDevice]:
    """The TPM 2.0 devices, in the kernel's order.

    The subsystem `tpmrm` lists TPM 2.0 only: a TPM 1.2 has no resource manager.
    """
    with _one_at_a_time:
        return _find_tpms(context)


def _find_tpms(context: Context | None) -> list[TpmDevice]:
    found: list[TpmDevice] = []
    for device in _devices(context, subsystem="tpmrm"):
        numbered = re.fullmatch(r"tpmrm(\d+)", device.sys_name)
        if numbered is None or device.device_node is None:
            continue
        parent = device.parent
        found.append(
            TpmDevice(
                path=Path(device.device_node),
                sysname=device.sys_name,
                name=parent.sys_name if parent is not None else "",
                number=int(numbered[1]),
            )
        )
    return sorted(found, key=lambda tpm: tpm.number)


def _devices(context: Context | None, **match: str) -> Iterator[Device]:
    if context is None:
        context = _system_context()
    try:
        yield from context.list_devices(**match)
    except (LookupError, OSError) as error:
        # pyudev's DeviceNotFoundError is a LookupError: unplugged while we looked.
        raise SourceError(
            f"enumerating {match['subsystem']} devices failed: {type(error).__name__}"
        ) from None


@functools.cache
def _system_context() -> Context:
    try:
        import pyudev  # noqa: PLC0415 - only a process that looks for devices pays for it
    except ImportError as error:
        raise SourceAbsent(
            f"devices cannot be looked for: {error.msg}",
            "install pyudev and libudev (Debian: libudev1), or name the device in the "
            "configuration",
        ) from None
    system: Context = pyudev.Context()
    return system
