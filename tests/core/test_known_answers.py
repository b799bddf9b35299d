"""Known-answer tests: right here, by the reference too, and each finds its fault."""

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_core import known_answers
from hwentropy_core.drbg import Drbg, Keystream
from hwentropy_core.hkdf import hkdf_into
from hwentropy_core.known_answers import GENERATOR, KnownAnswerError, check
from hwentropy_core.memory import Buffer
from support.chacha_reference import keystream
from support.drbg_reference import ReferenceDrbg
from support.hkdf_reference import hkdf

MATERIAL = bytes(range(40))


def test_they_pass_here() -> None:
    """On this machine, by this build."""
    check()


def test_the_answers_are_the_references() -> None:
    """Computed anew by code that shares nothing with ours."""
    module = Path(known_answers.__file__).read_text().replace('"\n        "', "")
    drbg = ReferenceDrbg(b"root")
    drbg.reseed([(b"os", MATERIAL)])
    drbg.reseed([(b"os", MATERIAL), (b"", b"")])
    answers = [
        hkdf("sha512", bytes(range(32)), MATERIAL, b"hwentropy/1 known answer", 32),
        keystream(bytes(32), 128),
        drbg.read(16),
        drbg.read(1025)[-16:],
        drbg.child_seed(b"worker 1", 1),
    ]
    for answer in answers:
        assert f'"{answer.hex()}"' in module


def wrong_hkdf(out: bytearray, salt: Buffer, ikm: Buffer, info: bytes) -> None:
    hkdf_into(out, salt, ikm, info)
    out[0] ^= 1


def wrong_keystream(self: Keystream, out: memoryview) -> None:
    out[:] = bytes(len(out))


@pytest.mark.parametrize(
    ("target", "name", "wrong", "test"),
    [
        (known_answers, "hkdf_into", wrong_hkdf, "HKDF-SHA-512"),
        (Keystream, "fill", wrong_keystream, "ChaCha20"),
        (Drbg, "child_seed", lambda *_: bytearray(32), "the DRBG"),
        (Drbg, "reseed", lambda *_: None, "the DRBG"),
    ],
    ids=["HKDF", "ChaCha20", "child", "unseeded"],
)
def test_a_fault_is_found_and_named(
    target: object, name: str, wrong: object, test: str, mocker: MockerFixture
) -> None:
    """A bit in HKDF, a cipher that gives zeros, a child or a seed that is none."""
    mocker.patch.object(target, name, wrong)
    with pytest.raises(KnownAnswerError, match=test) as caught:
        check()
    assert caught.value.test == test


def test_the_first_that_fails_is_told() -> None:
    """In the order in which they build on each other."""
    assert list(GENERATOR) == ["HKDF-SHA-512", "ChaCha20", "the DRBG"]
    with pytest.raises(KnownAnswerError, match="second"):
        check({"first": lambda: True, "second": lambda: False, "third": lambda: False})


def test_the_error_says_which_test_failed_and_what_to_do() -> None:
    """In one sentence, for the log of a process that gives nothing."""
    said = str(known_answers.KnownAnswerError("HKDF"))
    assert "known-answer test of HKDF failed" in said
    assert "install anew" in said
