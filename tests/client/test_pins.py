"""hwentropy.pins: digits, what is refused, and the bits."""

import math
from collections import Counter

import pytest

from hwentropy import integers
from hwentropy.pins import MIN_DIGITS, TRIVIAL, generate_pin, is_trivial_pin
from support.chi_square import standardised
from support.seeded_bytes import SeededBytes, supply


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    supply(monkeypatch, SeededBytes(5))


@pytest.mark.parametrize("length", [4, 5])
def test_as_many_are_trivial_as_is_said(length: int) -> None:
    """Counted over all numbers: 120 of each length, and the bits are those of the rest."""
    trivial = sum(is_trivial_pin(f"{n:0{length}}") for n in range(10**length))
    assert trivial == TRIVIAL
    assert generate_pin(length).entropy_bits == math.log2(10**length - trivial)


@pytest.mark.parametrize("pin", ["0000", "1212", "474747", "1234", "8901", "4321", "1098"])
def test_what_everybody_tries_is_trivial(pin: str) -> None:
    """Repeated digits and pairs, and counting up or down, round the corner too."""
    assert is_trivial_pin(pin)


@pytest.mark.parametrize("pin", ["1221", "1235", "2468", "9081", "0010"])
def test_the_others_are_not(pin: str) -> None:
    """Nothing else is refused."""
    assert not is_trivial_pin(pin)


def test_a_trivial_draw_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """1111 and 1234 come out of the generator, 0042 of the function, with its zeros."""
    # 14 bits are wanted, two bytes shifted right by two.
    draws = iter((n << 2).to_bytes(2, "big") for n in (1111, 1234, 42))
    monkeypatch.setattr(integers, "random_bytes", lambda _: next(draws))
    assert generate_pin(4).value == "0042"


def test_every_pin_is_equally_likely() -> None:
    """Chi-square over the 9,880 that are left of four digits; none of the trivial comes."""
    counts = Counter(generate_pin(4).value for _ in range(60_000))
    assert not any(is_trivial_pin(pin) for pin in counts)
    assert abs(standardised(counts, 10_000 - TRIVIAL)) < 4.75


def test_too_short_is_an_error() -> None:
    """Below four digits there is no PIN."""
    for length in (-1, 0, MIN_DIGITS - 1):
        with pytest.raises(ValueError, match="too short; ask for 4"):
            generate_pin(length)
