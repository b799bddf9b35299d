"""Which TPM this is: what it says of itself, and the independence group it is in.

Pure: property values and strings in, values out.

What this does not protect against: a TPM that lies.  Maker and model are what
it claims, so "hardware" is never claimed here, only "software" recognised
where a TPM admits it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwentropy_sources.discovery import tpm_group

#: TPM_PT_FIXED properties (TPM 2.0 Library, Part 2, 6.13): manufacturer, vendor
#: strings 1 to 4, vendor TPM type, firmware version 1 and 2.
PROPERTIES: Final = range(0x105, 0x10D)
_MANUFACTURER: Final = 0x105
_VENDOR_STRING: Final = range(0x106, 0x10A)
_FIRMWARE: Final = (0x10B, 0x10C)

#: Manufacturer and start of the vendor string of TPMs that are programs:
#: libtpms (swtpm, QEMU's and libvirt's TPMs) and IBM's software TPM, both
#: "IBM" and "SW   TPM" (VendorString.h there); the simulator in Microsoft's
#: reference code, "MSFT" and "xCG fTPM".  "xCG fTPM" alone says nothing: chips
#: kept it too.  A cloud's virtual TPMs bear their maker's name and are not told
#: from its chips.
_SOFTWARE: Final = (("IBM", "SW   TPM"), ("MSFT", "xCG fTPM"))

#: A device, also behind a TCTI that only wraps another ("pcap:device:...").
_DEVICE: Final = re.compile(r"(?:^|:)device:(?P<path>/.+)$")
_TPM_DEVICE: Final = re.compile(r"/dev/tpm(?:rm)?(?P<number>[0-9]+)")
_RECORDER: Final = "pcap:"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TPM says of itself; printable ASCII only."""

    manufacturer: str
    vendor: str
    firmware: str
    """`major.minor.x.y`: the two firmware words as four 16-bit numbers."""

    @property
    def is_software(self) -> bool:
        """Whether it admits to be a program."""
        return any(
            self.manufacturer == manufacturer and self.vendor.startswith(vendor)
            for manufacturer, vendor in _SOFTWARE
        )


def identify(properties: Mapping[int, int]) -> Identity:
    """The identity in fixed properties (number: 32-bit value); absent ones are empty."""
    words = [properties.get(number, 0) for number in _FIRMWARE]
    return Identity(
        manufacturer=_text(properties.get(_MANUFACTURER, 0)),
        vendor="".join(_padded(properties.get(number, 0)) for number in _VENDOR_STRING).strip(),
        firmware=".".join(str(half) for word in words for half in (word >> 16, word & 0xFFFF)),
    )


def device_path(tcti: str) -> Path | None:
    """The device file that a TCTI string leads to, if it leads to one."""
    match = _DEVICE.search(tcti)
    return Path(match["path"]) if match else None


def is_tpm_device(path: Path) -> bool:
    """Whether it is one of the kernel's TPM devices, directly or by a link."""
    return any(_TPM_DEVICE.fullmatch(str(each)) for each in (path, path.resolve()))


def group_of(tcti: str) -> str:
    """The independence group: `tpmN` for the kernel's TPM number N, else `tpm:<tcti>`.

    Links are followed.  tpm2-abrmd counts as `tpm0`, and so does a `device`
    without a path, since the first TPM is what they use unless told otherwise:
    a group that is too wide credits less, one that is too narrow counts twice.
    """
    inner = tcti.removeprefix(_RECORDER)
    path = device_path(inner)
    if path is not None:
        for candidate in (path, path.resolve()):
            if match := _TPM_DEVICE.fullmatch(str(candidate)):
                return tpm_group(int(match["number"]))
    if path is None and inner.partition(":")[0] in ("tabrmd", "device"):
        return tpm_group(0)
    return f"tpm:{inner}"


def _padded(word: int) -> str:
    """Four characters; NUL and what does not print are dropped or shown as `?`."""
    raw = word.to_bytes(4, "big").replace(b"\0", b"")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in raw)


def _text(word: int) -> str:
    return _padded(word).strip()
