"""hwentropy.apikeys: the format to the byte, and what a scanner makes of it."""

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwentropy.apikeys as module
from hwentropy import CheckFailed
from hwentropy.apikeys import (
    api_key_pattern,
    find_api_keys,
    generate_api_key,
    parse_api_key,
)
from support.chi_square import standardised
from support.seeded_bytes import SeededBytes, supply

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def crc32(data: bytes) -> int:
    """CRC-32 bit by bit, from the polynomial (IEEE 802.3)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def number(check: str) -> int:
    """A base-62 number, most significant digit first."""
    return sum(DIGITS.index(c) * 62**i for i, c in enumerate(reversed(check)))


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    supply(monkeypatch, SeededBytes(7))


def test_the_crc_is_the_published_one() -> None:
    """The check value that every CRC catalogue gives for CRC-32/ISO-HDLC."""
    assert crc32(b"123456789") == 0xCBF43926


def test_a_key_is_what_the_format_says() -> None:
    """Prefix, underscore, 30 characters, CRC-32 of all that in six digits."""
    for _ in range(500):
        key = generate_api_key("acme_live")
        assert re.fullmatch(r"acme_live_[0-9A-Za-z]{36}", key)
        assert number(key[-6:]) == crc32(key[:-6].encode())
        assert parse_api_key(key).prefix == "acme_live"
        assert parse_api_key(key).text == key


def test_the_example_in_the_docstring_is_a_key() -> None:
    """What the module shows passes its own check."""
    (shown,) = re.findall(r"^ +(acme_live_\w+)$", module.__doc__ or "", re.MULTILINE)
    assert parse_api_key(shown).prefix == "acme_live"


def test_every_character_is_equally_likely() -> None:
    """Chi-square over the 62 characters of the body."""
    counts = Counter(c for _ in range(500) for c in generate_api_key("ab")[3:33])
    assert abs(standardised(counts, 62)) < 4.75


def test_every_single_mistake_is_caught() -> None:
    """Any character changed, left out or doubled, and any two neighbours swapped."""
    key = generate_api_key("acme")
    wrong = {key[:i] + c + key[i + 1 :] for i in range(len(key)) for c in DIGITS + "_"}
    wrong |= {key[:i] + key[i + 1 :] for i in range(len(key))}
    wrong |= {key[:i] + key[i] + key[i:] for i in range(len(key))}
    wrong |= {key[:i] + key[i + 1] + key[i] + key[i + 2 :] for i in range(len(key) - 1)}
    wrong.discard(key)
    assert len(wrong) > 2000
    for one in wrong:
        with pytest.raises(CheckFailed):
            parse_api_key(one)


@given(st.text())
def test_any_text_parses_or_fails(text: str) -> None:
    """Nothing but CheckFailed comes of a text that is no key, and it is not repeated."""
    for one in (text, f"acme_{text}", "acme_" + text[:36].ljust(36, "0")):
        with pytest.raises(CheckFailed, match="not an API key"):
            parse_api_key(one)


def test_a_leaked_key_is_found() -> None:
    """In a file full of lookalikes, exactly the real ones, and where they begin."""
    keys = [generate_api_key("acme") for _ in range(3)]
    lookalike = "acme_" + "A" * 36
    text = (
        f"TOKEN={keys[0]}\nurl?key={keys[1]}&x=1 {lookalike} x{keys[2]} {keys[2]}x "
        f"{generate_api_key('other')} TOKEN_{keys[2]}"
    )
    found = list(find_api_keys(text, "acme"))
    assert [key.text for _, key in found] == keys
    assert all(text[start:].startswith(key.text) for start, key in found)


def test_the_pattern_finds_the_form() -> None:
    """A scanner that cannot compute the check still finds the key, and the lookalike."""
    key = generate_api_key("acme")
    pattern = re.compile(api_key_pattern("acme"))
    assert pattern.findall(f"{key} acme_{'A' * 36} acme_short") == [key, "acme_" + "A" * 36]


def test_the_repr_hides_the_key() -> None:
    """It shows the prefix, and no part of the body."""
    key = parse_api_key(generate_api_key("acme"))
    assert repr(key) == "ApiKey(prefix='acme')"


@pytest.mark.parametrize(
    "prefix", ["", "a", "A", "Acme", "1a", "a_", "_a", "a__b", "a-b", "é1", "a" * 33, "ab\n"]
)
def test_wrong_prefixes_are_refused(prefix: str) -> None:
    """Everywhere, with what is allowed."""
    with pytest.raises(ValueError, match="prefix"):
        generate_api_key(prefix)
    with pytest.raises(ValueError, match="prefix"):
        list(find_api_keys("", prefix))
    with pytest.raises(ValueError, match="prefix"):
        api_key_pattern(prefix)


@pytest.mark.parametrize("prefix", ["ab", "a1", "acme_live_2", "a" * 32])
def test_right_prefixes_are_taken(prefix: str) -> None:
    """From two characters to thirty-two."""
    assert parse_api_key(generate_api_key(prefix)).prefix == prefix
