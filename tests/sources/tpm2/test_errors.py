"""The words for return codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_sources.contract import SourceError
from hwentropy_sources.tpm2.errors import TPM_RC, Fault, TpmError, explain, tpm_rc_name
from support import needed


def test_names_are_those_of_libtss2() -> None:
    """Each name in our table is libtss2's name for the same number."""
    tss = needed.module("tpm2_pytss", "tpm2-pytss is not installed")
    for code, name in TPM_RC.items():
        assert getattr(tss.TPM2_RC, name.removeprefix("TPM_RC_")) == code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x922, "TPM_RC_RETRY"),
        (0x101, "TPM_RC_FAILURE"),
        # RC_FMT1 | RC_P | RC_1: the first parameter (Part 2, 6.6.2).
        (0x1D5, "TPM_RC_SIZE for parameter 1"),
        (0x98E, "TPM_RC_AUTH_FAIL for session 1"),
        (0x28B, "TPM_RC_HANDLE for handle 2"),
        (0x17B, "the unknown code 0x17b"),
        (0xABF, "the unknown code 0xabf for session 2"),
    ],
)
def test_tpm_codes_are_named_with_what_they_are_about(code: int, words: str) -> None:
    """A format 1 code is split into name and parameter, session or handle."""
    assert tpm_rc_name(code) == words


@pytest.mark.parametrize(
    ("code", "fault", "words"),
    [
        (0x922, Fault.BUSY, "the TPM answered TPM_RC_RETRY"),
        (0x908, Fault.BUSY, "TPM_RC_YIELDED"),
        (0x90A, Fault.BUSY, "TPM_RC_TESTING"),
        (0x101, Fault.ANSWERED, "TPM_RC_FAILURE"),
        (0xC0101, Fault.ANSWERED, "the TPM answered TPM_RC_FAILURE"),  # through tpm2-abrmd
        (0x7001B, Fault.TAMPERED, "tampered with or garbled on the bus"),
        (0x8001B, Fault.TAMPERED, "tampered with or garbled on the bus"),
        (0x98E, Fault.TAMPERED, "TPM_RC_AUTH_FAIL for session 1: the command was tampered"),
        (0x9A2, Fault.TAMPERED, "TPM_RC_BAD_AUTH for session 1: the command was tampered"),
        (0x80011, Fault.GARBLED, "malformed"),
        (0x80012, Fault.GARBLED, "malformed"),
        (0x90006, Fault.GARBLED, "malformed"),
        (0xA000A, Fault.TRANSPORT, "transport I/O error 0xa000a"),
        (0xA0001, Fault.TRANSPORT, "transport error 0xa0001"),
        (0xA0015, Fault.UNSUPPORTED, "libtss2 cannot load this transport"),
        (0x70007, Fault.LIBRARY, "libtss2 gave error 0x70007 (ESAPI)"),
        (0xB0143, Fault.LIBRARY, "libtss2 gave error 0xb0143 (resource manager)"),
    ],
)
def test_each_layer_has_its_words(code: int, fault: Fault, words: str) -> None:
    """The layer in bits 16 to 23 decides how the low bits are read."""
    meaning = explain(code)
    assert meaning.fault is fault
    assert words in meaning.reason


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (0x100, "tpm2_startup -c"),
        (0x101, "restart the machine"),
        (0x12D, "firmware upgrade"),
        (0x130, "restart the machine"),
        (0x143, "TPM 2.0?"),
        (0x902, "tpm2_flushcontext -t"),
        (0x903, "tpm2_flushcontext -l"),
        (0x918, "opened again by itself"),
        (0xA000A, "there and running"),
    ],
)
def test_what_the_operator_can_do_is_said(code: int, remedy: str) -> None:
    """Codes that somebody can do something about carry the remedy."""
    assert remedy in TpmError("reading", code).remedy


@given(st.integers(0, 0xFFFFFFFF))
def test_every_code_has_one_sentence(code: int) -> None:
    """No 32-bit number is without words, and they fit in one line."""
    error = TpmError("GetRandom failed", code)
    assert isinstance(error, SourceError)
    assert error.reason.startswith("GetRandom failed: ")
    assert "\n" not in str(error)
    assert error.code == code
