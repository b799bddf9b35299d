"""docs/drbg.md against the code: its known answer and its numbers."""

import re
from pathlib import Path

import pytest

from hwentropy_core import drbg as drbg_module
from hwentropy_core.drbg import Drbg, encode_materials
from hwentropy_core.hkdf import hkdf_into
from hwentropy_core.limits import BLOCK_BYTES, KEY_BYTES, MIN_SEED_BITS, SMALL_BYTES
from support.drbg_reference import ReferenceDrbg

TEXT = (Path(__file__).parents[2] / "docs/drbg.md").read_text()
MATERIALS = [(b"os", bytes(range(40)))]


def known_answer() -> dict[str, bytes]:
    """The lines of the document's block, by their first words."""
    found = re.search(r"^```known-answer\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    pairs = (re.split(r" {2,}", line, maxsplit=1) for line in found[1].splitlines())
    return {name: bytes.fromhex(data) for name, data in pairs}


def test_inputs_are_encoded_as_printed() -> None:
    """The printed ikm and info are what goes into HKDF, and the printed key comes out."""
    answer = known_answer()
    assert encode_materials(MATERIALS) == answer["ikm"]
    key = bytearray(KEY_BYTES)
    hkdf_into(key, bytes(KEY_BYTES), answer["ikm"], answer["info"])
    assert key == answer["key"]


@pytest.mark.parametrize("implementation", [Drbg, ReferenceDrbg])
def test_outputs_are_those_printed(implementation: type[Drbg | ReferenceDrbg]) -> None:
    """Both implementations give the printed output, line by line."""
    answer = known_answer()
    generator = implementation(b"root")
    generator.reseed(MATERIALS)
    for size in (1, 16, 32):
        assert generator.read(size) == answer[f"read {size}"]
    assert generator.child_seed(b"worker 1", 1) == answer["child"]
    assert list(answer) == ["ikm", "info", "key", "read 1", "read 16", "read 32", "child"]


@pytest.mark.parametrize(
    "fact",
    [
        f"up to {SMALL_BYTES:,} bytes",
        f"ChaCha20(key)[:{BLOCK_BYTES}]",
        f"block[{KEY_BYTES}:{BLOCK_BYTES}]",
        f"at most {BLOCK_BYTES - KEY_BYTES:,} bytes",
        f"at least {MIN_SEED_BITS} bits",
        f'"{drbg_module._SEED_PREFIX.decode()}"',  # pyright: ignore[reportPrivateUsage] - the very bytes
        f'"{drbg_module._CHILD_PREFIX.decode()}"',  # pyright: ignore[reportPrivateUsage] - the same
    ],
)
def test_numbers_and_prefixes_are_those_of_the_code(fact: str) -> None:
    """Each constant of the construction appears as the code has it."""
    assert fact in TEXT
