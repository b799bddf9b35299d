"""`hwentropy.numpy.BitGenerator` against an independent ChaCha20, and under NumPy's classes."""

import ctypes
import math
import warnings
from typing import Any

import pytest

from support import needed

np = needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
needed.module("hwentropy._bitgen", "the C extension was not built")

import hwentropy.bit_generator as module  # noqa: E402 - after it is known that it is there
import hwentropy.numpy as ours  # noqa: E402
from support import numpy_calls  # noqa: E402
from support.chacha_reference import keystream  # noqa: E402
from support.one_time_keys import BLOCKS, KEY, Keys, page_of  # noqa: E402
from support.uniformity import LIMIT, histogram, sigmas  # noqa: E402


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Keys without a daemon."""
    made = Keys()
    monkeypatch.setattr(module, "take", made.take)
    monkeypatch.setattr(module, "random_bytes", made.random_bytes)
    return made


def words(data: bytes, kind: str = "<u8") -> list[int]:
    """Little-endian words."""
    numbers: list[int] = np.frombuffer(data, kind).tolist()
    return numbers


def test_it_is_a_bit_generator_of_numpys() -> None:
    """`isinstance` holds, and NumPy's functions take it for one."""
    bits = ours.BitGenerator()
    assert isinstance(bits, np.random.BitGenerator)
    assert isinstance(ours.default_rng(), np.random.Generator)
    assert isinstance(ours.default_rng().bit_generator, ours.BitGenerator)
    assert np.random.default_rng(bits).bit_generator is bits
    assert str(np.random.Generator(bits)) == "Generator(BitGenerator)"


def test_the_keystream_is_that_of_rfc_8439(keys: Keys) -> None:
    """Appendix A.1, test vector 1: key, nonce and counter 0."""
    keys.key = bytes(32)
    drawn = ours.BitGenerator().random_raw(8).astype("<u8").tobytes()
    assert drawn == bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )


@pytest.mark.parametrize("count", [1, 7, 32, 33, 128, 129, 256, 257, 1000])
def test_every_kind_of_number_is_the_keystream_in_order(keys: Keys, count: int) -> None:
    """8 bytes for a word or a double, 4 for a short word, none left out or used twice."""
    keys.key = KEY
    bits = ours.BitGenerator()
    rng = np.random.Generator(bits)
    long = words(keystream(KEY, 8 * count))
    short = words(keystream(KEY, 4 * count), "<u4")
    doubles = [(word >> 11) * 2.0**-53 for word in long]
    assert bits.random_raw(count).tolist() == long
    assert rng.integers(0, 2**64, count, np.uint64).tolist() == long
    assert rng.integers(0, 2**32, count, np.uint32).tolist() == short
    assert rng.random(count).tolist() == doubles
    assert bits.random_raw() == long[0]
    assert rng.random() == doubles[0]
    assert rng.bytes(4 * count) == keystream(KEY, 4 * count)
    assert keys.drawn == 7
    assert np.random.RandomState(bits).random_sample(count).tolist() == doubles


def test_draws_within_one_lock_go_on_in_one_keystream(keys: Keys) -> None:
    """Short and long words in turn, across every refill: each byte once, one key."""
    keys.key = KEY
    bits = ours.BitGenerator()
    rng = np.random.Generator(bits)
    drawn = b""
    with bits.lock:
        # Refills at 256, 1024, 2048 bytes, and so on: with 4 bytes left, and with none.
        for count in (40, 100, 300, 1, 500):
            drawn += rng.integers(0, 2**32, 1, np.uint32).astype("<u4").tobytes()
            drawn += bits.random_raw(count).astype("<u8").tobytes()
    assert drawn == keystream(KEY, len(drawn))
    assert keys.drawn == 1


def test_a_call_of_more_than_256_gib_goes_on_with_another_nonce(keys: Keys) -> None:
    """Where the 32-bit block counter starts again, no keystream is given twice."""
    keys.key = KEY
    bits = ours.BitGenerator()
    counter = ctypes.c_uint32.from_buffer(page_of(bits), 4 * 12)
    with bits.lock:
        counter.value = 2**32 - BLOCKS
        drawn = bits.random_raw(2 * 8 * BLOCKS).astype("<u8").tobytes()
    before = keystream(KEY, 64 * BLOCKS, counter=2**32 - BLOCKS)
    after = keystream(KEY, 64 * BLOCKS, nonce=b"\1" + bytes(11))
    assert drawn == before + after


def test_each_call_has_a_key_of_its_own(keys: Keys) -> None:
    """As many keys as calls, and no word twice in 2,000 calls."""
    bits = ours.BitGenerator()
    rng = np.random.Generator(bits)
    drawn = [bits.random_raw() for _ in range(1000)]
    drawn += [rng.integers(0, 2**64, dtype=np.uint64) for _ in range(1000)]
    assert keys.drawn == 2000
    assert len(set(drawn)) == 2000


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (np.random.Generator, numpy_calls.GENERATOR),
        (np.random.RandomState, numpy_calls.RANDOM_STATE),
    ],
)
def test_every_method_draws_under_the_lock(
    kind: Any, calls: dict[str, list[tuple[Any, ...]]], keys: Keys
) -> None:
    """Each public method of NumPy's classes; one without the lock would end this process."""
    assert set(calls) == numpy_calls.methods(kind)
    rng = kind(ours.BitGenerator())
    page = page_of(rng._bit_generator)
    for name, ways in calls.items():
        for arguments in ways:
            before = keys.drawn
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # random_integers
                getattr(rng, name)(*numpy_calls.fresh(arguments))
            # RandomState's normal distributions hand out a second number that they kept.
            if kind is np.random.Generator or name not in {"randn", "normal"}:
                assert keys.drawn > before, (name, arguments)
            assert sum(page) == 1, (name, arguments)


def moments(values: Any, mean: float, deviation: float) -> None:
    """Mean and variance within five standard errors of a distribution with little kurtosis."""
    assert abs(values.mean() - mean) < 5 * deviation / math.sqrt(values.size)
    # The variance of (x - mean)^2 is below 9 deviation^4 for all that are tested here.
    assert abs(values.var() / deviation**2 - 1) < 5 * 3 / math.sqrt(values.size)


@pytest.mark.parametrize("number", range(3))
def test_distributions_at_fixed_keys(keys: Keys, number: int) -> None:
    """Moments and chi-square; the keys are fixed, so this gives the same each time."""
    keys.key = bytes([number]) * 32
    rng = ours.default_rng()
    count = 40_000
    moments(rng.normal(3.0, 2.0, count), 3.0, 2.0)
    moments(rng.exponential(2.0, count), 2.0, 2.0)
    moments(rng.uniform(-1.0, 1.0, count), 0.0, 2 / math.sqrt(12))
    moments(rng.poisson(5.0, count), 5.0, math.sqrt(5))
    moments(rng.binomial(20, 0.25, count), 5.0, math.sqrt(20 * 0.25 * 0.75))
    moments(rng.standard_normal(count, np.float32).astype(np.float64), 0.0, 1.0)
    for bound in (48, 48 << 20, 48 << 40):
        drawn = rng.integers(0, bound, count).tolist()
        assert sigmas(histogram(drawn, 48, bound)) < LIMIT
    doubles = (rng.random(count) * 2**53).astype(np.int64).tolist()
    assert sigmas(histogram(doubles, 64, 2**53)) < LIMIT
    first = [int(rng.permutation(48)[0]) for _ in range(10)]
    assert first == first[:1] * 10  # the same key, the same numbers
