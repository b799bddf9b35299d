"""`hwentropy.secrets` against Python's own module: the same calls, the same answers and errors.

Randomness is injected at the generator's seam; test_secrets_cpython.py has the daemon.
"""

import base64
import inspect
import os
import secrets as stdlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy import integers, secrets
from support.script import run_script
from support.uniformity import LIMIT, histogram, sigmas

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes without a daemon: what is tested here is what is made of them."""
    for module in (secrets, integers):
        for name in ("take", "random_bytes"):
            monkeypatch.setattr(module, name, os.urandom)


class FedOut(Exception):  # noqa: N818 - not an error of anything
    """Every part was drawn."""


def feed(monkeypatch: pytest.MonkeyPatch, parts: list[bytes]) -> None:
    """Have `integers` draw these bytes, and check that it asks for as many."""
    rest = iter(parts)

    def take(size: int) -> bytes:
        for part in rest:
            assert len(part) == size
            return part
        raise FedOut

    monkeypatch.setattr(integers, "take", take)


def test_every_name_of_the_standard_module_is_there() -> None:
    """Also DEFAULT_ENTROPY, which its __all__ leaves out; and `import *` brings them all."""
    names: dict[str, Any] = {}
    exec("from hwentropy.secrets import *", names)  # noqa: S102 - what is tested
    assert set(stdlib.__all__) | {"DEFAULT_ENTROPY"} <= set(secrets.__all__) <= set(names)
    assert secrets.DEFAULT_ENTROPY == stdlib.DEFAULT_ENTROPY == 32
    assert secrets.compare_digest is stdlib.compare_digest
    assert set(secrets.__all__) <= set(dir(secrets))


@pytest.mark.parametrize(
    "name", ["token_bytes", "token_hex", "token_urlsafe", "randbelow", "randbits", "choice"]
)
def test_signatures_are_the_standard_ones(name: str) -> None:
    """Parameter names, kinds and defaults, so that calls by keyword work too."""

    def shape(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(one.name, one.kind, one.default) for one in parameters]

    assert shape(getattr(secrets, name)) == shape(getattr(stdlib, name))


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    *(
        (name, (n,))
        for name in ("token_bytes", "token_hex", "token_urlsafe")
        for n in (0, 1, 33)
    ),
    *((name, (True,)) for name in ("token_bytes", "token_hex", "randbits")),
    ("randbits", (0,)),
    ("randbelow", (1,)),
    ("randbelow", (True,)),
    ("choice", ("a",)),
    ("choice", (range(7, 8),)),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_results_have_the_standard_type_and_length(name: str, arguments: tuple[Any]) -> None:
    """What both modules answer is of the same type, and as long or as small."""
    ours, theirs = (getattr(m, name)(*arguments) for m in (secrets, stdlib))
    assert type(ours) is type(theirs)
    if isinstance(ours, int):
        assert ours == theirs or (arguments == (True,) and ours in {0, 1})
    else:
        assert len(ours) == len(theirs)


ERRORS: list[tuple[str, tuple[Any, ...]]] = [
    *((name, (-1,)) for name in ("token_bytes", "token_hex", "token_urlsafe", "randbits")),
    *((name, (1.5,)) for name in ("token_bytes", "token_hex", "token_urlsafe", "randbits")),
    *((name, ("3",)) for name in ("token_bytes", "token_hex", "randbits", "randbelow")),
    *((name, ()) for name in ("randbits", "randbelow", "choice")),
    ("randbelow", (0,)),
    ("randbelow", (-5,)),
    ("randbelow", (1.5,)),
    ("randbelow", (Fraction(7, 2),)),
    ("randbelow", (None,)),
    ("choice", ([],)),
    ("choice", (5,)),
    ("choice", ({1: 2, 3: 4, 5: 6, 9: 9}.keys(),)),
    ("choice", ({1, 2},)),
]


@pytest.mark.parametrize(("name", "arguments"), ERRORS)
def test_errors_are_the_standard_ones(name: str, arguments: tuple[Any]) -> None:
    """The same exception type for the same wrong call."""
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - it says which
        getattr(stdlib, name)(*arguments)
    with pytest.raises(theirs.type):
        getattr(secrets, name)(*arguments)


def test_the_default_can_be_changed_as_in_the_standard_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DEFAULT_ENTROPY is read at the call."""
    monkeypatch.setattr(secrets, "DEFAULT_ENTROPY", 7)
    assert len(secrets.token_bytes()) == 7
    assert len(secrets.token_hex(None)) == 14
    assert len(secrets.token_urlsafe()) == 10


