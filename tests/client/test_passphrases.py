"""hwentropy.passphrases: the list, its bits, and what is refused."""

import hashlib
import math
from collections import Counter
from itertools import product

import pytest

from hwentropy.passphrases import MIN_WORDS, generate_passphrase, word_list
from support.chi_square import standardised
from support.seeded_bytes import SeededBytes, supply

#: SHA-256 of english.txt in github.com/bitcoin/bips, bip-0039 (one word a line).
BIP39_ENGLISH = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    supply(monkeypatch, SeededBytes(4))


def test_the_list_is_the_published_one() -> None:
    """2,048 different words, the first four letters of each its own."""
    words = word_list()
    lines = "".join(f"{word}\n" for word in words)
    assert hashlib.sha256(lines.encode()).hexdigest() == BIP39_ENGLISH
    assert len({word[:4] for word in words}) == 2048 == len(words)


def test_seven_words_are_77_bits() -> None:
    """By default seven words of the list, with dashes."""
    value, bits = generate_passphrase()
    assert bits == 77
    assert len(value.split("-")) == 7
    assert set(value.split("-")) <= set(word_list())


def test_the_separator_and_the_list_are_the_callers() -> None:
    """Another list has another number of bits a word."""
    value, bits = generate_passphrase(5, separator=" ", word_list=["red", "green", "blue"])
    assert len(value.split(" ")) == 5
    assert bits == 5 * math.log2(3)


def test_another_language_has_as_many_bits() -> None:
    """Every list of the package has 2,048 words."""
    value, bits = generate_passphrase(4, language="czech")
    assert bits == 44
    assert set(value.split("-")) <= set(word_list("czech"))


def test_every_word_is_equally_likely() -> None:
    """Chi-square over the 2,048 words."""
    counts = Counter(
        word for _ in range(300) for word in generate_passphrase(100).value.split("-")
    )
    assert abs(standardised(counts, 2048)) < 4.75


def test_too_short_is_an_error() -> None:
    """Below four words there is no passphrase."""
    for words in (-1, 0, MIN_WORDS - 1):
        with pytest.raises(ValueError, match="too short; ask for 4"):
            generate_passphrase(words)


@pytest.mark.parametrize("words", [[], ["one"], ["one", "one"], ["one", ""]])
def test_lists_that_would_belie_the_bits(words: list[str]) -> None:
    """A list with fewer than two words, an empty one or the same twice is refused."""
    with pytest.raises(ValueError, match="word list"):
        generate_passphrase(word_list=words)


@pytest.mark.parametrize("separator", ["", "e"])
def test_separators_that_would_belie_the_bits(separator: str) -> None:
    """Where two choices could read the same, the separator is refused."""
    with pytest.raises(ValueError, match="separator"):
        generate_passphrase(separator=separator)


def test_a_separator_that_words_can_make_up_is_refused() -> None:
    """No word has "aa" in it, yet b-aa-ab and ba-aa-b read the same: 209 of 256 are left."""
    words = ["ba", "ab", "b", "c"]
    assert len({"aa".join(chosen) for chosen in product(words, repeat=4)}) == 209
    with pytest.raises(ValueError, match="separator"):
        generate_passphrase(4, separator="aa", word_list=words)
    assert len({"a-a".join(chosen) for chosen in product(words, repeat=4)}) == 256
    assert generate_passphrase(4, separator="a-a", word_list=words).entropy_bits == 8


def test_an_unknown_language_names_the_known() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="english, french"):
        generate_passphrase(language="klingon")


def test_the_repr_hides_the_passphrase() -> None:
    """No word of it is in its repr."""
    passphrase = generate_passphrase()
    assert not set(passphrase.value.split("-")) & set(repr(passphrase).split())
    assert "<hidden>" in str(passphrase)
