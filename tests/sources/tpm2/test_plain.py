"""Commands and answers without sessions, byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_sources.contract import SourceError
from hwentropy_sources.tpm2.errors import TpmError
from hwentropy_sources.tpm2.plain import (
    flush_context_command,
    get_random_command,
    random_bytes,
)

#: As swtpm 0.7.1 answers `tpm2_getrandom 4`, with other bytes.
ANSWER = bytes.fromhex("8001 00000010 00000000 0004 a1b2c3d4")


def test_commands_are_the_ones_in_part_3() -> None:
    """Tag, size, command code and parameter, big-endian."""
    assert get_random_command(64) == bytes.fromhex("8001 0000000c 0000017b 0040")
    assert flush_context_command(0x02000001) == bytes.fromhex("8001 0000000e 00000165 02000001")


def test_an_answer_is_its_digest() -> None:
    """The bytes after the header and the digest's size."""
    assert random_bytes("reading", ANSWER) == bytes.fromhex("a1b2c3d4")
    assert not random_bytes("reading", bytes.fromhex("8001 0000000c 00000000 0000"))


def test_a_code_is_an_error() -> None:
    """A response code is raised with its name."""
    with pytest.raises(TpmError, match="reading: the TPM answered TPM_RC_FAILURE"):
        random_bytes("reading", bytes.fromhex("8001 0000000a 00000101"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("", "cut off after 0 bytes"),
        ("8001 00000010 000000", "cut off after 9 bytes"),
        ("8001 00000010 00000000 0004 a1b2c3", "not as long as it says"),
        ("8001 00000010 00000000 0003 a1b2c3", "not as long as it says"),
        ("8001 00000010 00000000 0004 a1b2c3d4 e5", "not as long as it says"),
        ("8001 00000010 00000000 0003 a1b2c3d4", "malformed"),
        ("8001 00000010 00000000 0005 a1b2c3d4", "malformed"),
        ("8002 00000010 00000000 0004 a1b2c3d4", "malformed"),
        ("8001 0000000b 00000000 00", "malformed"),
    ],
)
def test_lengths_have_to_agree(bad: str, words: str) -> None:
    """What came, what the header says and what the digest says are one."""
    with pytest.raises(SourceError, match=words):
        random_bytes("reading", bytes.fromhex(bad))


@given(st.binary(max_size=100))
def test_anything_is_a_digest_or_a_source_error(data: bytes) -> None:
    """Hostile bytes raise SourceError only; what is returned was in them."""
    try:
        found = random_bytes("reading", data)
    except SourceError:
        return
    assert data.endswith(found)
