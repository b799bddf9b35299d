"""The DRBG's behaviour: seeding, forgetting, separation, and being cut short."""

# pyright: reportPrivateUsage=false
# What a generator keeps is in its private buffers, and that is what is claimed here.

import copy
import pickle
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropy_core import drbg as drbg_module
from hwentropy_core.drbg import Drbg, Keystream, Material, encode_materials
from hwentropy_core.limits import BLOCK_BYTES, KEY_BYTES, SMALL_BYTES
from support.drbg_reference import ReferenceDrbg

SEED = bytes(range(40))
#: Output bytes that an accident repeats with a chance below 2^-100.
WINDOW = 16


def seeded(seed: bytes = SEED, purpose: bytes = b"test") -> Drbg:
    generator = Drbg(purpose)
    generator.reseed([(b"os", seed)])
    return generator


def state(generator: Drbg) -> bytes:
    """Every byte that the generator holds."""
    return bytes(generator._key) + bytes(generator._block)


def windows(data: bytes | bytearray) -> set[bytes]:
    return {bytes(data[i : i + WINDOW]) for i in range(len(data) - WINDOW + 1)}


DRAWS: list[Callable[[Drbg], object]] = [
    lambda generator: generator.read(1),
    lambda generator: generator.read(SMALL_BYTES + 1),
    lambda generator: generator.read_into(memoryview(bytearray(8))),
    lambda generator: generator.keystream(),
    lambda generator: generator.child_seed(b"child", 1),
]
DRAW_NAMES = ["small", "large", "into", "keystream", "child"]


@pytest.mark.parametrize("draw", DRAWS, ids=DRAW_NAMES)
def test_unseeded_gives_nothing(draw: Callable[[Drbg], object]) -> None:
    """Before the first reseed every way to a byte raises."""
    with pytest.raises(RuntimeError, match="not seeded"):
        draw(Drbg(b"test"))


@pytest.mark.parametrize("draw", DRAWS, ids=DRAW_NAMES)
def test_erased_gives_nothing(draw: Callable[[Drbg], object]) -> None:
    """After `erase` every way to a byte raises, with a block half used or not."""
    generator = seeded()
    generator.read(100)
    generator.erase()
    with pytest.raises(RuntimeError, match="not seeded"):
        draw(generator)


def test_erase_leaves_only_zeros() -> None:
    """Nothing of key or block outlives `erase`."""
    generator = seeded()
    generator.read(100)
    generator.erase()
    assert state(generator) == bytes(KEY_BYTES + BLOCK_BYTES)
    assert generator.reseeds == 0


def test_unseeded_buffer_is_left_alone() -> None:
    """A refused request writes nothing that could be taken for output."""
    out = bytearray(b"\xa5" * 64)
    with pytest.raises(RuntimeError):
        Drbg(b"test").read_into(memoryview(out))
    assert out == b"\xa5" * 64


def test_repr_shows_purpose_and_count_only() -> None:
    """The repr is these words, whatever the state."""
    generator = seeded(purpose=b"root")
    generator.read(10)
    generator.reseed([])
    assert repr(generator) == "<Drbg b'root', reseeded 2 times>"


def test_reseeds_counts() -> None:
    """`reseeds` is 0 until the first seed and counts each one."""
    generator = Drbg(b"test")
    counts = [generator.reseeds]
    for _ in range(3):
        generator.reseed([(b"os", SEED)])
        counts.append(generator.reseeds)
    assert counts == [0, 1, 2, 3]


STEPS = st.one_of(
    st.tuples(st.just("reseed"), st.lists(st.tuples(st.binary(max_size=8), st.binary()))),
    st.tuples(st.just("read"), st.integers(0, 2 * SMALL_BYTES)),
    st.tuples(st.just("child"), st.tuples(st.binary(max_size=8), st.integers(0, 2**64 - 1))),
)


@given(st.binary(max_size=8), st.lists(STEPS, max_size=6))
def test_any_history_is_the_reference(purpose: bytes, steps: list[tuple[str, object]]) -> None:
    """Whatever is asked in whatever order, the second implementation gives the same."""
    ours, reference = Drbg(purpose), ReferenceDrbg(purpose)
    for generator in (ours, reference):
        generator.reseed([(b"os", SEED)])
    for kind, value in steps:
        match kind, value:
            case "reseed", list():
                ours.reseed(value)
                reference.reseed(value)
            case "read", int():
                assert ours.read(value) == reference.read(value)
            case "child", (bytes() as label, int() as generation):
                assert ours.child_seed(label, generation) == reference.child_seed(
                    label, generation
                )
            case _:
                pytest.fail(f"no such step: {kind}")


# Backtracking resistance and "never the same bytes twice".


