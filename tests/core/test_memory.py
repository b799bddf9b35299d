"""Overwriting: all of it, and nothing beside it."""

import pytest

from hwentropy_core.memory import ZEROS, wipe


# Around the 64 KiB of zeros that it copies from.
@pytest.mark.parametrize("size", [0, 1, 32, 65535, 65536, 65537, 200_000])
def test_wipe_overwrites_every_byte(size: int) -> None:
    """A buffer of any length is zeros afterwards and keeps its length."""
    buffer = bytearray(b"\xa5" * size)
    wipe(buffer)
    assert buffer == bytes(size)


def test_wipe_of_a_view_leaves_its_neighbours() -> None:
    """Only the viewed part of a buffer is overwritten."""
    buffer = bytearray(b"\xa5" * 100)
    wipe(memoryview(buffer)[10:20])
    assert buffer == b"\xa5" * 10 + bytes(10) + b"\xa5" * 80


def test_wipe_of_a_wider_view_overwrites_all_its_bytes() -> None:
    """A view of 64-bit words is wiped by bytes, not by items."""
    buffer = bytearray(b"\xa5" * 64)
    wipe(memoryview(buffer).cast("Q"))
    assert buffer == bytes(64)


def test_wipe_refuses_what_cannot_be_overwritten() -> None:
    """A read-only buffer raises instead of staying as it is."""
    with pytest.raises(TypeError):
        wipe(memoryview(b"secret"))


def test_zeros_cannot_be_written() -> None:
    """The shared zeros are read-only, since output is made by encrypting them."""
    assert ZEROS.readonly
    assert not any(ZEROS)
