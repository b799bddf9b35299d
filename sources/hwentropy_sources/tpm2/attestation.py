"""CreatePrimary and Quote as bytes: how a TPM signs a statement.

    key      an ECC P-256 key in the owner's hierarchy that only signs what the TPM itself
             made (restricted), from a template of ours: the same after every start
             until the TPM is cleared, and never stored
    quote    over no PCRs, with the statement's hash as qualifying data

Pure.  Written out because a command that a TPM refuses (the hierarchy may have a
password) would leave libtss2's context of no use, and the samples come through it.

What this does not protect against: a TPM that lies; others on this machine who use the
TPM may have the same key quote what they want, and the quote's clock says when; who has
the owner's password, empty unless it was set, may set that clock forward (TPM2_ClockSet).
"""

import struct
from typing import Final

from hwentropy_core.attestation import Attestation, qualifying_data
from hwentropy_sources.contract import SourceError

from .errors import TpmError

# TPM 2.0 Library, Part 2: 6.9 (tags), 6.5.2 (commands), 7.4 (handles), 6.3 (algorithms),
# 6.4 (curves), 8.3 (attributes).
_SESSIONS: Final = 0x8002
_CREATE_PRIMARY: Final = 0x131
_QUOTE: Final = 0x158
#: TPM2_Clear sets the clock to 0 and changes this hierarchy's seed, so the key too; the
#: endorsement hierarchy's would sign on, with a clock that was set back.
_OWNER: Final = 0x40000001
_PASSWORD: Final = 0x40000009
_ECC, _SHA256, _NULL, _ECDSA, _P256 = 0x0023, 0x000B, 0x0010, 0x0018, 0x0003
#: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
_ATTRIBUTES: Final = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18

#: Makes the key another than that of other programs with the same template.
_LABEL: Final = qualifying_data(b"hwentropy/1 seed log key")

#: Bytes of a coordinate and of r and s, P-256's.
_NUMBER_BYTES: Final = 32

_HEADER: Final = struct.Struct(">HII")
#: An authorisation by an empty password: handle, nonce, attributes, password.
_EMPTY_PASSWORD: Final = struct.pack(">IIHBH", 9, _PASSWORD, 0, 0, 0)

_KEY: Final = "cannot make the key that signs"
_SIGNING: Final = "cannot sign"


def create_key_command() -> bytes:
    """TPM2_CreatePrimary (Part 3, 24.1) for the signing key."""
    public = struct.pack(
        ">HHIHHHHHH", _ECC, _SHA256, _ATTRIBUTES, 0, _NULL, _ECDSA, _SHA256, _P256, _NULL
    )
    public += _sized(_LABEL) + _sized(b"")
    # No password and no data of ours, the template, no outside information, no PCRs.
    parameters = _sized(bytes(4)) + _sized(public) + _sized(b"") + bytes(4)
    return _command(_CREATE_PRIMARY, _OWNER, parameters)


def created_key(response: bytes) -> tuple[int, bytes]:
    """The key's handle and its public point.  Raises TpmError, SourceError."""
    reader = _Reader(_KEY, response)
    handle = reader.number(4)
    reader.number(4)
    public = _Reader(_KEY, reader.sized(), headless=True)
    public.skip(8)  # type, name algorithm, attributes
    public.sized()
    public.skip(10)  # symmetric, scheme and its hash, curve, KDF
    return handle, b"\x04" + _fixed(public.sized()) + _fixed(public.sized())


def quote_command(key: int, statement: bytes) -> bytes:
    """TPM2_Quote (Part 3, 18.4) by the key with this handle."""
    data = _sized(qualifying_data(statement))
    return _command(_QUOTE, key, data + struct.pack(">HI", _NULL, 0))


def quoted(key: bytes, response: bytes) -> Attestation:
    """What the key with this point signed.  Raises TpmError, SourceError."""
    reader = _Reader(_SIGNING, response)
    reader.number(4)
    attested = reader.sized()
    if (reader.number(2), reader.number(2)) != (_ECDSA, _SHA256):
        raise SourceError(f"{_SIGNING}: the TPM did not sign as it was asked to")
    return Attestation(key, attested, _fixed(reader.sized()) + _fixed(reader.sized()))


class _Reader:
    """Takes an answer apart; what is cut off or too long raises SourceError."""

    def __init__(self, doing: str, data: bytes, *, headless: bool = False) -> None:
        self._doing = doing
        self._data = data
        self._at = 0
        if not headless:
            self._read_header()

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def sized(self) -> bytes:
        return self._take(self.number(2))

    def skip(self, size: int) -> None:
        self._take(size)

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise SourceError(f"{self._doing}: the answer is cut off")
        self._at += size
        return self._data[self._at - size : self._at]

    def _read_header(self) -> None:
        tag, size, code = _HEADER.unpack(self._take(_HEADER.size))
        if size != len(self._data):
            raise SourceError(f"{self._doing}: the answer is not as long as it says")
        if code:
            raise TpmError(self._doing, code)
        if tag != _SESSIONS:
            raise SourceError(f"{self._doing}: the answer is malformed")


def _command(code: int, handle: int, parameters: bytes) -> bytes:
    body = handle.to_bytes(4, "big") + _EMPTY_PASSWORD + parameters
    return _HEADER.pack(_SESSIONS, _HEADER.size + len(body), code) + body


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _fixed(number: bytes) -> bytes:
    """A number as so many bytes; TPMs leave out or keep its leading zeros."""
    if len(number) > _NUMBER_BYTES:
        raise SourceError(f"{_SIGNING}: the TPM gave a number of {len(number)} bytes")
    return number.rjust(_NUMBER_BYTES, b"\0")