@given(st.binary(max_size=70))
def test_texts_are_those_of_their_bytes(raw: bytes) -> None:
    """Hexadecimal as bytes.hex, URL text as base64.urlsafe_b64encode without padding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "take", lambda _: raw)
        assert secrets.token_hex(len(raw)) == raw.hex()
        expected = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        assert secrets.token_urlsafe(len(raw)) == expected


@pytest.mark.parametrize("name", ["token_bytes", "token_hex", "token_urlsafe", "randbits"])
def test_what_take_has_not_comes_from_random_bytes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None from the hot path means the whole call, for exactly as many bytes."""
    asked: list[int] = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        return b"\xff" * size

    for module in (secrets, integers):
        monkeypatch.setattr(module, "take", lambda _: None)
        monkeypatch.setattr(module, "random_bytes", random_bytes)
    getattr(secrets, name)(16)
    assert asked == [2 if name == "randbits" else 16]
    monkeypatch.setattr(integers, "random_bytes", bytes)
    assert secrets.randbelow(10) == 0
    assert secrets.choice("abc") == "a"


@pytest.mark.parametrize("bound", [2, 3, 6, 7, 12, 128, 192, 200, 255, 256])
def test_randbelow_is_exactly_uniform_over_all_bytes(
    bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fed every byte once, it gives every number equally often: no bias at all."""
    feed(monkeypatch, [bytes([value]) for value in range(256)])
    drawn = Counter[int]()
    with pytest.raises(FedOut):  # noqa: PT012 - which draw finds nothing is not known
        while True:
            drawn[secrets.randbelow(bound)] += 1
    assert set(drawn) == set(range(bound))
    assert len(set(drawn.values())) == 1


def test_randbelow_is_exactly_uniform_over_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for 3/4 of 2^14 and every draw of two bytes: four of them make each number."""
    feed(monkeypatch, [value.to_bytes(2, "big") for value in range(1 << 16)])
    drawn = Counter[int]()
    with pytest.raises(FedOut):  # noqa: PT012 - which draw finds nothing is not known
        while True:
            drawn[secrets.randbelow(3 << 12)] += 1
    assert set(drawn) == set(range(3 << 12))
    assert set(drawn.values()) == {4}


@pytest.mark.parametrize("bits", [8, 13, 32, 64, 65, 256])
def test_no_modulo_bias_by_chi_square(bits: int) -> None:
    """At 3/4 of a power of two, where a remainder would favour the lowest third twofold."""
    bound = 3 << bits - 2
    counts = histogram((secrets.randbelow(bound) for _ in range(30_000)), 48, bound)
    assert sigmas(counts) < LIMIT
    # The test can fail: the same draws by remainder, from a known generator.
    source = Random(1)
    biased = (source.getrandbits(bits) % bound for _ in range(30_000))
    assert sigmas(histogram(biased, 48, bound)) > 5 * LIMIT


def test_choice_is_uniform_by_chi_square() -> None:
    """48 elements, drawn with 6 bits: a remainder would take the first 16 twice as often."""
    items = list(range(48))
    counts = histogram((secrets.choice(items) for _ in range(30_000)), 48, 48)
    assert sigmas(counts) < LIMIT


@pytest.mark.parametrize("bits", [1, 3, 7, 8, 9, 64, 100, 1001])
def test_every_bit_is_set_half_the_time(bits: int) -> None:
    """randbits and token_bits: each bit within six sigmas of half of 1,000 draws."""
    for function in (secrets.randbits, secrets.token_bits):
        drawn = [function(bits) for _ in range(1000)]
        assert max(drawn) < 1 << bits
        for bit in range(bits):
            # 1,000 fair coins: mean 500, sigma sqrt(1000)/2 = 15.8.
            assert abs(sum(one >> bit & 1 for one in drawn) - 500) < LIMIT * 15.8


def test_importing_it_is_cheap() -> None:
    """Neither asyncio, uuid, random nor the command's libraries come with it."""
    script = "import sys\nfrom hwentropy import secrets\nsecrets.DEFAULT_ENTROPY\n"
    loaded = run_script(script + "print(*sys.modules)").split()
    heavy = {"asyncio", "click", "rich", "msgspec", "uuid", "random", "numpy", "json", "hmac"}
    assert not set(loaded) & heavy


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """What is lazy does not swallow mistakes."""
    with pytest.raises(AttributeError, match="token_nothing"):
        getattr(secrets, "token_" + "nothing")
