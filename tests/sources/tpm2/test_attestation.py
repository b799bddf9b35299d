"""What a TPM signs, by a real software TPM; and answers that are none."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hwentropy_core.attestation import Attestation, read_quote
from hwentropy_sources.contract import SourceError
from hwentropy_sources.tpm2.attestation import created_key, quoted
from hwentropy_sources.tpm2.errors import TpmError
from hwentropy_sources.tpm2.source import Tpm2, Tpm2Config
from support import needed
from support.swtpm import SoftwareTpm, missing_swtpm

needs_swtpm = pytest.mark.needs(missing_swtpm())


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A software TPM."""
    with SoftwareTpm(tmp_path) as one:
        yield one


@pytest.fixture(params=["encrypted", "plain"])
def source(tpm: SoftwareTpm, request: pytest.FixtureRequest) -> Iterator[Tpm2]:
    """An open source on it."""
    one = Tpm2(Tpm2Config(tcti=tpm.tcti, session=request.param))
    one.open()
    yield one
    one.close()


def signed_by(source: Tpm2, statement: bytes) -> Attestation:
    attestation = source.attest(statement)
    assert attestation is not None
    return attestation


@needs_swtpm
@pytest.mark.process
def test_a_statement_is_signed_and_samples_go_on(source: Tpm2) -> None:
    """The signature is the key's, of this statement; it can be had again and again."""
    for number in range(5):
        statement = b"statement %d" % number
        attestation = signed_by(source, statement)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), attestation.key)
        halves = attestation.signature[:32], attestation.signature[32:]
        signature = utils.encode_dss_signature(*(int.from_bytes(one, "big") for one in halves))
        key.verify(signature, attestation.attested, ec.ECDSA(hashes.SHA256()))
        read_quote(attestation.attested, statement)
        assert len(source.read(40, 5.0)) == 40


@needs_swtpm
@pytest.mark.process
def test_the_key_is_the_same_after_a_restart(tpm: SoftwareTpm) -> None:
    """It is made of the TPM's own seed, and its clock goes on."""
    config = Tpm2Config(tcti=tpm.tcti)
    first = Tpm2(config)
    first.open()
    before = signed_by(first, b"before")
    first.close()
    tpm.restart()
    second = Tpm2(config)
    second.open()
    after = signed_by(second, b"after")
    second.close()
    assert after.key == before.key
    assert read_quote(after.attested, b"after").goes_on_from(
        read_quote(before.attested, b"before")
    )


@needs_swtpm
@pytest.mark.process
def test_a_cleared_tpm_has_another_key(tpm: SoftwareTpm) -> None:
    """Its clock begins at 0 again, so nothing that it signs then may pass for the log's."""
    source = Tpm2(Tpm2Config(tcti=tpm.tcti))
    source.open()
    before = signed_by(source, b"before")
    source.close()
    pytss = needed.module("tpm2_pytss", "tpm2-pytss is not installed")
    with pytss.ESAPI(tpm.tcti) as commands:
        commands.clear(pytss.ESYS_TR.LOCKOUT)
    source.open()
    after = signed_by(source, b"after")
    source.close()
    assert after.key != before.key


def test_a_source_that_is_not_open_does_not_sign() -> None:
    """It says so."""
    with pytest.raises(SourceError, match="not open"):
        Tpm2().attest(b"a statement")


def answer(body: bytes, code: int = 0, tag: int = 0x8002, longer: int = 0) -> bytes:
    return struct.pack(">HII", tag, 10 + len(body) + longer, code) + body


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (b"", "cut off"),
        (answer(b"", longer=1), "not as long as it says"),
        (answer(b"", tag=0x8001), "malformed"),
        (answer(bytes(8)), "cut off"),
        (answer(bytes(4) + bytes(4) + b"\xff\xff"), "cut off"),
    ],
)
def test_an_answer_that_is_none_is_an_error(response: bytes, why: str) -> None:
    """For both commands."""
    with pytest.raises(SourceError, match=why):
        created_key(response)
    with pytest.raises(SourceError):
        quoted(bytes(65), response)


def test_a_refusal_is_told_in_words() -> None:
    """A hierarchy with a password refuses the key."""
    with pytest.raises(TpmError, match="TPM_RC_AUTH_FAIL"):
        created_key(answer(b"", code=0x98E))


def test_a_signature_of_another_kind_is_refused() -> None:
    """RSA, and numbers that P-256 has not."""
    head = bytes(4) + struct.pack(">H", 2) + b"at"
    with pytest.raises(SourceError, match="not sign as it was asked"):
        quoted(bytes(65), answer(head + struct.pack(">HH", 0x14, 0xB)))
    long = struct.pack(">H", 33) + bytes(33)
    with pytest.raises(SourceError, match="33 bytes"):
        quoted(bytes(65), answer(head + struct.pack(">HH", 0x18, 0xB) + long + long))
