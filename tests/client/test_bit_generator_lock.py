"""The lock of `hwentropy.numpy.BitGenerator`: outages, what is left, threads, copies."""

import copy
import ctypes
import gc
import math
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from support import needed

np = needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
needed.module("hwentropy._bitgen", "the C extension was not built")

import hwentropy.bit_generator as module  # noqa: E402 - after it is known that it is there
import hwentropy.numpy as ours  # noqa: E402
from hwentropy._bitgen import KeyedLock  # noqa: E402
from hwentropy.errors import DaemonUnavailable, FailedClosed  # noqa: E402
from support.chacha_reference import block, keystream  # noqa: E402
from support.one_time_keys import KEY, Keys, page_of  # noqa: E402


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Keys without a daemon."""
    made = Keys()
    monkeypatch.setattr(module, "take", made.take)
    monkeypatch.setattr(module, "random_bytes", made.random_bytes)
    return made


def test_an_outage_raises_out_of_the_draw_and_passes(keys: Keys) -> None:
    """DaemonUnavailable from every way to draw, arrays untouched; then it works again."""
    rng = ours.default_rng()
    bits = rng.bit_generator
    legacy = np.random.RandomState(bits)
    cards = np.arange(52)
    room = np.full(9, -1.0)
    for error in (DaemonUnavailable("nobody there"), FailedClosed("no source")):
        keys.error = error
        draws: list[Callable[[], object]] = [
            rng.normal,
            lambda: rng.normal(size=1000),
            lambda: rng.integers(10),
            lambda: rng.random(out=room),
            lambda: rng.shuffle(cards),
            lambda: rng.choice(9, 3, replace=False),
            bits.random_raw,
            lambda: bits.random_raw(3),
            lambda: bits._benchmark(3),
            bits.lock.acquire,
            legacy.normal,
            lambda: legacy.randint(10),
        ]
        for draw in draws:
            with pytest.raises(type(error)):
                draw()
            assert not any(page_of(bits)[:64])
        keys.error = None
        assert -40 < rng.normal() < 40
        assert rng.random(out=room).min() >= 0
        room[:] = -1.0
    assert cards.tolist() == list(range(52))


def test_an_outage_within_a_draw_leaves_that_draw_its_key(keys: Keys) -> None:
    """A second draw inside the lock needs no key, so it cannot fail."""
    keys.key = KEY
    bits = ours.BitGenerator()
    with bits.lock:
        keys.error = DaemonUnavailable("nobody there")
        assert bits.random_raw(2).astype("<u8").tobytes() == keystream(KEY, 16)


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), bytearray(32), None, 7])
def test_a_key_that_is_none_is_refused(keys: Keys, wrong: Any) -> None:
    """Anything but 32 `bytes`: TypeError, and the lock is free."""
    bits = ours.BitGenerator()
    for key in (wrong, wrong, KEY):
        keys.key = key
        if key is KEY:
            assert bits.random_raw(2).astype("<u8").tobytes() == keystream(KEY, 16)
        else:
            with pytest.raises(TypeError, match="32 bytes"):
                bits.random_raw()
        assert sum(page_of(bits)) == 1


@pytest.mark.parametrize("count", [1, 40, 200, 10_000])
def test_nothing_is_left_after_a_call(keys: Keys, count: int) -> None:
    """Key and keystream are in the page during a call; afterwards it is zeros again."""
    keys.key = KEY
    bits = ours.BitGenerator()
    page = page_of(bits)
    assert not any(page)
    with bits.lock:
        bits.random_raw(count)
        assert KEY in bytes(page)
        assert block(KEY, (8 * count - 1) // 64, bytes(12)) in bytes(page)
    # One number remains: how often the page's memory was new to the lock.
    assert sum(page) == 1
    assert bytes(range(32)) == KEY  # a key that others have is theirs


def test_the_key_of_a_call_is_overwritten_where_it_was_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody else has it; the memory that its `bytes` were in no longer holds it."""
    seen: list[tuple[bytearray, Any]] = []

    def draw(size: int) -> bytes:
        key = os.urandom(size)
        place = (ctypes.c_ubyte * size).from_address(id(key) + bytes.__basicsize__ - 1)
        assert bytes(place) == key
        seen.append((bytearray(key), place))
        return key

    monkeypatch.setattr(module, "take", lambda _: None)
    monkeypatch.setattr(module, "random_bytes", draw)
    ours.BitGenerator().random_raw()
    [(key, place)] = seen
    # Of freed memory: its allocator may have written over some of it, and no more.
    left = sum(one == other for one, other in zip(key, place, strict=True))
    assert left < len(key) // 2


