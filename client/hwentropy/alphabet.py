"""Characters, each drawn uniformly from an alphabet.

A byte b stands for the character number b mod s, where s is the size of the
alphabet, but only when b is below the largest multiple of s up to 256; other
bytes are thrown away.  So every character has equally many bytes that stand for
it, and there is no modulo bias.  Both steps are one `bytes.translate`.

What this does not do: hide the characters from somebody who can watch the CPU's
caches while they are looked up.
"""

from .generator import random_bytes, take

__all__ = ["Alphabet"]


class Alphabet:
    """Up to 256 different characters of Latin-1, from which to draw."""

    __slots__ = ("_accepted", "_rejected", "_table", "characters")

    def __init__(self, characters: bytes) -> None:
        """Raises ValueError for no characters, or the same one twice."""
        size = len(characters)
        if not size or len(set(characters)) != size:
            raise ValueError("an alphabet needs at least one character, and none of them twice")
        self.characters = characters
        self._accepted = 256 - 256 % size
        self._rejected = bytes(range(self._accepted, 256))
        self._table = bytes(characters[byte % size] for byte in range(256))

    def draw(self, n: int) -> bytes:
        """`n` characters.  Raises what `hwentropy.generator.random_bytes` raises."""
        # 256 / accepted bytes are needed for a character on average.  The 12 are about
        # three standard deviations for a password of 16 characters out of 94, so that
        # one draw is enough nearly always.
        wanted = n * 256 // self._accepted + 12
        drawn = take(wanted)
        if drawn is None:
            drawn = random_bytes(wanted)
        found = drawn.translate(self._table, self._rejected)
        while len(found) < n:
            found += random_bytes(wanted).translate(self._table, self._rejected)
        return found[:n]
