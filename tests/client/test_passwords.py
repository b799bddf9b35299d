"""hwentropy.passwords and hwentropy.alphabet: what comes out, how likely, and its bits."""

import math
import random
import string
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy import alphabet
from hwentropy.alphabet import Alphabet
from hwentropy.passwords import (
    AMBIGUOUS,
    CLASSES,
    DIGITS,
    LOWERCASE,
    MAX_LENGTH,
    MIN_LENGTH,
    generate_password,
    password_count,
)
from support.chi_square import standardised
from support.seeded_bytes import SeededBytes, supply

#: Once in a million times.
UNLIKELY = 4.75


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> SeededBytes:
    """Bytes that are the same in every run."""
    source = SeededBytes(3)
    supply(monkeypatch, source)
    return source


def brute_force(length: int, classes: list[str]) -> int:
    """The number of strings with one of each class, by writing them all down."""
    everything = sorted(set("".join(classes)))
    return sum(
        all(set(one) & set(candidate) for one in classes)
        for candidate in product(everything, repeat=length)
    )


@given(
    st.integers(1, 6),
    st.lists(st.text("abcd", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_the_count_is_that_of_brute_force(length: int, classes: list[str]) -> None:
    """Inclusion and exclusion counts right, for overlapping and repeated classes too."""
    assert password_count(length, classes=classes) == brute_force(length, classes)


def test_the_bits_are_the_logarithm_of_the_count() -> None:
    """Sixteen characters: a little less than 16 * log2(94), by the strings without a class."""
    bits = generate_password(16).entropy_bits
    assert bits == math.log2(password_count(16))
    assert 104.5 < bits < 16 * math.log2(94)
    assert password_count(16, classes=(DIGITS,)) == 10**16


@pytest.mark.parametrize("length", [8, 9, 16, 100])
def test_every_class_is_there(length: int) -> None:
    """Each password has the length, one of each class and nothing else."""
    for _ in range(200):
        value = generate_password(length).value
        assert len(value) == length
        assert all(set(one) & set(value) for one in CLASSES)
        assert set(value) <= set("".join(CLASSES))


def test_ambiguous_characters_are_left_out_on_request() -> None:
    """They come by default, not on request, and the bits follow."""
    plain = {c for _ in range(300) for c in generate_password().value}
    clear = {c for _ in range(300) for c in generate_password(exclude_ambiguous=True).value}
    assert set(AMBIGUOUS) <= plain
    assert clear == set("".join(CLASSES)) - set(AMBIGUOUS)
    kept = ["".join(c for c in one if c not in AMBIGUOUS) for one in CLASSES]
    assert generate_password(exclude_ambiguous=True).entropy_bits == math.log2(
        password_count(16, classes=kept)
    )


CLASSES_OF_TWO = ("a", "b")
DRAWS = 20_000


def test_every_password_is_equally_likely() -> None:
    """Chi-square over all 254 strings of a and b with both in them."""
    counts = Counter(generate_password(8, classes=CLASSES_OF_TWO).value for _ in range(DRAWS))
    assert password_count(8, classes=CLASSES_OF_TWO) == 254 == len(counts)
    assert abs(standardised(counts, 254)) < UNLIKELY


def test_unequal_classes_are_uniform_too() -> None:
    """Chi-square over all strings of eight with at least one x and one of a, b."""
    count = password_count(8, classes=("ab", "x"))
    counts = Counter(generate_password(8, classes=("ab", "x")).value for _ in range(10 * count))
    assert abs(standardised(counts, count)) < UNLIKELY


def test_the_usual_construction_would_be_noticed() -> None:
    """One of each class, the rest at will, then shuffled: the same test rejects it."""
    source = random.Random(3)

    def construct() -> str:
        characters = [*"ab", *source.choices("ab", k=6)]
        source.shuffle(characters)
        return "".join(characters)

    counts = Counter(construct() for _ in range(DRAWS))
    assert standardised(counts, 254) > 2 * UNLIKELY


@given(st.sets(st.integers(0, 255), min_size=1))
def test_every_character_has_equally_many_bytes(characters: set[int]) -> None:
    """No modulo bias, exactly: fed every byte once, each character comes 256 // size times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphabet, "take", lambda n: (bytes(range(256)) * 2)[: max(n, 256)][:256])
        size = len(characters)
        fair = 256 // size
        drawn = Alphabet(bytes(characters)).draw(fair * size)
    assert Counter(drawn) == dict.fromkeys(characters, fair)


def test_a_draw_is_topped_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first bytes are all rejected, more are drawn, and none is bent to fit."""
    monkeypatch.setattr(alphabet, "take", lambda n: b"\xff" * n)
    monkeypatch.setattr(alphabet, "random_bytes", lambda n: b"\x05\xff\x00" * n)
    assert Alphabet(b"0123456789").draw(5) == b"50505"


@pytest.mark.parametrize("characters", [b"", b"aa"])
def test_an_alphabet_without_repetition(characters: bytes) -> None:
    """No character, or one twice, is refused."""
    with pytest.raises(ValueError, match="alphabet"):
        Alphabet(characters)


@pytest.mark.parametrize("length", [-1, 0, MIN_LENGTH - 1])
def test_too_short_is_an_error(length: int) -> None:
    """Below eight characters there is no password, and the message says what to do."""
    with pytest.raises(ValueError, match="too short; ask for 8"):
        generate_password(length)


def test_too_long_is_an_error() -> None:
    """The bits of a longer one would take minutes to work out."""
    with pytest.raises(ValueError, match="too long; ask for 65536"):
        generate_password(MAX_LENGTH + 1)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "1 to 10 classes"),
        (("a",) * 11, "1 to 10 classes"),
        (("abc", ""), "no characters left"),
        (("abc", "é"), "visible ASCII"),
        (("abc", " "), "visible ASCII"),
        (tuple("abcdefghi"), "cannot hold"),
        ((string.printable.strip(), *"abcdef"), "hardly any"),
    ],
)
def test_impossible_classes_are_refused(classes: tuple[str, ...], message: str) -> None:
    """What cannot be satisfied, or hardly ever, is an error and no endless search."""
    with pytest.raises(ValueError, match=message):
        generate_password(8, classes=classes)


def test_a_class_of_ambiguous_characters_only() -> None:
    """A class that the exclusion empties is an error."""
    with pytest.raises(ValueError, match="no characters left"):
        generate_password(classes=(LOWERCASE, "01"), exclude_ambiguous=True)


def test_one_string_is_not_a_list_of_classes() -> None:
    """A string would be taken for classes of one character each; it is refused."""
    with pytest.raises(TypeError, match="sequence of strings"):
        generate_password(classes="abcdefgh")


def test_the_repr_hides_the_password() -> None:
    """Neither repr, str nor a format shows it; `value` and unpacking do."""
    password = generate_password()
    value, bits = password
    assert (value, bits) == (password.value, password.entropy_bits)
    assert value not in f"{password!r} {password} {password!s} {[password]}"


def test_an_alphabet_draws_little(seeded: SeededBytes) -> None:
    """A password costs about 33 bytes: one draw, and rejection of the whole is rare."""
    for _ in range(1000):
        generate_password()
    assert seeded.given / 1000 < 2 * 33
