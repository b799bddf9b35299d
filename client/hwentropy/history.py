"""The seed log as its reader sees it: records, and whether they are as they were written.

What this does not protect against: see `hwentropy_core.seed_log`.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hwentropy_core.attestation import Clock, read_quote
from hwentropy_core.errors import HwentropyError, ProtocolError
from hwentropy_core.seed_log import (
    HEAD_NAME,
    MAX_LINE,
    KeptHead,
    Record,
    SeedLogError,
    Verdict,
    decode,
    decode_head,
    segments,
    verify,
)

#: How far a TPM's clock may be from the machine's between two signatures: by a third of
#: the time (its rate may be off by 32.5 %, TPM 2.0 Library, Part 1, 36.5), and by ten
#: minutes that somebody set the machine's clock.
CLOCK_RATE: Final = 1 / 3
CLOCK_STEP: Final = 600.0

Advance = Callable[[int], None]


class NoSeedLogError(HwentropyError):
    """There is no seed log in this directory, or it cannot be read."""


class SeedLogReader:
    """A log in a directory."""

    def __init__(self, directory: Path, advance: Advance = lambda _: None) -> None:
        """`advance` is told of every so many bytes read.  Raises NoSeedLogError."""
        self._directory = directory
        self._advance = advance
        self._segments: list[tuple[int, Path]] = []
        try:
            with contextlib.suppress(FileNotFoundError):
                self._segments = segments(directory)
        except OSError as error:
            raise _unreadable(directory, error) from None
        if not self._segments:
            raise NoSeedLogError(
                f"there is no seed log in {directory}; --directory names the daemon's, which "
                "`hwentropy status` shows"
            )

    def records(self) -> Iterator[Record]:
        """What can be read, oldest first; a line that is none is passed over."""
        for _, path in self._segments:
            for line in self._lines(path):
                try:
                    yield decode(line.removesuffix(b"\n"))
                except SeedLogError:
                    continue

    def verify(self, key: ec.EllipticCurvePublicKey | None = None) -> Verdict:
        """Follow the whole log; with a key check its signatures, too."""
        check = None if key is None else SignatureCheck(key)
        log = ((number, self._lines(path)) for number, path in self._segments)
        return verify(log, self._head(), check)

    def _lines(self, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as stream:
                while line := stream.readline(MAX_LINE + 1):
                    self._advance(len(line))
                    yield line
        except OSError as error:
            raise _unreadable(path, error) from None

    def _head(self) -> KeptHead | None:
        try:
            # Not waiting for what may be a FIFO.
            fd = os.open(self._directory / HEAD_NAME, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as stream:
                return decode_head(stream.read(MAX_LINE))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._directory / HEAD_NAME, error) from None


class SignatureCheck:
    """Judges signature records in their order."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self._clock: Clock | None = None
        self._time = ""

    def __call__(self, record: Record, statement: bytes) -> bool:
        """Whether it is the key's, of this statement, and its clock goes with the record's."""
        try:
            attested = bytes.fromhex(record["attested"])
            signature = bytes.fromhex(record["signature"])
            self._key.verify(_der(signature), attested, ec.ECDSA(hashes.SHA256()))
            clock = read_quote(attested, statement)
            return self._follows(clock, record["time"])
        except (InvalidSignature, ProtocolError, KeyError, TypeError, ValueError):
            return False

    def _follows(self, clock: Clock, time: str) -> bool:
        before, self._clock = self._clock, clock
        since, self._time = self._time, time
        if before is None:
            return True
        if not clock.goes_on_from(before):
            return False
        passed = clock.since(before)
        if passed is None:
            return True
        said = seconds_between(since, time)
        return abs(said - passed) <= CLOCK_STEP + CLOCK_RATE * max(said, passed)


def load_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public key in a PEM file.  Raises ValueError."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise ValueError("it is no key on the curve P-256")  # noqa: TRY004 - a value
    return key


def export_key(records: Iterable[Record]) -> bytes | None:
    """The last signature's public key as PEM; None where nothing is signed."""
    point = None
    for record in records:
        if record["kind"] == "signature":
            point = record.get("key")
    if not isinstance(point, str):
        return None
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(point))
    except ValueError:
        return None
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one ISO 8601 time to another.  Raises ValueError."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _der(signature: bytes) -> bytes:
    """r and s as the library takes them.  Raises ValueError."""
    if len(signature) != 64:
        raise ValueError("not r and s of P-256")
    numbers = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    return utils.encode_dss_signature(*numbers)


def _unreadable(path: Path, error: OSError) -> NoSeedLogError:
    return NoSeedLogError(
        f"{path} cannot be read ({error.strerror}); the daemon's user and its group can"
    )