def test_a_draw_inside_a_draw(keys: Keys) -> None:
    """A sequence that draws from the generator that shuffles it; and while a key is drawn."""
    rng = ours.default_rng()

    class Drawing(list[int]):
        def __setitem__(self, index: Any, value: Any) -> None:
            rng.normal(size=100)
            super().__setitem__(index, value)

    cards = Drawing(range(20))
    rng.shuffle(cards)
    assert sorted(cards) == list(range(20))
    assert keys.drawn == 1
    inner: list[int] = []

    def once() -> None:
        keys.meanwhile = lambda: None
        inner.append(rng.bit_generator.random_raw())

    keys.meanwhile = once
    outer = rng.bit_generator.random_raw()
    assert keys.drawn == 3
    assert [outer] != inner
    assert sum(page_of(rng.bit_generator)) == 1


def test_threads_share_a_generator() -> None:
    """Eight threads, 200 calls each: no word twice, no call fails."""
    rng = ours.default_rng()
    bits = rng.bit_generator

    def draw(_: int) -> list[int]:
        drawn: list[int] = []
        for size in range(200):
            drawn += bits.random_raw(size).tolist()
            drawn += rng.integers(0, 2**64, 3, np.uint64).tolist()
        return drawn

    with ThreadPoolExecutor(8) as pool:
        drawn = [word for part in pool.map(draw, range(8)) for word in part]
    assert len(drawn) == 8 * (199 * 100 + 600)
    assert len(set(drawn)) == len(drawn)


def in_thread(call: Callable[[], object]) -> object:
    """What a call gives in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(60)


def test_the_lock_is_numpys_to_other_code() -> None:
    """`acquire` with its arguments, `release`, taking it again; as threading.RLock."""
    lock = ours.BitGenerator().lock
    assert lock.acquire() is True
    with lock as held:
        assert held is True
        assert in_thread(lambda: lock.acquire(blocking=False)) is False
        assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
        with pytest.raises(RuntimeError, match="does not hold"):
            in_thread(lock.release)
    assert in_thread(lambda: lock.acquire(timeout=0)) is False
    lock.release()
    with pytest.raises(RuntimeError, match="does not hold"):
        lock.release()

    def take_and_leave() -> bool:
        taken = lock.acquire(timeout=1e300)
        lock.release()
        return taken

    assert in_thread(take_and_leave) is True
    for wrong in ({"timeout": -2}, {"timeout": math.nan}, {"blocking": False, "timeout": 1}):
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(**wrong)


def test_who_waits_gets_the_lock_when_it_is_free() -> None:
    """Another thread's draw begins when the lock is let go, not before."""
    bits = ours.BitGenerator()
    started, done = threading.Event(), threading.Event()

    def draw() -> None:
        started.set()
        bits.random_raw(10)
        done.set()

    with bits.lock:
        thread = threading.Thread(target=draw)
        thread.start()
        assert started.wait(60)
        assert not done.wait(0.1)
    assert done.wait(60)
    thread.join(60)


def test_spawn_gives_independent_ones() -> None:
    """As many as asked for, of this class, each with a lock of its own."""
    rng = ours.default_rng()
    children = rng.bit_generator.spawn(3)
    assert [type(child) for child in children] == [ours.BitGenerator] * 3
    assert len({id(child.lock) for child in children}) == 3
    assert len({child.random_raw() for child in children}) == 3
    generators = rng.spawn(2)
    assert [type(one.bit_generator) for one in generators] == [ours.BitGenerator] * 2
    assert rng.bit_generator.spawn(0) == []
    with pytest.raises(ValueError, match="-1"):
        rng.bit_generator.spawn(-1)


