"""Finding devices: with a context handed in, with the real /sys, and under umockdev."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_sources import discovery
from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.discovery import Device, TpmDevice, find_hwrng, find_tpms
from support.umockdev import run_with_devices


@dataclass
class FakeDevice:
    """What libudev says of a device."""

    sys_name: str
    device_node: str | None = None
    parent: "FakeDevice | None" = None


@dataclass
class FakeContext:
    """A machine with these devices, by subsystem."""

    devices: dict[str, list[FakeDevice]] = field(default_factory=dict)
    error: Exception | None = None

    def list_devices(self, *, subsystem: str, sys_name: str = "") -> Iterable[Device]:
        """As pyudev: a generator, so errors come while it runs."""
        return self._list(subsystem, sys_name)

    def _list(self, subsystem: str, sys_name: str) -> Iterator[FakeDevice]:
        for device in self.devices.get(subsystem, []):
            if sys_name in {"", device.sys_name}:
                yield device
        if self.error is not None:
            raise self.error


def test_nothing_is_found_where_nothing_is() -> None:
    """No device is an answer, not an error."""
    assert find_hwrng(FakeContext()) is None
    assert find_tpms(FakeContext()) == []


def test_the_hwrng_is_found_by_its_name() -> None:
    """Of all misc devices, hw_random; its node is the kernel's word, not a guess."""
    misc = [FakeDevice("fuse", "/dev/fuse"), FakeDevice("hw_random", "/dev/other-name")]
    assert find_hwrng(FakeContext({"misc": misc})) == Path("/dev/other-name")


def test_a_device_without_a_node_is_not_found() -> None:
    """What has no node in /dev cannot be opened."""
    assert find_hwrng(FakeContext({"misc": [FakeDevice("hw_random")]})) is None
    assert find_tpms(FakeContext({"tpmrm": [FakeDevice("tpmrm0")]})) == []


def test_tpms_come_in_the_order_of_their_numbers() -> None:
    """tpmrm2 before tpmrm10, each with its group and what is behind it."""
    tpms = [
        FakeDevice("tpmrm10", "/dev/tpmrm10"),
        FakeDevice("tpmrm2", "/dev/tpmrm2", FakeDevice("MSFT0101:00")),
        FakeDevice("unheard-of", "/dev/unheard-of"),
    ]
    found = find_tpms(FakeContext({"tpmrm": tpms}))
    assert found == [
        TpmDevice(Path("/dev/tpmrm2"), "tpmrm2", "MSFT0101:00", 2),
        TpmDevice(Path("/dev/tpmrm10"), "tpmrm10", "", 10),
    ]
    assert [tpm.group for tpm in found] == ["tpm2", "tpm10"]


@pytest.mark.parametrize("error", [LookupError("gone"), PermissionError("no /sys")])
def test_a_failed_enumeration_is_a_source_error(error: Exception) -> None:
    """A device unplugged while /sys is read does not escape as pyudev's exception."""
    with pytest.raises(SourceError, match="enumerating tpmrm devices failed"):
        find_tpms(FakeContext(error=error))


def test_a_missing_libudev_gives_the_remedy(mocker: MockerFixture) -> None:
    """pyudev raises ImportError where libudev is missing: absent, with what to install."""
    mocker.patch.dict(sys.modules, {"pyudev": None})
    discovery._system_context.cache_clear()  # another test may have found it already
    with pytest.raises(SourceAbsent) as raised:
        find_hwrng()
    assert "libudev" in raised.value.remedy


def test_the_real_machine_answers_without_udevd() -> None:
    """What is found is what /sys holds, whether or not a udevd runs."""
    in_sysfs = Path("/sys/class/misc/hw_random").exists()
    assert find_hwrng() == (Path("/dev/hwrng") if in_sysfs else None)
    tpms = Path("/sys/class/tpmrm")
    names = {path.name for path in tpms.iterdir()} if tpms.exists() else set[str]()
    assert {tpm.sysname for tpm in find_tpms()} == names


MACHINE = """\
P: /devices/platform/MSFT0101:00
E: SUBSYSTEM=platform

P: /devices/platform/MSFT0101:00/tpmrm/tpmrm0
N: tpmrm0
E: DEVNAME=/dev/tpmrm0
E: SUBSYSTEM=tpmrm

P: /devices/virtual/misc/fuse
N: fuse
E: DEVNAME=/dev/fuse
E: SUBSYSTEM=misc

P: /devices/virtual/misc/hw_random
N: hwrng
E: DEVNAME=/dev/hwrng
E: SUBSYSTEM=misc

"""


def test_pyudev_finds_the_devices_of_another_machine(tmp_path: Path) -> None:
    """The real pyudev and libudev over a /sys of umockdev, uninitialised devices and all."""
    script = (
        "from hwentropy_sources.discovery import find_hwrng, find_tpms;"
        "import pyudev;"
        "print(find_hwrng(), *find_tpms(), sep='|');"
        "print(any(d.is_initialized for d in pyudev.Context().list_devices()))"
    )
    out = run_with_devices(MACHINE, script, tmp_path).splitlines()
    tpm = TpmDevice(Path("/dev/tpmrm0"), "tpmrm0", "MSFT0101:00", 0)
    assert out[0] == f"/dev/hwrng|{tpm!r}"
