"""ACPI's count of QEMU's event, in a /sys of files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.events import acpi
from hwentropyd.events.acpi import count_of
from hwentropyd.events.sign import UnwatchedError

#: As Linux 6.1 shows it.
TEXT = "{:8d}  EN     enabled      unmasked\n"

QEMU = ("QEMUVGID", "acpi:QEMUVGID:VM_GEN_COUNTER:")
LID = ("PNP0C0D", "acpi:PNP0C0D:")


def machine(sysfs: Path, *devices: tuple[str, str], count: int | None = 0) -> Path:
    """A machine with these ACPI devices (hardware id, modalias); the file of event 5."""
    for number, (hid, modalias) in enumerate(devices):
        device = sysfs / f"bus/acpi/devices/{hid}:{number:02}"
        device.mkdir(parents=True)
        (device / "hid").write_text(hid + "\n")
        (device / "modalias").write_text(modalias + "\n")
    events = sysfs / "firmware/acpi/interrupts"
    events.mkdir(parents=True)
    if count is not None:
        (events / "gpe05").write_text(TEXT.format(count))
        (events / "gpe06").write_text(TEXT.format(0))
    return events / "gpe05"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (TEXT.format(0), 0),
        (TEXT.format(12345678901), 12345678901),
        ("7", 7),
        (" 3  invalid\n", 3),
    ],
)
def test_a_count_is_read(text: str, count: int) -> None:
    """Whatever stands behind it."""
    assert count_of(text.encode()) == count


@given(st.binary())
def test_anything_else_is_a_value_error(text: bytes) -> None:
    """And nothing worse."""
    try:
        count_of(text)
    except ValueError:
        return
    assert text.strip()


def test_every_event_is_a_sign_once(tmp_path: Path) -> None:
    """Several between two looks are one; those before are none; another's are none."""
    path = machine(tmp_path, LID, QEMU, count=3)
    events = acpi.watch(tmp_path)
    assert not events.look()
    path.write_text(TEXT.format(4))
    assert events.look()
    assert not events.look()
    path.write_text(TEXT.format(9))
    assert events.look()
    (path.parent / "gpe06").write_text(TEXT.format(1))
    assert not events.look()
    events.close()


@pytest.mark.parametrize(
    ("devices", "count", "why"),
    [
        ([], 0, "this machine has no ACPI device that tells of copies"),
        ([LID], 0, "this machine has no ACPI device that tells of copies"),
        (
            [("VMGENCTR", "acpi:VMGENCTR:VM_GEN_COUNTER:")],
            0,
            "which ACPI event the device VMGENCTR uses is not known",
        ),
        ([QEMU], None, "gpe05 cannot be read (No such file or directory)"),
    ],
)
def test_where_no_event_is_known_none_is_watched(
    tmp_path: Path, devices: list[tuple[str, str]], count: int | None, why: str
) -> None:
    """Neither a lid's nor another hypervisor's is taken for it."""
    machine(tmp_path, *devices, count=count)
    with pytest.raises(UnwatchedError) as caught:
        acpi.watch(tmp_path)
    assert str(caught.value).endswith(why)


def test_a_file_without_a_count_is_not_watched(tmp_path: Path) -> None:
    """It is said, and ends nothing."""
    machine(tmp_path, QEMU).write_text("")
    with pytest.raises(UnwatchedError, match="holds no count"):
        acpi.watch(tmp_path)
