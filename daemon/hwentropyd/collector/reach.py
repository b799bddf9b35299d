"""What of the machine a source reaches beside libraries: devices, files, sockets.

    tpm2        its device, or the sockets of its TCTI
    a plug-in   everything below /dev that the user may open, the files that its table
                names, Unix sockets, the kernel's word of devices, and the system's
                programs, which have no more than it; no network

Pure but for looking whether a file is there.
"""

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from hwentropy_sources import registry
from hwentropy_sources.tpm2.identity import device_path
from hwentropyd.confinement import NETWORK, Reach

_DEVICES: Final = Path("/dev")
_LOCAL: Final = (socket.AF_UNIX,)
#: pyudev's monitor of devices that come and go is a netlink socket.
_PLUG_IN: Final = (socket.AF_UNIX, socket.AF_NETLINK)


def of_source(kind: str, table: Mapping[str, object]) -> Reach:
    """The reach of a source with this table of the configuration."""
    if kind == "tpm2":
        return _of_tpm(str(table.get("tcti", "")))
    return Reach((_DEVICES, *_named_paths(table)), _PLUG_IN, programs=registry.is_foreign(kind))


def of_supervisor(tables: Iterable[tuple[str, Mapping[str, object]]]) -> Reach:
    """That of all sources, by kind and table: children inherit what their parent keeps."""
    devices, programs = {_DEVICES}, False
    families: set[int] = {*_PLUG_IN}
    for kind, table in tables:
        reach = of_source(kind, table)
        devices.update(reach.devices)
        families.update(reach.families)
        programs |= reach.programs
    return Reach(tuple(devices), tuple(sorted(families)), programs)


def _of_tpm(tcti: str) -> Reach:
    """By the TCTI's name, the text before its first colon (Tss2_TctiLdr_Initialize(3))."""
    device = device_path(tcti)
    if device is not None:
        return Reach((device,))
    if not tcti:
        return Reach(tuple(_DEVICES.glob("tpmrm*")))
    name, _, settings = tcti.removeprefix("pcap:").partition(":")
    if name in {"swtpm", "mssim"} and "path=" not in settings:
        # host= and port=, or their defaults.
        return Reach((), (*_LOCAL, *sorted(NETWORK)))
    return Reach((), _LOCAL, programs=name == "cmd")


def _named_paths(table: Mapping[str, object]) -> tuple[Path, ...]:
    """The files that a table names; of one that is not there, its directory.

    A text is taken for a path where it holds a slash.
    """
    named = [Path(value) for value in table.values() if isinstance(value, str) and "/" in value]
    return tuple(path if path.exists() else path.parent for path in named)
