"""The deterministic random bit generator: HKDF-SHA-512 in, ChaCha20 out.

    seed      K' = HKDF-SHA-512(salt = K, IKM = materials, info = purpose || counter)
    refill    K' || block = ChaCha20(K, nonce 0), first 4,096 bytes
    small     the next bytes of the block, overwritten as they are handed out
    large     ChaCha20(one-time key = 32 bytes of the block, nonce 0)
    child     HKDF-SHA-512(salt = 0, IKM = 32 bytes of the block, info = label || generation)

The old key is the salt of every reseed, so a bad reseed never makes the state
worse.  An `info` begins with a prefix of its kind and ends in a number of fixed
length, so no two uses share one.  A ChaCha20 key is used for one keystream only
and replaced before a byte of it is handed out (fast key erasure), so what was
handed out cannot be computed from the state that remains: backtracking
resistance, SP 800-90A 8.8.  `docs/drbg.md` gives the encodings to the byte,
with known answers.

What this does not do: it is not one of the mechanisms of SP 800-90A, it does
not know how much entropy its materials hold (the pool does), it is not
thread-safe and does not notice a fork (its owner locks, and forks nothing).
Whoever reads the memory of a large transfer under way learns all of that transfer.
"""

import struct
from collections.abc import Iterable
from typing import Final, NoReturn, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .hkdf import hkdf_into
from .limits import BLOCK_BYTES, KEY_BYTES, SMALL_BYTES
from .memory import ZEROS, Buffer, wipe

#: One labelled piece of seed material.
Material: TypeAlias = tuple[bytes, Buffer]

#: Block counter and nonce (RFC 8439 2.3), both from 0: each key is used once.
_NONCE: Final = bytes(16)
_LENGTH: Final = struct.Struct(">I")
_SEED_PREFIX: Final = b"hwentropy/1 seed "
_CHILD_PREFIX: Final = b"hwentropy/1 child "


def encode_materials(materials: Iterable[Material]) -> bytearray:
    """Concatenate labelled materials so that no two different lists give the same bytes.

    Each is `u32 len(label) || label || u32 len(data) || data`, big-endian.
    """
    parts: list[Buffer] = []
    for label, data in materials:
        parts += (_LENGTH.pack(len(label)), label, _LENGTH.pack(memoryview(data).nbytes), data)
    # Allocated once: a buffer that grows leaves copies behind that nobody wipes.
    return bytearray().join(parts)


class Keystream:
    """The keystream of one key that is used for nothing else.

    The key is overwritten in the caller's buffer at once; the cipher's context
    holds it until this object goes.  Raises ValueError past 2^32 blocks (256 GiB),
    where the block counter of RFC 8439 would start again.
    """

    __slots__ = ("_update_into",)

    def __init__(self, key: bytearray) -> None:
        context = Cipher(algorithms.ChaCha20(key, _NONCE), None).encryptor()
        wipe(key)
        self._update_into = context.update_into

    def fill(self, out: memoryview) -> None:
        """Write the next `len(out)` bytes of keystream over a writable byte view."""
        step = len(ZEROS)
        for start in range(0, len(out), step):
            part = out[start : start + step]
            self._update_into(ZEROS[: len(part)], part)


class Drbg:
    """One generator: unseeded until the first `reseed`, erased by `erase`.

    `purpose` separates the root, each worker and each client's child from one
    another; it is part of every seed.  `key` and `block` may be memory of the
    owner's (zeros, 32 bytes, and a power of two above them), for one that has to
    live somewhere in particular.
    """

    __slots__ = ("_block", "_key", "_next", "_purpose", "_reseeds", "_small")

    def __init__(
        self,
        purpose: bytes,
        *,
        key: bytearray | memoryview | None = None,
        block: memoryview | None = None,
    ) -> None:
        self._purpose = purpose
        # A view: what is copied into one goes by no buffer in between.
        self._key = memoryview(bytearray(KEY_BYTES) if key is None else key)
        self._block = memoryview(bytearray(BLOCK_BYTES)) if block is None else block
        self._small = len(self._block) // (BLOCK_BYTES // SMALL_BYTES)
        self._next = len(self._block)
        self._reseeds = 0

    def __repr__(self) -> str:
        return f"<Drbg {self._purpose!r}, reseeded {self._reseeds} times>"

    def __reduce__(self) -> NoReturn:
        """Not to be copied or pickled: two of one state give the same bytes."""
        msg = "a generator cannot be copied or pickled"
        raise TypeError(msg)

    @property
    def reseeds(self) -> int:
        """How often it was seeded; 0 means that it refuses to give a byte."""
        return self._reseeds

    def reseed(self, materials: Iterable[Material]) -> None:
        """Mix seed material in; what the block still held is erased."""
        ikm = encode_materials(materials)
        info = _SEED_PREFIX + self._purpose + struct.pack(">Q", self._reseeds)
        try:
            hkdf_into(self._key, self._key, ikm, info)
        finally:
            wipe(ikm)
        self._drop_block()
        self._reseeds += 1

    def read_into(self, out: memoryview) -> None:
        """Overwrite a writable byte view of any length with fresh output.

        Raises RuntimeError before the first reseed, if it asks for a byte.
        """
        if len(out) > self._small:
            self.keystream().fill(out)
            return
        size = len(out)
        start = self._take(size)
        end = start + size
        out[:] = self._block[start:end]
        self._block[start:end] = ZEROS[:size]

    def read(self, size: int) -> bytearray:
        """`size` bytes of fresh output."""
        out = bytearray(size)
        self.read_into(memoryview(out))
        return out

    def keystream(self) -> Keystream:
        """A keystream under a one-time key, for a large request or a bulk transfer.

        It goes on without this generator, which has forgotten the key.
        """
        return Keystream(self.read(KEY_BYTES))

    def child_seed(self, label: bytes, generation: int) -> bytearray:
        """Seed material for the child `label` in this generation, given out once."""
        parent = self.read(KEY_BYTES)
        seed = bytearray(KEY_BYTES)
        info = _CHILD_PREFIX + label + struct.pack(">Q", generation)
        hkdf_into(seed, bytes(KEY_BYTES), parent, info)
        wipe(parent)
        return seed

    def erase(self) -> None:
        """Forget everything; a reseed is needed before the next byte."""
        self._reseeds = 0
        self._drop_block()
        wipe(self._key)

    # Below, the order of the statements is what keeps an exception that comes
    # from outside (a signal handler's, a MemoryError) from leaving a state that
    # gives out zeros, a known key's keystream, or the same bytes twice.

    def _drop_block(self) -> None:
        self._next = len(self._block)
        wipe(self._block)

    def _take(self, size: int) -> int:
        """Reserve `size` bytes of the block and return where they start."""
        if self._next + size > len(self._block):
            self.refill()
        start = self._next
        self._next = start + size
        return start

    def refill(self) -> None:
        """Change the key and fill the block: what the block still held is gone.

        Needs no calling, unless the block is the owner's, who hands its bytes out
        from 32 on.  Raises RuntimeError before the first reseed.
        """
        if not self._reseeds:
            msg = "the generator is not seeded"
            raise RuntimeError(msg)
        self._next = len(self._block)
        Keystream(bytearray(self._key)).fill(self._block)
        self._key[:] = self._block[:KEY_BYTES]
        self._block[:KEY_BYTES] = ZEROS[:KEY_BYTES]
        self._next = KEY_BYTES
