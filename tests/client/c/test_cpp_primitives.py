"""The primitives of the C and C++ headers, against published and independent answers."""

import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.compiled import PROGRAMS, Compiler, Probe

pytestmark = pytest.mark.process

CONFORMANCE = Path(__file__).parents[3] / "conformance"
VECTORS = Path(__file__).parents[2] / "core" / "vectors"
CHACHA20 = json.loads((VECTORS / "rfc8439_chacha20.json").read_text())["vectors"]
HKDF = json.loads((VECTORS / "wycheproof_hkdf_sha512.json").read_text())["vectors"]
DRBG = json.loads((CONFORMANCE / "drbg.json").read_text())["cases"]
KEY = bytes(range(32)).hex()


@pytest.fixture(scope="module", params=[(), ("-DHWENTROPY_PORTABLE",)], ids=["", "portable"])
def program(request: pytest.FixtureRequest, compiler: Compiler) -> Iterator[Probe]:
    """vectors.c with the processor's vectors, and without."""
    with Probe(compiler(PROGRAMS / "vectors.c", *request.param)) as probe:
        yield probe


def given(data: bytes) -> str:
    """Bytes as the program takes them."""
    return data.hex() or "-"


@pytest.mark.parametrize("vector", CHACHA20, ids=lambda vector: vector["id"])
@pytest.mark.parametrize("command", ["chacha20", "blockwise"])
def test_chacha20_gives_the_vectors_of_rfc_8439(
    command: str, vector: dict[str, Any], program: Probe
) -> None:
    """Keystream is what turns each plain text of the RFC into its cipher text."""
    plain, cipher = bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["ciphertext"])
    blocks = -(-len(plain) // 64)
    stream = program.ask(
        f"{command} {vector['key']} {vector['counter']} {vector['nonce']} {blocks}"
    )
    pairs = zip(plain, bytes.fromhex(stream), strict=False)
    assert bytes(a ^ b for a, b in pairs) == cipher


@pytest.mark.parametrize("blocks", [*range(1, 35), 64, 1000])
def test_many_blocks_at_once_are_the_same_blocks(blocks: int, program: Probe) -> None:
    """Every number of blocks up to two of the widest vectors, and a carry in the counter."""
    for counter in (0, 7, 0x7FFFFFFF):
        asked = f"{KEY} {counter} 000000000000004a00000000 {blocks}"
        assert program.ask(f"chacha20 {asked}") == program.ask(f"blockwise {asked}")


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_each_width_of_vectors_is_right(lanes: int, compiler: Compiler) -> None:
    """Each that this processor has, by itself: whole groups, and no block beyond."""
    with Probe(compiler(PROGRAMS / "vectors.c")) as program:
        stream = program.ask(f"lanes {lanes} {KEY} {3 * lanes + 1}")
        if stream == "absent":
            pytest.skip(f"this processor has no vectors of {lanes} words")
        expected = program.ask(f"blockwise {KEY} 0 {'00' * 12} {3 * lanes}")
    assert stream == expected


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_sha512_is_hashlibs(parts: int, program: Probe) -> None:
    """Every length up to over two blocks, taken in at once and in parts."""
    for size in [*range(270), 5000]:
        data = random.Random(size).randbytes(size)
        assert program.ask(f"sha512 {given(data)} {parts}") == hashlib.sha512(data).hexdigest()


@pytest.mark.parametrize("vector", HKDF, ids=lambda vector: vector["id"])
def test_hkdf_gives_the_vectors_of_wycheproof(vector: dict[str, Any], program: Probe) -> None:
    """HKDF-SHA-512: salts of every kind, and up to many blocks of output."""
    fields = (vector[name] or "-" for name in ("salt", "ikm", "info"))
    size = len(vector["okm"]) // 2
    assert program.ask(f"hkdf {size} {' '.join(fields)}") == vector["okm"]


def test_a_long_salt_is_hashed_first(program: Probe) -> None:
    """RFC 2104: a key of HMAC longer than a block counts as its digest."""
    for size in (127, 128, 129, 300):
        salt = os.urandom(size)
        short = hashlib.sha512(salt).digest() if size > 128 else salt
        answers = {program.ask(f"hkdf 32 {s.hex()} {KEY} -") for s in (salt, short)}
        assert len(answers) == 1


def child_seed(program: Probe, label: str, generation: int) -> str:
    """docs/drbg.md, "Child", by the program's own HKDF and generator."""
    info = b"hwentropy/1 child " + label.encode() + generation.to_bytes(8, "big")
    return program.ask(f"hkdf 32 {'00' * 32} {program.ask('read 32')} {info.hex()}")


@pytest.mark.parametrize("case", DRBG, ids=lambda case: case["name"])
def test_the_generator_gives_the_known_answers(case: dict[str, Any], program: Probe) -> None:
    """conformance/drbg.json, step by step."""
    assert program.ask(f"start {case['purpose']}") == "ok"
    for step in case["steps"]:
        if "reseed" in step:
            ikm = b"".join(
                len(part).to_bytes(4, "big") + part
                for label, data in step["reseed"]
                for part in (label.encode(), bytes.fromhex(data))
            )
            assert program.ask(f"reseed {given(ikm)}") == "ok"
            continue
        if "child" in step:
            output = child_seed(program, step["child"], int(step["generation"]))
        elif step["read"] == 0:
            continue  # nothing asked is nothing done: `fill` returns before it gets here
        else:
            output = program.ask(f"read {step['read']}")
        if "output" in step:
            assert output == step["output"]
        else:
            data = bytes.fromhex(output)
            assert output.startswith(step["starts"])
            assert hashlib.sha256(data).hexdigest() == step["sha256"]