def test_there_is_no_seed() -> None:
    """None and NumPy's word for "no seed" are taken, as SciPy gives it; a seed is not."""
    bits = ours.BitGenerator()
    seedless = getattr(bits, "_seed_seq")  # noqa: B009 - NumPy's stub forgets it
    again = ours.BitGenerator(seedless.spawn(1)[0])
    assert again.random_raw() != bits.random_raw()
    for seed in (0, 42, [1, 2], np.random.SeedSequence(1)):
        with pytest.raises(TypeError, match="takes no seed"):
            ours.BitGenerator(seed)


def one_sentence(error: BaseException) -> None:
    """An error's text is one sentence that names its object."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert not text.endswith(".")


@pytest.mark.parametrize("name", ["state", "seed_seq", "ctypes", "cffi"])
def test_what_it_does_not_have(name: str) -> None:
    """NotImplementedError for what would be a state, or a way around the lock."""
    with pytest.raises(NotImplementedError) as caught:
        getattr(ours.BitGenerator(), name)
    one_sentence(caught.value)


def test_it_cannot_be_copied_or_set() -> None:
    """Neither it nor what draws from it, by `copy`, `pickle` or `state`."""
    bits = ours.BitGenerator()
    rng = np.random.Generator(bits)
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    ways: list[Callable[[Any], object]] = [
        copy.deepcopy,
        *(partial(pickle.dumps, protocol=protocol) for protocol in protocols),
    ]
    for way in (*ways, copy.copy):
        for one in (bits, bits.lock):
            with pytest.raises(TypeError, match="pickle") as caught:
                way(one)
            one_sentence(caught.value)
    for way in ways:
        with pytest.raises(TypeError, match="copied or pickled"):
            way(rng)
        with pytest.raises((TypeError, NotImplementedError)):
            way(np.random.RandomState(bits))
    with pytest.raises(TypeError, match="copied or pickled"):
        bits.__getstate__()
    with pytest.raises(NotImplementedError, match="no state"):
        bits.state = {}


def test_random_raw_and_the_benchmark_without_output(keys: Keys) -> None:
    """Drawn and thrown away, as NumPy's; wrong arguments are NumPy's errors."""
    bits = ours.BitGenerator()
    assert bits.random_raw(output=False) is None
    assert bits.random_raw(10, output=False) is None
    assert bits.random_raw((2, 3)).shape == (2, 3)
    bits._benchmark(10)
    bits._benchmark(10, "double")
    assert keys.drawn == 5
    with pytest.raises(ValueError, match="negative"):
        bits.random_raw(-1)
    with pytest.raises(ValueError, match="method"):
        bits._benchmark(1, "nothing")
    assert sum(page_of(bits)) == 1


def test_a_generator_keeps_what_it_draws_from() -> None:
    """The memory stays while NumPy's copy of the pointers can be called."""
    rng: Any = ours.default_rng()
    rng._bit_generator = None
    gc.collect()
    others = [ours.BitGenerator() for _ in range(100)]
    assert len(set(rng.integers(0, 2**62, 1000).tolist())) == 1000
    assert not any(any(page_of(other)) for other in others)


def test_nothing_is_kept_of_what_is_gone() -> None:
    """With the lock go the functions that its keys came from."""

    class Source:
        def __call__(self, size: int) -> bytes:
            return os.urandom(size)

    source = Source()
    lock = KeyedLock(source, source)
    with lock:
        pass
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone()
    del lock
    assert gone() is None


def test_without_the_extension_all_else_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """BitGenerator() says what to do; hwentropy.numpy's own functions do not need it."""
    monkeypatch.setitem(sys.modules, "hwentropy._bitgen", None)
    for make in (ours.BitGenerator, ours.default_rng):
        with pytest.raises(ImportError, match="reinstall hwentropy") as caught:
            make()
        one_sentence(caught.value)

    def fill(buffer: Any) -> None:
        with memoryview(buffer) as view, view.cast("B") as out:
            out[:] = os.urandom(len(out))

    monkeypatch.setattr(ours, "fill", fill)
    assert 0 <= ours.random() < 1
    order = sorted(ours.permutation(10).tolist())
    assert all(later - earlier == 1 for earlier, later in pairwise(order))
