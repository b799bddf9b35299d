"""What a TPM says of itself, and which group it is in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_sources.tpm2.identity import device_path, group_of, identify, is_tpm_device


def _word(text: str) -> int:
    return int.from_bytes(text.encode("latin-1").ljust(4, b"\0"), "big")


#: As swtpm 0.7.1 with libtpms 0.9.2 answers.
SWTPM = {
    0x105: _word("IBM"),
    0x106: _word("SW  "),
    0x107: _word(" TPM"),
    0x108: 0,
    0x109: 0,
    0x10A: 1,
    0x10B: 0x20191023,
    0x10C: 0x00163636,
}


def test_swtpm_is_read_and_recognised() -> None:
    """The words of a software TPM become its names, and it counts as software."""
    identity = identify(SWTPM)
    assert (identity.manufacturer, identity.vendor) == ("IBM", "SW   TPM")
    assert identity.firmware == "8217.4131.22.13878"
    assert identity.is_software


@pytest.mark.parametrize(
    ("manufacturer", "vendor", "software"),
    [
        ("MSFT", ("xCG ", "fTPM"), True),
        ("IFX", ("SLB9", "670"), False),
        ("CROS", ("xCG ", "fTPM"), False),
        ("IBM", ("", ""), False),
    ],
)
def test_only_what_admits_to_be_a_program_is_software(
    manufacturer: str, vendor: tuple[str, str], *, software: bool
) -> None:
    """Maker and model together decide; neither alone does."""
    words = {0x105: _word(manufacturer), 0x106: _word(vendor[0]), 0x107: _word(vendor[1])}
    assert identify(words).is_software is software


@given(st.dictionaries(st.integers(0x100, 0x120), st.integers(0, 0xFFFFFFFF)))
def test_a_hostile_tpm_cannot_put_control_characters_into_a_status(
    words: dict[int, int],
) -> None:
    """Whatever the words are, names are short printable ASCII."""
    identity = identify(words)
    for text in (identity.manufacturer, identity.vendor, identity.firmware):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) <= 23  # four 16-bit numbers and three dots


@pytest.mark.parametrize(
    ("tcti", "group"),
    [
        ("device:/dev/tpmrm0", "tpm0"),
        ("device:/dev/tpm0", "tpm0"),
        ("device:/dev/tpmrm12", "tpm12"),
        ("pcap:device:/dev/tpmrm1", "tpm1"),
        ("device", "tpm0"),
        ("tabrmd", "tpm0"),
        ("tabrmd:bus_type=session", "tpm0"),
        ("swtpm:path=/run/s", "tpm:swtpm:path=/run/s"),
        ("pcap:swtpm:path=/run/s", "tpm:swtpm:path=/run/s"),
        ("mssim:host=localhost,port=2321", "tpm:mssim:host=localhost,port=2321"),
        ("device:/dev/ttyS0", "tpm:device:/dev/ttyS0"),
    ],
)
def test_every_way_to_one_tpm_is_one_group(tcti: str, group: str) -> None:
    """The device, its resource manager and a recorder before them share a group."""
    assert group_of(tcti) == group


def test_a_link_to_a_tpm_is_that_tpm(tmp_path: Path) -> None:
    """Renaming a device by a link does not make a second origin of it."""
    link = tmp_path / "mytpm"
    link.symlink_to("/dev/tpmrm3")
    assert group_of(f"device:{link}") == "tpm3"
    assert is_tpm_device(link)


def test_device_paths_are_found_where_there_are_any() -> None:
    """Only a `device` transport with a path leads to a device file."""
    assert device_path("device:/dev/tpmrm0") == Path("/dev/tpmrm0")
    assert device_path("pcap:device:/dev/tpm0") == Path("/dev/tpm0")
    assert device_path("device") is None
    assert device_path("swtpm:path=/dev/tpm0") is None
    assert not is_tpm_device(Path("/dev/null"))
