"""The repeat test: a whitened source gives a block of 128 bits twice.

What was conditioned looks uniform whatever its entropy is, so this test does not ask
for H.  It finds a read or reply that is given again, and every period up to 65,536 bytes.

Which blocks.  A read is cut into blocks of 128 bits from its start (the rest at its end
is left out); each is looked up and kept.  So what comes again at the place of a read
where it stood, or a multiple of 16 bytes from it, is found at once.  One block more
is looked up, not kept, at a place that moves on by one sample with every read.  For a
period p that no two kept blocks hit, it does: kept blocks stand at all 16 i of every
read, so a block at q repeats one of them when q - p is such a place; these q are at most
31 apart on the circle of places (16, and 15 more where the read's end wraps), so one
of the next 32 reads has it.

What is kept.  A table of hashes (BLAKE2b, keyed, 88 bits): 256 rows by the first byte,
in each the last 40 tags of 80 bits, newest first.  No sample is kept.  A row gets 16 of
4,096 blocks on average; that one gets 40, so that an older one drops out too early, has
a chance below 10^-6 (`tools/cutoffs.py`).

False alarms: a lookup compares at most 391 places of a row (40 tags, at any byte) with
80 bits: 391 x 2^-80 < 2^-71, and 10,240 blocks with 128: less than 2^-114.  With two
lookups in 16 samples at most that is 2^-74 a sample.  Hence permanent at once.

What it does not protect against: a source that repeats one block with a change; a
repetition of which less than 31 bytes are in one read, or that comes once only and at
another place of the read (one in n places is looked at); periods beyond the table.  Who
reads this process's memory finds the key beside the hashes, and can test guesses of a
whole block: 2^128 for a whitened one.
"""

from hashlib import blake2b
from typing import Final

from hwentropy_sources.contract import Claim

from .alarms import Alarm, Finding, Level

#: Bits that must be equal, and how many of a source's blocks the table holds:
#: together 2^16 samples of a byte.
BLOCK_BITS: Final = 128
BLOCKS: Final = 4096

#: The table: rows by one byte of the hash, tags of 80 bits, and how many a row holds.
#: 256 x (400 bytes and 48 of CPython's) is 115 kB when full.
ROWS: Final = 256
TAG_BYTES: Final = 10
ROW_TAGS: Final = 40

#: BLAKE2b's own key may have up to 64 bytes; 32 make it 256 bits.
KEY_BYTES: Final = 32


class RepeatTest:
    """The last blocks of one source as keyed hashes; see the module's docstring."""

    __slots__ = ("_block", "_hash", "_rows", "_turn", "sample_bytes")

    def __init__(self, claim: Claim, key: bytes) -> None:
        self.sample_bytes = claim.sample_bytes
        self._block = -(-BLOCK_BITS // claim.bits_per_sample) * claim.sample_bytes
        # Copied for each block: half the time of a new one with the key.
        self._hash = blake2b(key=key, digest_size=1 + TAG_BYTES)
        self._rows = [b""] * ROWS
        self._turn = 0

    def scan(self, read: bytes | bytearray, start: int) -> Finding | None:
        """Test one read, whose first byte is the stream's byte `start`."""
        block = self._block
        places = (len(read) - block) // self.sample_bytes + 1
        if places < 1:
            return None
        with memoryview(read) as view:
            for at in range(0, len(read) - block + 1, block):
                if self._known(view[at : at + block], keep=True):
                    return self._finding(start + at + block)
            self._turn = (self._turn + 1) % places
            at = self._turn * self.sample_bytes
            if at % block and self._known(view[at : at + block], keep=False):
                return self._finding(start + at + block)
        return None

    def _known(self, block: memoryview, *, keep: bool) -> bool:
        hashed = self._hash.copy()
        hashed.update(block)
        digest = hashed.digest()
        tag = digest[1:]
        row = self._rows[digest[0]]
        if tag in row:
            # One sample over and over is the business of the sample tests.
            step = self.sample_bytes
            return bytes(block) != bytes(block[:step]) * (len(block) // step)
        if keep:
            self._rows[digest[0]] = (tag + row)[: ROW_TAGS * TAG_BYTES]
        return False

    def _finding(self, end: int) -> Finding:
        return Finding(
            Alarm.REPEAT, Level.PERMANENT, 2, 2, end // self.sample_bytes, BLOCK_BITS
        )