def test_no_byte_handed_out_stays_in_the_state() -> None:
    """After each read, nothing handed out so far is found in any buffer."""
    generator = seeded()
    handed_out: set[bytes] = set()
    # Over three blocks of 4,064 bytes, by small and large requests and children.
    for size in (16, 32, 1000, 1024, 1024, 1024, 1024, 17, 5000, 1024, 1024, 1024, 1024, 1024):
        handed_out |= windows(generator.read(size))
        handed_out |= windows(generator.child_seed(b"child", size))
        assert not handed_out & windows(state(generator))


def test_used_part_of_the_block_is_zeros() -> None:
    """What lies before the next byte to hand out, the key's place included, is overwritten."""
    generator = seeded()
    for size in (1, 31, 500):
        generator.read(size)
        used = bytes(generator._block[: generator._next])
        assert used == bytes(len(used))
    assert generator._next == KEY_BYTES + 532


def test_key_is_replaced_before_the_first_byte() -> None:
    """The key that made a block is gone when its first byte is handed out."""
    generator = seeded()
    before = bytes(generator._key)
    generator.read(1)
    assert bytes(generator._key) != before
    assert not windows(before) & windows(state(generator))
    # It is the block's first 32 bytes, of which the block keeps nothing.
    assert not windows(bytes(generator._key)) & windows(bytes(generator._block))


def test_key_changes_with_every_block() -> None:
    """Each block has a key of its own."""
    generator = seeded()
    keys = set()
    for _ in range(12):
        generator.read(SMALL_BYTES)
        keys.add(bytes(generator._key))
    assert len(keys) == 4  # three reads of 1,024 bytes to a block of 4,064


def test_a_large_request_leaves_no_key_behind(mocker: MockerFixture) -> None:
    """The one-time key is wiped where it was made, and not in the state either."""
    made: list[tuple[bytes, bytearray]] = []

    def spy(key: bytearray) -> Keystream:
        made.append((bytes(key), key))
        return Keystream(key)

    generator = seeded()
    generator.read(32)
    mocker.patch.object(drbg_module, "Keystream", spy)
    generator.read(5000)
    [(one_time_key, buffer)] = made
    assert buffer == bytes(KEY_BYTES)
    assert not windows(one_time_key) & windows(state(generator))


def test_nothing_is_given_out_twice() -> None:
    """Small reads, large reads, keystreams and child seeds never overlap."""
    generator = seeded()
    seen: set[bytes] = set()
    count = 0
    for size in (16, 1024, 1025, 992, 4096, 32, 64, 1024, 1024, 1024, 2000):
        pieces = [bytes(generator.read(size)), bytes(generator.child_seed(b"child", 1))]
        stream = bytearray(64)
        generator.keystream().fill(memoryview(stream))
        pieces.append(bytes(stream))
        for piece in pieces:
            count += len(piece) - WINDOW + 1
            seen |= windows(piece)
    assert len(seen) == count


def test_reseed_drops_what_the_block_held() -> None:
    """No byte made before a reseed is handed out after it."""
    generator = seeded()
    generator.read(32)
    waiting = bytes(generator._block[generator._next :])
    generator.reseed([(b"os", SEED)])
    assert state(generator)[KEY_BYTES:] == bytes(BLOCK_BYTES)
    assert not windows(waiting) & windows(bytes(generator.read(4 * SMALL_BYTES)))


# Reseeding.


@pytest.mark.parametrize("material", [[], [(b"", b"")], [(b"os", bytes(40))]])
def test_a_bad_reseed_does_not_harm_a_good_state(material: list[Material]) -> None:
    """Nothing, or what everybody knows, leaves different secrets different and unknown."""
    one, other, public = seeded(b"a" * 40), seeded(b"b" * 40), Drbg(b"test")
    for generator in (one, other, public):
        generator.reseed(material)
    outputs = [bytes(generator.read(64)) for generator in (one, other, public)]
    assert len(set(outputs)) == 3


def test_a_reseed_with_the_same_material_does_not_return() -> None:
    """The counter and the old key keep a repeated seed from repeating a state."""
    generator = Drbg(b"test")
    outputs = set()
    for _ in range(4):
        generator.reseed([(b"os", SEED)])
        outputs.add(bytes(generator.read(32)))
    assert len(outputs) == 4


def test_a_reseed_heals_a_leaked_state() -> None:
    """Who copied the state loses it at the next reseed with material unknown to them."""
    generator, thief = seeded(), seeded()
    assert state(generator) == state(thief)
    generator.reseed([(b"os", b"unknown to the thief")])
    thief.reseed([(b"os", b"guess")])
    assert generator.read(64) != thief.read(64)


