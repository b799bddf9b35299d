"""Passphrases: random words from a list.

The lists are those of BIP-39, taken from the package `mnemonic` (MIT licence):
2,048 words each, so that a word is worth exactly 11 bits.  The English words
have 3 to 8 letters and differ in their first four.  They are part of the
installed package; nothing is fetched.

What this does not do: make a wallet's seed phrase, which has a checksum in it.
The words of other languages hold letters outside ASCII; compare them in one
Unicode normal form, as `hwentropy.hashing` does.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from mnemonic import Mnemonic

from .secret_value import Generated
from .secrets import choice

__all__ = ["MIN_WORDS", "generate_passphrase", "word_list"]

#: 44 bits from a list of 2,048.
MIN_WORDS: Final = 4

#: 77 bits, which nobody who can guess less than 2^76 times finds on average.
_DEFAULT_WORDS: Final = 7


def generate_passphrase(
    words: int = _DEFAULT_WORDS,
    *,
    separator: str = "-",
    language: str = "english",
    word_list: Sequence[str] | None = None,
) -> Generated:
    """`words` random words joined by `separator`, and their bits.

    `word_list` is used in place of the language's list.  The separator needs a
    character that no word has, since two different choices could else read the
    same ("b" "aa" "ab" and "ba" "aa" "b").  Raises ValueError for that, for fewer
    than `MIN_WORDS` words, for a list with fewer than two words or with one of them
    twice, and for a language there is no list for; and what
    `hwentropy.generator.random_bytes` raises.
    """
    if words < MIN_WORDS:
        raise ValueError(
            f"a passphrase of {words} words is too short; ask for {MIN_WORDS} or more"
        )
    chosen = _of_language(language) if word_list is None else tuple(word_list)
    _check(chosen, separator)
    value = separator.join(choice(chosen) for _ in range(words))
    return Generated(value, words * math.log2(len(chosen)))


def word_list(language: str = "english") -> tuple[str, ...]:
    """The words of a language, 2,048 of them.  Raises ValueError when there are none."""
    return _of_language(language)


@lru_cache
def _of_language(language: str) -> tuple[str, ...]:
    available = Mnemonic.list_languages()
    if language not in available:
        raise ValueError(
            f"no word list for {language!r}; there is one for {', '.join(sorted(available))}"
        )
    return tuple(Mnemonic(language).wordlist)


@lru_cache(maxsize=8)
def _check(words: tuple[str, ...], separator: str) -> None:
    if len(words) < 2 or not all(words) or len(set(words)) != len(words):
        raise ValueError("a word list needs at least two words, none empty and none twice")
    if not set(separator).difference(*words):
        raise ValueError("the separator needs a character that is in no word, such as '-'")
