"""The root DRBG: one step from the pool's seed to a new generation."""

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.drbg import Drbg
from hwentropy_core.page import PageReader
from hwentropy_core.paths import BOOT_ID
from hwentropyd.seeding.pool import Contribution, Pool, Seed
from hwentropyd.seeding.root import Root
from support.drbg_reference import ReferenceDrbg


def seed(fill: bytes = b"x") -> Seed:
    """What a pool gives."""
    pool = Pool()
    pool.add(Contribution("a", "g", bytearray(fill * 40), 320.0, 0.0))
    return pool.take()


def test_it_gives_nothing_before_the_first_seed() -> None:
    """Guarantee 1, at its root."""
    root = Root()
    assert not root.seeded
    assert (root.generation, root.reseeds) == (0, 0)
    with pytest.raises(RuntimeError, match="not seeded"):
        root.child_seed(b"worker 1", 0)


def test_the_generation_moves_after_the_seeds_are_sent() -> None:
    """A worker that sees the page move has its seed in the channel already."""
    root = Root()
    reader = PageReader(root.page.fd)
    seen: list[tuple[int, int, bytes]] = []

    def send(generation: int) -> None:
        seen.append((generation, reader.generation, bytes(root.child_seed(b"w", generation))))

    assert root.reseed(seed(), send) == 1
    assert reader.generation == 1
    assert root.reseed(seed(), send) == 2
    assert [(new, published) for new, published, _ in seen] == [(1, 0), (2, 1)]
    assert seen[0][2] != seen[1][2]
    assert root.reseeds == 2


def test_the_generation_stays_when_sending_fails() -> None:
    """Nobody is told of a generation whose seeds were not sent."""
    root = Root()

    def broken(generation: int) -> None:
        raise BrokenPipeError("no worker")

    with pytest.raises(BrokenPipeError, match="no worker"):
        root.reseed(seed(), broken)
    assert root.generation == 0


def test_no_two_children_get_the_same_seed() -> None:
    """Not for the same label in the same generation either (a worker that was replaced)."""
    root = Root()
    root.reseed(seed(), lambda _: None)
    seeds = [bytes(root.child_seed(label, 1)) for label in (b"1", b"2") for _ in range(50)]
    root.reseed(seed(), lambda _: None)
    seeds += [bytes(root.child_seed(label, 2)) for label in (b"1", b"2") for _ in range(50)]
    assert len(set(seeds)) == len(seeds) == 200
    assert {len(one) for one in seeds} == {32}


def test_it_is_the_generator_of_the_document(mocker: MockerFixture) -> None:
    """Purpose `root`, the pool's materials, its nonce in the first seed alone."""
    reseed, given = Drbg.reseed, list[list[tuple[bytes, bytes]]]()

    def watched(drbg: Drbg, materials: list[tuple[bytes, bytes]]) -> None:
        given.append([(label, bytes(data)) for label, data in materials])
        reseed(drbg, materials)

    mocker.patch.object(Drbg, "reseed", watched)
    root, reference = Root(), ReferenceDrbg(b"root")
    for number in (1, 2, 3):
        root.reseed(seed(), lambda _: None)
        assert root.seeded
        reference.reseed(given[-1])
        assert root.child_seed(b"w", 7) == reference.child_seed(b"w %d" % number, 7)
    assert [[label for label, _ in materials] for materials in given] == [
        [b"source a", b"instance"],
        [b"source a"],
        [b"source a"],
    ]


@pytest.mark.parametrize("locked", [True, False])
def test_it_says_so_where_its_keys_may_be_swapped_out(
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
    locked: bool,  # noqa: FBT001 (a table)
) -> None:
    """And what to do; otherwise nothing."""
    mocker.patch("hwentropyd.seeding.root.locked_drbg", return_value=(Drbg(b"root"), locked))
    Root()
    assert ("raise the limit on locked memory" in caplog.text) is not locked


