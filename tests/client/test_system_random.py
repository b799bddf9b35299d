"""`SystemRandom`: a whole `random.Random`, unbiased, with nothing to seed, save or inherit."""

import copy
import os
import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hwentropy import integers, system_random
from hwentropy.system_random import SystemRandom
from support.uniformity import LIMIT, histogram, sigmas


@pytest.fixture(autouse=True)
def _from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes without a daemon: what is tested here is what is made of them."""
    for module in (system_random, integers):
        for name in ("take", "random_bytes"):
            monkeypatch.setattr(module, name, os.urandom)


def test_it_is_one_with_every_public_method_of_the_standard_one() -> None:
    """isinstance holds, and nothing that random.SystemRandom offers is missing."""
    assert isinstance(SystemRandom(), random.Random)
    public = {name for name in dir(random.SystemRandom) if not name.startswith("_")}
    assert public <= set(dir(SystemRandom))


def test_random_gives_the_53_highest_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends: 0 for zeros, 1 - 2^-53 for ones; three lowest of 56 bits do not count."""
    for raw, expected in (
        (bytes(7), 0.0),
        (b"\xff" * 7, 1 - 2.0**-53),
        (b"\x80" + bytes(6), 0.5),
        (bytes(6) + b"\x0f", 2.0**-53),
        (bytes(6) + b"\x07", 0.0),
    ):
        monkeypatch.setattr(system_random, "take", lambda size, raw=raw: raw[:size])
        assert SystemRandom().random() == expected
        monkeypatch.setattr(system_random, "take", lambda _: None)
        monkeypatch.setattr(system_random, "random_bytes", lambda size, raw=raw: raw[:size])
        assert SystemRandom().random() == expected


def test_every_one_of_53_bits_is_used() -> None:
    """Each bit of random() within six sigmas of half of 2,000 draws."""
    drawn = [int(SystemRandom().random() * 2**53) for _ in range(2000)]
    for bit in range(53):
        # 2,000 fair coins: mean 1,000, sigma sqrt(2000)/2 = 22.4.
        assert abs(sum(one >> bit & 1 for one in drawn) - 1000) < LIMIT * 22.4


def test_seeding_does_nothing() -> None:
    """Two of one seed differ, and one seeded again does not begin anew."""
    first, second = SystemRandom(1), SystemRandom(1)
    assert first.randbytes(16) != second.randbytes(16)
    drawn = set[bytes]()
    for _ in range(10):
        first.seed(1, version=2)
        drawn.add(first.randbytes(16))
    assert len(drawn) == 10


@pytest.mark.parametrize(
    "use",
    [
        SystemRandom.getstate,
        lambda one: one.setstate((3, (), None)),
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
    ],
)
def test_there_is_no_state(use: Callable[[SystemRandom], object]) -> None:
    """Saving, restoring, pickling and copying raise as the standard one's do."""
    with pytest.raises(NotImplementedError):
        use(random.SystemRandom())  # type: ignore[arg-type] # the standard one, for comparison
    with pytest.raises(NotImplementedError):
        use(SystemRandom())


def test_nothing_drawn_is_kept_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """gauss draws for every value: a forked child would return a kept one a second time."""
    asked: list[int] = []

    def take(size: int) -> bytes:
        asked.append(size)
        return os.urandom(size)

    monkeypatch.setattr(system_random, "take", take)
    generator = SystemRandom()
    for _ in range(10):
        before = len(asked)
        generator.gauss(0, 1)
        assert len(asked) > before
    assert vars(generator) == {"gauss_next": None}


def test_gauss_has_mean_and_deviation() -> None:
    """4,000 values: the mean within six sigmas of 10, the variance of 9."""
    values = [SystemRandom().gauss(10, 3) for _ in range(4000)]
    mean = sum(values) / 4000
    variance = sum((one - mean) ** 2 for one in values) / 4000
    # Of n normal values: sigma of the mean s/sqrt(n), of the variance s^2 sqrt(2/n).
    assert abs(mean - 10) < LIMIT * 3 / 4000**0.5
    assert abs(variance - 9) < LIMIT * 9 * (2 / 4000) ** 0.5


PICKS: list[Callable[[SystemRandom, Sequence[int]], int]] = [
    lambda one, items: one.choice(items),
    lambda one, items: one.choices(items)[0],
    lambda one, items: one.sample(items, 1)[0],
    lambda one, items: one.randrange(len(items)),
    lambda one, items: one.randint(0, len(items) - 1),
]


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("size", [48, 192])
def test_picks_show_no_modulo_bias(
    pick: Callable[[SystemRandom, Sequence[int]], int], size: int
) -> None:
    """At 3/4 of 64 and 256, where a remainder would favour the lowest third twofold."""
    generator, items = SystemRandom(), range(size)
    counts = histogram((pick(generator, items) for _ in range(20_000)), 48, size)
    assert sigmas(counts) < LIMIT


def test_every_order_is_equally_likely() -> None:
    """shuffle and sample: the 24 orders of four, in 12,000 draws each."""
    generator = SystemRandom()

    def shuffled() -> tuple[int, ...]:
        items = list(range(4))
        generator.shuffle(items)
        return tuple(items)

    for draw in (shuffled, lambda: tuple(generator.sample(range(4), 4))):
        counts = Counter(draw() for _ in range(12_000))
        assert len(counts) == 24
        assert sigmas(list(counts.values())) < LIMIT


def test_choices_rejects_where_the_standard_one_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unweighted picks do not go through random(), whose 2^53 values n does not divide."""
    generator = SystemRandom()
    monkeypatch.setattr(SystemRandom, "random", lambda _: pytest.fail("rounds"))
    assert set(generator.choices(range(3), k=100)) == {0, 1, 2}
    assert generator.choices([], k=0) == []
    with pytest.raises(IndexError):
        generator.choices([])


def test_weights_are_the_standard_ones() -> None:
    """Weighted picks, cumulative or not, and their errors come from random.Random."""
    generator = SystemRandom()
    assert generator.choices("abc", [0, 1, 0], k=5) == list("bbbbb")
    assert generator.choices("abc", cum_weights=[0, 0, 1], k=5) == list("ccccc")
    with pytest.raises(ValueError, match="greater than zero"):
        generator.choices("abc", [0, 0, 0])
    with pytest.raises(TypeError):
        generator.choices("abc", [1, 1, 1], cum_weights=[1, 2, 3])


def test_a_subclass_may_bring_its_own_bits() -> None:
    """As with random.Random: overriding getrandbits changes what shuffle and choice use."""

    class Low(SystemRandom):
        def getrandbits(self, k: int) -> int:
            return k * 0

    class Half(SystemRandom):
        def random(self) -> float:
            return 0.5 + 2**-53

    assert {Low().choice("abc") for _ in range(50)} == {"a"}
    assert Low().choices("abc", k=3) == ["a", "a", "a"]
    assert {Half().choice("abcd") for _ in range(50)} == {"b"}


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", None])
def test_errors_of_bits_and_bytes_are_the_standard_ones(wrong: Any) -> None:
    """getrandbits and randbytes raise what random.SystemRandom's raise."""
    for name in ("getrandbits", "randbytes"):
        with pytest.raises(Exception) as theirs:  # noqa: PT011 - it says which
            getattr(random.SystemRandom(), name)(wrong)
        with pytest.raises(theirs.type):
            getattr(SystemRandom(), name)(wrong)
