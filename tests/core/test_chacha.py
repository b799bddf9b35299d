"""ChaCha20: published vectors against the reference and against the library as we use it."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from hwentropy_core.drbg import Keystream
from hwentropy_core.memory import ZEROS
from support import chacha_reference

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors/rfc8439_chacha20.json").read_text()
)["vectors"]


def filled(stream: Keystream, size: int) -> bytes:
    out = bytearray(size)
    stream.fill(memoryview(out))
    return bytes(out)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_reference_gives_the_published_ciphertext(vector: dict[str, Any]) -> None:
    """The second ChaCha20 is ChaCha20, so that comparing with it proves something."""
    plaintext = bytes.fromhex(vector["plaintext"])
    stream = chacha_reference.keystream(
        bytes.fromhex(vector["key"]),
        len(plaintext),
        vector["counter"],
        bytes.fromhex(vector["nonce"]),
    )
    ciphertext = bytes(a ^ b for a, b in zip(plaintext, stream, strict=True))
    assert ciphertext.hex() == vector["ciphertext"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_library_gives_the_published_ciphertext(vector: dict[str, Any]) -> None:
    """The library's 16-byte nonce is RFC 8439's counter (little-endian) and nonce."""
    nonce = vector["counter"].to_bytes(4, "little") + bytes.fromhex(vector["nonce"])
    cipher = Cipher(algorithms.ChaCha20(bytes.fromhex(vector["key"]), nonce), None)
    ciphertext = cipher.encryptor().update(bytes.fromhex(vector["plaintext"]))
    assert ciphertext.hex() == vector["ciphertext"]


def test_keystream_starts_at_block_zero_with_nonce_zero() -> None:
    """A Keystream of the zero key is RFC 8439 A.1 #1 followed by #2."""
    published = {vector["id"]: vector["ciphertext"] for vector in VECTORS}
    assert filled(Keystream(bytearray(32)), 128).hex() == (
        published["A.1 #1"] + published["A.1 #2"]
    )


# 65,536 is the step in which keystream is made: one below, on and over its edge.
@pytest.mark.parametrize(
    "size", [0, 1, 63, 64, 65, len(ZEROS) - 1, len(ZEROS), len(ZEROS) + 65]
)
def test_keystream_of_any_length_is_the_reference(size: int) -> None:
    """No length, and no edge of the inner step, changes the stream."""
    key = bytes(range(32))
    expected = chacha_reference.keystream(key, size)
    assert filled(Keystream(bytearray(key)), size) == expected


def test_keystream_goes_on_where_it_stopped() -> None:
    """Fills of odd lengths, one after the other, are one stream without gap or repeat."""
    stream = Keystream(bytearray(range(32)))
    pieces = b"".join(filled(stream, size) for size in (1, 63, 64, 7, 0, 200))
    assert pieces == chacha_reference.keystream(bytes(range(32)), 335)


def test_keystream_overwrites_what_was_in_the_buffer() -> None:
    """The output does not depend on the bytes that were there."""
    dirty = bytearray(b"\xa5" * 100)
    Keystream(bytearray(32)).fill(memoryview(dirty))
    assert dirty == filled(Keystream(bytearray(32)), 100)


def test_keystream_wipes_its_key_at_once() -> None:
    """The caller's key buffer is zeros before the first byte is drawn."""
    key = bytearray(range(32))
    Keystream(key)
    assert key == bytes(32)


def test_keystream_repr_shows_nothing() -> None:
    """Neither key nor stream is in the repr."""
    text = repr(Keystream(bytearray(b"K" * 32)))
    assert "K" * 4 not in text.removeprefix("<hwentropy_core.drbg.Keystream")
    assert not hasattr(Keystream(bytearray(32)), "__dict__")


def test_library_stops_before_the_block_counter_wraps() -> None:
    """Past 2^32 blocks the library raises; it never starts the keystream again."""
    nonce = (2**32 - 1).to_bytes(4, "little") + bytes(12)
    last_block = Cipher(algorithms.ChaCha20(bytes(32), nonce), None).encryptor()
    assert len(last_block.update(bytes(64))) == 64
    with pytest.raises(ValueError, match="counter"):
        last_block.update(b"\0")
