"""`hwentropy.numpy` against NumPy's own Generator, and against bias."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import needed
from support.script import run_script

np = needed.module("numpy", "NumPy is not installed (the extra `numpy`)")

import hwentropy.numpy as ours  # noqa: E402 - after it is known that NumPy is there
from hwentropy.errors import FailedClosed  # noqa: E402
from support.uniformity import LIMIT, histogram, sigmas  # noqa: E402

ROOT = Path(__file__).parents[2]
THEIRS: Any = np.random.default_rng()
INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def fill(buffer: Any) -> None:
    """Bytes without a daemon."""
    with memoryview(buffer) as view, view.cast("B") as out:
        out[:] = os.urandom(len(out))


@pytest.fixture(autouse=True)
def _from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "fill", fill)
    monkeypatch.setattr(ours, "random_bytes", os.urandom)


def words(monkeypatch: pytest.MonkeyPatch, *rounds: Any) -> None:
    """Have the module draw these arrays of words, one after the other."""
    rest = iter(rounds)

    def fed(buffer: Any) -> None:
        np.asarray(buffer)[:] = next(rest)

    monkeypatch.setattr(ours, "fill", fed)


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(
        ("random", (size,), {})
        for size in (None, (), 0, 5, (2, 3), (4, 0), [2, 2], np.int64(3))
    ),
    ("random", (), {"size": 40_000}),
    *(("integers", (7,), {"size": size}) for size in (None, (), 0, 5, (2, 3), [2, 2])),
    *(("integers", (0, 100), {"size": 5, "dtype": kind}) for kind in INTEGERS),
    ("integers", (2,), {"dtype": bool, "size": 3}),
    ("integers", ([3, 5],), {}),
    ("integers", ([[1], [2]], [5, 6, 7]), {}),
    ("integers", (0, [5, 6, 7]), {"size": (2, 3)}),
    ("integers", ([4],), {}),
    ("integers", ([],), {}),
    ("integers", (-(2**63), 2**63 - 1), {"endpoint": True}),
    ("integers", (0, 2**64), {"dtype": np.uint64, "size": 2}),
    *(("permutation", (x,), {}) for x in (0, 1, 9, np.int64(5), [1, 2, 3], [])),
    ("permutation", (np.arange(12).reshape(3, 4),), {"axis": 1}),
    ("permutation", (np.arange(12).reshape(3, 4),), {"axis": -1}),
    *(("bytes", (n,), {}) for n in (0, 1, 100)),
]


@pytest.mark.parametrize(("name", "arguments", "options"), CALLS)
def test_results_have_the_shape_and_type_of_numpys(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Same call, same kind of answer: type, shape, dtype."""
    expected = getattr(THEIRS, name)(*arguments, **options)
    result = getattr(ours, name)(*arguments, **options)
    assert type(result) is type(expected)
    if isinstance(result, np.ndarray | np.generic):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    else:
        assert not isinstance(result, bytes) or len(result) == len(expected)


ERRORS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("random", (-1,), {}),
    ("random", (1.5,), {}),
    ("random", ((2, -1),), {}),
    ("integers", (0,), {}),
    ("integers", (-3,), {}),
    ("integers", (5, 5), {}),
    ("integers", (5, 4), {"endpoint": True}),
    ("integers", ([1, 5], [2, 4]), {}),
    ("integers", (0, 257), {"dtype": np.uint8}),
    ("integers", (-1, 5), {"dtype": np.uint8}),
    ("integers", ([-129, 0], 5), {"dtype": np.int8}),
    ("integers", (0, 3), {"dtype": bool}),
    ("integers", (0, 2**64 + 1), {"dtype": np.uint64}),
    ("integers", (5,), {"dtype": np.float64}),
    ("integers", (5,), {"size": -1}),
    ("integers", ([1, 2, 3], 9), {"size": 2}),
    ("permutation", ("abc",), {}),
    ("permutation", (5.0,), {}),
    ("permutation", ([1, 2],), {"axis": 1}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), ERRORS)
