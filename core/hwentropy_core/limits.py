"""The numbers both ends must agree on, each with where it comes from."""

from typing import Final

#: ChaCha20's key (RFC 8439 2.3) and the DRBG's security strength, in bytes.
KEY_BYTES: Final = 32

#: Bits of credited min-entropy a seed must hold: the security strength of 256
#: plus the 64 that SP 800-90C asks of a full-entropy seed (its n + 64).
MIN_SEED_BITS: Final = 8 * KEY_BYTES + 64

#: Keystream drawn at one key change.  The page size: large enough that the key
#: change (about 6 us) is spread over many small requests (127 of 32 bytes),
#: small enough that the one request that pays for it waits no longer than that.
BLOCK_BYTES: Final = 4096

#: Requests up to here are served from the block; larger ones take 32 bytes of it
#: as a one-time key.  A quarter of the block, so that at least three of the
#: largest small requests share a key change.
SMALL_BYTES: Final = BLOCK_BYTES // 4

#: Largest length of one READ: 1 MiB, the largest size ESDM's and rngd's users
#: are seen to ask for; a client asks for more in several requests.
MAX_READ: Final = 1 << 20

#: Largest Varlink message either end of the control socket accepts, in bytes
#: without its NUL.  A full status of 64 sources is below 64 KiB.
MAX_CONTROL_MESSAGE: Final = 256 * 1024
