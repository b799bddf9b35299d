"""A key and quotes as a TPM makes them, without one (TPM 2.0 Library, Part 2, 10.12)."""

import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hwentropy_core.attestation import Attestation, Clock, qualifying_data

KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def attested(statement: bytes, clock: Clock) -> bytes:
    """A TPMS_ATTEST of a quote over no PCRs."""
    signer, data = bytes(34), qualifying_data(statement)
    return (
        struct.pack(">IHH", 0xFF544347, 0x8018, len(signer))
        + signer
        + struct.pack(">H", len(data))
        + data
        + struct.pack(">QIIB", clock.milliseconds, clock.resets, clock.restarts, 1)
        + struct.pack(">QIH", 7, 0, 0)
    )


def signed(data: bytes) -> bytes:
    """r and s of this data by KEY."""
    numbers = utils.decode_dss_signature(KEY.sign(data, ec.ECDSA(hashes.SHA256())))
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def attestation(statement: bytes, clock: Clock) -> Attestation:
    """What a TPM with KEY answers at this time."""
    quote = attested(statement, clock)
    return Attestation(POINT, quote, signed(quote))