def test_two_daemons_with_the_same_seed_differ(mocker: MockerFixture) -> None:
    """Sources that lie in the same way do not make two daemons the same."""
    clock = mocker.patch("hwentropyd.seeding.root.time.time_ns")
    given = []
    for now in (1, 2):
        clock.return_value = now
        root = Root()
        root.reseed(seed(), lambda _: None)
        given.append(bytes(root.child_seed(b"w", 1)))
    assert given[0] != given[1]


def nonce(root: Root, mocker: MockerFixture) -> bytes:
    """What it adds to its first seed."""
    reseed = mocker.patch("hwentropy_core.drbg.Drbg.reseed")
    root.reseed(seed(), lambda _: None)
    [materials] = reseed.call_args.args
    [(_, said)] = [one for one in materials if one[0] == b"instance"]
    return bytes(said)


def test_the_nonce_is_another_for_each_daemon(mocker: MockerFixture, tmp_path: Path) -> None:
    """By the start of the kernel, the page's file, the clocks: each alone tells two apart."""
    boot = mocker.patch("hwentropyd.seeding.root.time.clock_gettime_ns", return_value=1)
    wall = mocker.patch("hwentropyd.seeding.root.time.time_ns", return_value=2)
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("f3c1\n")
    root = Root()
    first = nonce(root, mocker)
    assert BOOT_ID.read_text().strip().encode() in first
    assert first == nonce(root, mocker)
    boot.return_value = 3
    later = nonce(root, mocker)
    wall.return_value = 4
    redated = nonce(root, mocker)
    beside = nonce(Root(), mocker)
    elsewhere = nonce(Root(other_boot), mocker)
    hidden = nonce(Root(tmp_path / "none"), mocker)
    assert len({first, later, redated, beside, elsewhere, hidden}) == 6
    assert elsewhere.startswith(b"f3c1 ")


def test_seed_material_is_overwritten() -> None:
    """What went into the generator is in no other place any more."""
    material = seed()
    data = material.materials[0][1]
    assert any(data)
    Root().reseed(material, lambda _: None)
    assert data == bytes(64)


def test_seed_material_is_overwritten_when_the_reseed_fails(mocker: MockerFixture) -> None:
    """An error leaves no material behind, and no new generation."""
    material = seed()
    root = Root()
    mocker.patch("hwentropy_core.drbg.Drbg.reseed", side_effect=MemoryError)
    with pytest.raises(MemoryError):
        root.reseed(material, lambda _: None)
    assert material.materials[0][1] == bytes(64)
    assert root.generation == 0


def test_erase_forgets() -> None:
    """Nothing comes of it afterwards."""
    root = Root()
    root.reseed(seed(), lambda _: None)
    root.erase()
    with pytest.raises(RuntimeError, match="not seeded"):
        root.child_seed(b"w", 1)


def test_a_copied_machine_forgets_and_moves_the_generation_at_once() -> None:
    """Leases end with it; there is no seed of the new generation, and no child's either."""
    root = Root()
    reader = PageReader(root.page.fd)
    root.reseed(seed(b"x"), lambda _: None)
    epoch = reader.words[PageReader.EPOCH]
    root.forget()
    assert (reader.generation, reader.words[PageReader.EPOCH]) == (2, epoch + 1)
    assert not root.seeded
    with pytest.raises(RuntimeError, match="not seeded"):
        root.child_seed(b"w", 2)
    assert root.reseed(seed(b"y"), lambda _: None) == 3
    assert root.reseeds == 2


def test_two_copies_with_the_same_new_seed_differ(mocker: MockerFixture) -> None:
    """Nothing of what they share is left, and the clock tells them apart."""
    clock = mocker.patch("hwentropyd.seeding.root.time.time_ns", return_value=1)
    given = []
    for now in (2, 3):
        root = Root()
        root.reseed(seed(b"x"), lambda _: None)
        root.forget()
        clock.return_value = now
        root.reseed(seed(b"y"), lambda _: None)
        given.append(bytes(root.child_seed(b"w", 3)))
        clock.return_value = 1
    assert given[0] != given[1]
