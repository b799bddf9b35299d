"""Mutations of bytes for the fuzzing that has no guide: cheap, and the same for a seed."""

from random import Random
from typing import Final

#: Where parsers go wrong: ends of ranges, signs, lengths.
NUMBERS: Final = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 1 << 20, (1 << 20) + 1,
    0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip

#: Longest input: a configuration is 5 kB, every message less.
MOST_BYTES: Final = 16384


def mutate(data: bytes, corpus: list[bytes], words: list[bytes], rng: Random) -> bytes:
    """A few changes to `data`; pieces come from `corpus` and `words`."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 2, 4, 8, 64)))
        match rng.randrange(8):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at:end] = rng.randbytes(end - at)
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = out[at:end] * rng.choice((1, 1, 2, 100))
            case 4:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(NUMBERS) % (1 << 8 * width)
                out[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))
            case 5:
                other = rng.choice(corpus)
                start = rng.randrange(len(other) + 1)
                out[at:end] = other[start : start + rng.choice((8, 64, 4096))]
            case 6 if words:
                out[at : rng.choice((at, end))] = rng.choice(words)
            case _:
                out[at:] = b""
    return bytes(out[:MOST_BYTES])