def test_purposes_are_separate() -> None:
    """The same seed under another purpose gives other output."""
    assert seeded(purpose=b"root").read(64) != seeded(purpose=b"worker").read(64)


def test_children_differ_by_label_generation_and_draw() -> None:
    """From one and the same parent state, each label, generation and draw is a new seed."""
    seeds = {
        bytes(seeded().child_seed(label, generation))
        for label in (b"", b"worker 1", b"worker 2")
        for generation in (0, 1, 2**64 - 1)
    }
    parent = seeded()
    again = {bytes(parent.child_seed(b"worker 1", 1)) for _ in range(3)}
    assert len(seeds) == 9
    assert len(again) == 3


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_materials_can_be_read_back(materials: list[Material]) -> None:
    """The encoding is unambiguous: the list can be recovered from the bytes."""
    encoded = bytes(encode_materials(materials))
    fields = []
    while encoded:
        (length,) = struct.unpack_from(">I", encoded)
        fields.append(encoded[4 : 4 + length])
        encoded = encoded[4 + length :]
    assert list(zip(fields[::2], fields[1::2], strict=True)) == materials


def test_material_may_be_any_buffer() -> None:
    """A wider view counts by its bytes, as bytes and bytearray do."""
    data = bytes(range(16))
    forms = (data, bytearray(data), memoryview(data), memoryview(data).cast("Q"))
    assert len({bytes(encode_materials([(b"x", form)])) for form in forms}) == 1


def test_materials_are_wiped_whether_or_not_the_reseed_works(mocker: MockerFixture) -> None:
    """The encoded seed material is zeros afterwards, also when the derivation failed."""
    made: list[bytearray] = []

    def spy(materials: list[Material]) -> bytearray:
        made.append(encode_materials(materials))
        return made[-1]

    mocker.patch.object(drbg_module, "encode_materials", spy)
    generator = seeded()
    mocker.patch.object(drbg_module, "hkdf_into", side_effect=MemoryError)
    with pytest.raises(MemoryError):
        generator.reseed([(b"os", SEED)])
    assert len(made) == 2
    assert all(not any(encoded) for encoded in made)
    assert generator.reseeds == 1


def test_what_a_child_was_derived_from_is_wiped(mocker: MockerFixture) -> None:
    """Whoever had it could compute the child's seed, which is given out once."""
    generator = seeded()
    drawn = mocker.spy(Drbg, "read")
    assert any(generator.child_seed(b"child", 1))
    assert drawn.spy_return == bytes(KEY_BYTES)


# Cut short: an exception from outside in the middle of an operation.


@pytest.mark.parametrize("written", [0, 64, 4000, BLOCK_BYTES])
def test_a_refill_cut_short_gives_out_nothing_known_and_nothing_twice(
    mocker: MockerFixture, written: int
) -> None:
    """After it, the generator goes on exactly where its reference does."""
    generator, reference = Drbg(b"test"), ReferenceDrbg(b"test")
    for each in (generator, reference):
        each.reseed([(b"os", SEED)])
    for _ in range(4):
        assert generator.read(1000) == reference.read(1000)
    fill = Keystream.fill

    def cut(stream: Keystream, out: memoryview) -> None:
        fill(stream, out[:written])
        raise MemoryError

    mocker.patch.object(Keystream, "fill", cut)
    with pytest.raises(MemoryError):
        generator.read(65)  # 64 bytes are left in the block
    mocker.stopall()
    reference.rest = b""  # what was left is passed over
    for size in (8, 64, 1024, 2000):
        assert generator.read(size) == reference.read(size)


def test_a_cipher_that_cannot_be_made_does_not_cost_the_key(mocker: MockerFixture) -> None:
    """Failing before the first byte leaves the old key, not a key of zeros."""
    generator, untouched = seeded(), seeded()
    mocker.patch.object(drbg_module, "Cipher", side_effect=MemoryError)
    with pytest.raises(MemoryError):
        generator.read(1)
    mocker.stopall()
    assert generator.read(100) == untouched.read(100)


def test_an_erase_cut_short_gives_out_nothing(mocker: MockerFixture) -> None:
    """Whichever of its wipes fails, no byte comes out afterwards."""
    for survives in range(2):
        generator = seeded()
        generator.read(10)
        wipes = [None] * survives + [KeyboardInterrupt]
        mocker.patch.object(drbg_module, "wipe", side_effect=wipes)
        with pytest.raises(KeyboardInterrupt):
            generator.erase()
        mocker.stopall()
        with pytest.raises(RuntimeError, match="not seeded"):
            generator.read(1)


def test_a_generator_cannot_be_copied_or_pickled() -> None:
    """Two generators of one state would give the same bytes twice."""
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            duplicate(seeded())
