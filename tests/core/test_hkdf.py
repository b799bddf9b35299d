"""HKDF: published vectors against the reference, and ours against both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_core import hkdf as in_use
from hwentropy_core import hkdf_library
from hwentropy_core.memory import Buffer
from support import needed
from support.hkdf_reference import hkdf

FOLDER = Path(__file__).parent / "vectors"

HkdfInto = Callable[[bytearray | memoryview, Buffer, Buffer, bytes], None]


@pytest.fixture(params=["c", "library"], scope="module")
def hkdf_into(request: pytest.FixtureRequest) -> HkdfInto:
    """Both ways of doing it."""
    if request.param == "library":
        return hkdf_library.hkdf_into
    extension = needed.module("hwentropy_core._hkdf", "the C extension was not built")
    into: HkdfInto = extension.into
    return into


def test_the_extension_is_used_where_it_is() -> None:
    """Not the library."""
    extension = needed.module("hwentropy_core._hkdf", "the C extension was not built")
    assert in_use.hkdf_into is extension.into


def vectors(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())["vectors"]
    return loaded


def fields(vector: dict[str, Any]) -> tuple[bytes, bytes, bytes, bytes]:
    salt, ikm, info, okm = (
        bytes.fromhex(vector[key]) for key in ("salt", "ikm", "info", "okm")
    )
    return salt, ikm, info, okm


@pytest.mark.parametrize("vector", vectors("rfc5869_hkdf_sha256.json"), ids=lambda v: v["id"])
def test_reference_gives_the_rfc_5869_answers(vector: dict[str, Any]) -> None:
    """The reference is HKDF: RFC 5869's own vectors, which are for SHA-256."""
    salt, ikm, info, okm = fields(vector)
    assert hkdf("sha256", salt, ikm, info, len(okm)) == okm


@pytest.mark.parametrize(
    "vector", vectors("wycheproof_hkdf_sha512.json"), ids=lambda v: v["id"]
)
def test_sha_512_answers_of_wycheproof(hkdf_into: HkdfInto, vector: dict[str, Any]) -> None:
    """With SHA-512 both the reference and ours give Wycheproof's answers."""
    salt, ikm, info, okm = fields(vector)
    assert hkdf("sha512", salt, ikm, info, len(okm)) == okm
    out = bytearray(len(okm))
    hkdf_into(out, salt, ikm, info)
    assert out == okm


# 16,320 = 255 x 64 bytes is the most that RFC 5869 2.3 allows.
@pytest.mark.parametrize("size", [1, 32, 63, 64, 65, 128, 129, 16320])
def test_every_output_length_is_the_reference(hkdf_into: HkdfInto, size: int) -> None:
    """The length of the buffer is the length L of RFC 5869, block edges included."""
    out = bytearray(size)
    hkdf_into(out, b"salt", b"ikm", b"info")
    assert out == hkdf("sha512", b"salt", b"ikm", b"info", size)


@given(st.binary(max_size=200), st.binary(max_size=300), st.binary(max_size=80))
def test_ours_is_the_reference_on_any_input(
    hkdf_into: HkdfInto, salt: bytes, ikm: bytes, info: bytes
) -> None:
    """For any salt (longer than a hash block too), material and info they agree."""
    out = bytearray(32)
    hkdf_into(out, salt, ikm, info)
    assert out == hkdf("sha512", salt, ikm, info, 32)


def test_salt_and_output_may_be_the_same_buffer(hkdf_into: HkdfInto) -> None:
    """A reseed derives the new key over the old one, which is its salt."""
    key = bytearray(b"k" * 32)
    hkdf_into(key, key, b"ikm", b"info")
    assert key == hkdf("sha512", b"k" * 32, b"ikm", b"info", 32)


def test_a_longer_output_is_refused(hkdf_into: HkdfInto) -> None:
    """RFC 5869 2.3 allows no more."""
    with pytest.raises(ValueError, match=r".+"):
        hkdf_into(bytearray(16321), b"salt", b"ikm", b"info")