def test_errors_are_numpys(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """The same exception type for the same wrong call."""
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - it says which
        getattr(THEIRS, name)(*arguments, **options)
    with pytest.raises(theirs.type):
        getattr(ours, name)(*arguments, **options)


def test_where_it_is_stricter_than_numpy() -> None:
    """A bound that is no integer, and fewer than none of something, are refused."""
    for wrong in (5.5, [5.5, 6.0]):
        with pytest.raises(TypeError, match="integer"):
            ours.integers(wrong)
    with pytest.raises(TypeError, match="high must be of integers"):
        ours.integers(np.array([5.5, 6.0]))
    with pytest.raises(ValueError, match="negative"):
        ours.bytes(-1)
    with pytest.raises(ValueError, match="-1 numbers"):
        ours.permutation(-1)


def test_doubles_are_the_53_highest_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 for zeros, 1 - 2^-53 for ones; the 11 lowest bits do not count."""
    full = (1 << 64) - 1
    words(monkeypatch, np.array([0, full, 1 << 63, 1 << 11, (1 << 11) - 1], np.uint64))
    assert ours.random(5).tolist() == [0.0, 1 - 2.0**-53, 0.5, 2.0**-53, 0.0]


def test_doubles_use_every_bit_in_every_chunk() -> None:
    """53 bits, each within six sigmas of half; two chunks and a part, none like another."""
    drawn = ours.random(2 * ours._CHUNK + 7)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    whole = (drawn * 2.0**53).astype(np.uint64)
    for bit in range(53):
        count = int((whole >> np.uint64(bit) & np.uint64(1)).sum())
        # n fair coins: mean n/2, sigma sqrt(n)/2.
        assert abs(count - drawn.size / 2) < LIMIT * drawn.size**0.5 / 2
    assert np.unique(drawn).size == drawn.size


@pytest.mark.parametrize("kind", INTEGERS)
def test_the_whole_of_a_dtype(kind: str) -> None:
    """Both ends of each integer type, alone and as arrays: nothing overflows."""
    info = np.iinfo(kind)
    low, high = int(info.min), int(info.max)
    ends: list[Any] = [(low, high), ([low], [high]), ([low, low], [high, high])]
    for first, last in ends:
        drawn: Any = ours.integers(first, last, (500, 2), kind, True)
        assert drawn.dtype == np.dtype(kind)
        if info.bits == 8:
            # 1,000 draws miss 5.1 of the 256 values on average; 56 of them less often
            # than once in 10^49 (choose the 56: C(256, 56) * (200/256)^1000).
            assert len(np.unique(drawn)) > 200
        assert drawn.min() < low // 2 + high // 2 < drawn.max()
    assert ours.integers(low, low, None, kind, True) == low
    assert ours.integers(high, high, dtype=kind, endpoint=True) == high
    edges = ours.integers([low, high], [low, high], dtype=kind, endpoint=True)
    assert edges.tolist() == [low, high]


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("bits", [6, 8, 13, 16, 32, 33, 64])
def test_integers_show_no_modulo_bias(bits: int, arrays: bool) -> None:  # noqa: FBT001 - pytest
    """At 3/4 of a power of two, where a remainder would favour the lowest third twofold."""
    bound = 3 << bits - 2
    low = -(bound // 3) if bits < 64 else 0
    high: Any = np.array([low + bound] * 40_000, object) if arrays else low + bound
    kind = np.int64 if bits < 64 else np.uint64
    drawn = ours.integers(low, high, 40_000, dtype=kind)
    moved = [int(one) - low for one in drawn]
    assert sigmas(histogram(moved, 48, bound)) < LIMIT
    # The test can fail: the same by remainder.
    biased = [int.from_bytes(os.urandom(8)) % (1 << bits) % bound for _ in range(40_000)]
    assert sigmas(histogram(biased, 48, bound)) > 5 * LIMIT


def test_what_is_above_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the rejected places, as often as it takes, in the range's own bits."""
    words(monkeypatch, [0xFF, 0x01, 0x06, 0xF2], [0x07, 0x0D], [0x03])
    # [0, 6) in 3 bits: 7, 1, 6, 2; then 7, 5 for the first and third; then 3.
    assert ours.integers(6, size=4).tolist() == [3, 1, 5, 2]
    words(monkeypatch, [0xFF, 0x01, 0x06, 0xF2], [0x07, 0x0D], [0x03])
    assert ours.integers([6, 6, 6, 6]).tolist() == [3, 1, 5, 2]


def test_every_order_is_equally_likely() -> None:
    """The 24 orders of four, in 12,000 permutations; rows stay whole."""
    counts = Counter(tuple(ours.permutation(4).tolist()) for _ in range(12_000))
    assert len(counts) == 24
    assert sigmas(list(counts.values())) < LIMIT
    table = np.arange(30).reshape(10, 3)
    shuffled = ours.permutation(table)
    assert sorted(shuffled.tolist()) == table.tolist()
    assert table.tolist() == np.arange(30).reshape(10, 3).tolist()


def test_equal_keys_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two alike would keep the order of the sort: the whole set is drawn anew."""
    words(monkeypatch, [5, 5, 1], [9, 4, 7])
    assert ours.permutation(3).tolist() == [1, 2, 0]


def test_a_large_permutation_is_one() -> None:
    """100,000 numbers, each once, and about one of them in its old place."""
    order = ours.permutation(100_000)
    assert np.array_equal(np.sort(order), np.arange(100_000))
    # Fixed points of a random permutation are Poisson with mean 1: 20 in 10^18.
    assert (order == np.arange(100_000)).sum() < 20


def test_errors_of_the_daemon_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """No array where there are no bytes, in the first chunk or a later one."""
    left = [1]

    def failing(buffer: Any) -> None:
        if not left:
            raise FailedClosed("no source")
        left.pop()
        fill(buffer)

    monkeypatch.setattr(ours, "fill", failing)
    with pytest.raises(FailedClosed):
        ours.random(2 * ours._CHUNK)
    for call in (ours.integers, ours.permutation):
        with pytest.raises(FailedClosed):
            call(10)


def test_without_numpy_it_says_what_to_install() -> None:
    """The error names the extra."""
    script = """
import sys
sys.modules["numpy"] = None
try:
    import hwentropy.numpy
except ImportError as error:
    print(error)
"""
    assert "pip install 'hwentropy[numpy]'" in run_script(script)
