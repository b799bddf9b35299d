"""The DRBG a second time, from docs/drbg.md alone: bytes joined and cut, nothing erased.

Stands on `hashlib`/`hmac` and on the ChaCha20 of `chacha_reference`; shares no
code with what it is compared to.
"""

from collections.abc import Iterable

from .chacha_reference import keystream
from .hkdf_reference import hkdf


class ReferenceDrbg:
    """Gives what docs/drbg.md says, step by step.

    `block` and `small` are the sizes there (a refill, the largest small request);
    a client's generator may have others.
    """

    def __init__(self, purpose: bytes, *, block: int = 4096, small: int = 1024) -> None:
        self.purpose = purpose
        self.block = block
        self.small = small
        self.key = bytes(32)
        self.rest = b""
        self.reseeds = 0

    def reseed(self, materials: Iterable[tuple[bytes, bytes]]) -> None:
        """docs/drbg.md, "Seed"."""
        ikm = b""
        for label, data in materials:
            ikm += len(label).to_bytes(4, "big") + label
            ikm += len(data).to_bytes(4, "big") + data
        info = b"hwentropy/1 seed " + self.purpose + self.reseeds.to_bytes(8, "big")
        self.key = hkdf("sha512", self.key, ikm, info, 32)
        self.rest = b""
        self.reseeds += 1

    def read(self, size: int) -> bytes:
        """docs/drbg.md, "Small requests" and "Large requests"."""
        if size > self.small:
            return keystream(self._take(32), size)
        return self._take(size)

    def child_seed(self, label: bytes, generation: int) -> bytes:
        """docs/drbg.md, "Child"."""
        info = b"hwentropy/1 child " + label + generation.to_bytes(8, "big")
        return hkdf("sha512", bytes(32), self._take(32), info, 32)

    def _take(self, size: int) -> bytes:
        if size > len(self.rest):
            block = keystream(self.key, self.block)
            self.key, self.rest = block[:32], block[32:]
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken
