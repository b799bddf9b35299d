"""A worker's generator over a real generation page."""

# Waiting threads are seen at inner seams:
# pyright: reportPrivateUsage=false

import threading
from collections.abc import Callable
from itertools import count

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.drbg import Drbg
from hwentropy_core.limits import SMALL_BYTES
from hwentropy_core.page import PageReader, PageWriter, ServiceState
from hwentropyd.worker import drbg as module
from hwentropyd.worker.drbg import REPORT_BYTES, SeedNotReceivedError, WorkerDrbg

PATIENCE = 20.0


class WatchedWords:
    """The page's words, with something that happens just before one of the looks at them."""

    def __init__(self, words: memoryview, number: int, do: Callable[[], None]) -> None:
        self._words = words
        self._left = number
        self._do = do

    def __getitem__(self, word: int) -> int:
        """One word; only the generation's is counted."""
        if word == PageReader.GENERATION:
            self._left -= 1
            if not self._left:
                self._do()
        value: int = self._words[word]
        return value


class Bench:
    """Page, generator, and how often it reported."""

    def __init__(self) -> None:
        self.page = PageWriter()
        self.reports: list[int] = []
        self.generator = WorkerDrbg(PageReader(self.page.fd), self._report)

    def _report(self) -> None:
        self.reports.append(self.generator.take_drawn())

    def at_look(self, number: int, do: Callable[[], None]) -> None:
        """Do something when the generator looks at the page's generation for the n-th time."""
        self.generator.words = WatchedWords(self.generator.words, number, do)  # type: ignore[assignment]

    def seed(self, generation: int, *, fill: bytes = b"s") -> None:
        """As the supervisor does: the seed, then the page."""
        self.generator.seed(generation, bytearray(fill * 32))
        self.page.generation = generation

    def draw(self, size: int = 32) -> bytes:
        """Some bytes."""
        out = bytearray(size)
        self.generator.read_into(memoryview(out))
        return bytes(out)


@pytest.fixture
def bench() -> Bench:
    """One that is not seeded."""
    return Bench()


def expected(seeds: list[bytes], size: int = 32) -> bytes:
    """What the DRBG of core gives after these seeds."""
    drbg = Drbg(b"worker")
    for seed in seeds:
        drbg.reseed([(b"parent", bytearray(seed * 32))])
    return bytes(drbg.read(size))


def test_it_draws_from_the_seed_of_the_generation(bench: Bench) -> None:
    """The DRBG of core with the seed that came, and the old key in it."""
    bench.seed(1, fill=b"a")
    assert bench.draw() == expected([b"a"])
    bench.seed(2, fill=b"b")
    assert bench.draw() != expected([b"b"])
    assert bench.draw() != bench.draw()


def test_a_seed_is_overwritten(bench: Bench) -> None:
    """Once it is in."""
    seed = bytearray(b"s" * 32)
    bench.generator.seed(1, seed)
    assert seed == bytes(32)


def test_the_state_is_that_on_the_page(bench: Bench) -> None:
    """Read anew each time."""
    for state in ServiceState:
        bench.page.state = state
        assert bench.generator.state is state


def test_a_page_that_is_not_renewed_ends_the_service(
    bench: Bench, mocker: MockerFixture
) -> None:
    """At its times: degraded, then failed, once the supervisor has had time to renew it."""
    now = bench.generator.clock = mocker.Mock()
    slept = mocker.patch("hwentropyd.worker.drbg.time.sleep")
    mocker.patch("hwentropyd.worker.drbg.time.monotonic", side_effect=count(0.0, 0.3))
    bench.page.publish(ServiceState.OK, 100, 200)
    seen = []
    for now.return_value in (99, 100, 199, 200, 201):
        seen.append((bench.generator.state, slept.call_count))
    assert seen == [
        (ServiceState.OK, 0),
        (ServiceState.DEGRADED, 0),
        (ServiceState.DEGRADED, 0),
        (ServiceState.FAILED, 3),
        (ServiceState.FAILED, 3),  # it was waited for once
    ]


def test_a_page_that_is_renewed_late_ends_nothing(bench: Bench, mocker: MockerFixture) -> None:
    """After a suspend its time is over, and the supervisor is as well as before."""
    bench.generator.clock = lambda: 200
    bench.page.publish(ServiceState.OK, 100, 200)
    mocker.patch(
        "hwentropyd.worker.drbg.time.sleep",
        side_effect=lambda _: bench.page.publish(ServiceState.DEGRADED, 0, 300),
    )
    assert bench.generator.state is ServiceState.DEGRADED


@pytest.mark.parametrize("large", [False, True])
def test_a_draw_waits_for_the_seed_of_a_page_that_moved(
    bench: Bench,
    mocker: MockerFixture,
    large: bool,  # noqa: FBT001 (a table)
) -> None:
    """Not a byte comes from the old generation once the page shows a new one."""
    bench.seed(1, fill=b"a")
    bench.page.generation = 2
    waiting = threading.Event()
    # The draw's own look, that of the wait for a seed, and one after it has waited.
    bench.at_look(3, waiting.set)
    mocker.patch.object(module, "SEED_WAIT", PATIENCE)
    drawn: list[bytes] = []

    def draw() -> None:
        if large:
            out = bytearray(32)
            bench.generator.keystream().fill(memoryview(out))
            drawn.append(bytes(out))
        else:
            drawn.append(bench.draw())

    thread = threading.Thread(target=draw)
    thread.start()
    assert waiting.wait(PATIENCE)
    assert drawn == []
    bench.generator.seed(2, bytearray(b"b" * 32))
    thread.join(PATIENCE)
    if large:
        drbg = Drbg(b"worker")
        for seed in (b"a", b"b"):
            drbg.reseed([(b"parent", bytearray(seed * 32))])
        out = bytearray(32)
        drbg.keystream().fill(memoryview(out))
        assert drawn == [bytes(out)]
    else:
        assert drawn == [expected([b"a", b"b"])]


def test_a_draw_waits_for_a_page_that_lags_behind_its_seed(bench: Bench) -> None:
    """The seed comes first; the draw goes on when the page has moved."""
    bench.seed(1, fill=b"a")
    bench.generator.seed(2, bytearray(b"b" * 32))

    def move() -> None:
        bench.page.generation = 2

    bench.at_look(3, move)
    assert bench.draw() == expected([b"a", b"b"])


@pytest.mark.parametrize("seeded", [False, True])
def test_a_seed_that_never_comes_is_an_error(
    bench: Bench,
    mocker: MockerFixture,
    seeded: bool,  # noqa: FBT001 (a table)
) -> None:
    """And not a byte: what was in the buffer is still there."""
    mocker.patch.object(module, "SEED_WAIT", 0.002)
    if seeded:
        bench.seed(1)
    bench.page.generation = 2
    out = bytearray(b"untouched")
    with pytest.raises(SeedNotReceivedError):
        bench.generator.read_into(memoryview(out))
    with pytest.raises(SeedNotReceivedError):
        bench.generator.keystream()
    assert out == b"untouched"
    assert bench.generator.drawn == 0


def test_threads_share_it_and_never_get_the_same_bytes(bench: Bench) -> None:
    """Four at once, over several refills of the block."""
    bench.seed(1)
    drawn: list[list[bytes]] = [[] for _ in range(4)]

    def draw(mine: list[bytes]) -> None:
        mine.extend(bench.draw() for _ in range(500))

    threads = [threading.Thread(target=draw, args=(mine,)) for mine in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    every = [one for mine in drawn for one in mine]
    assert len(set(every)) == len(every) == 2000


def test_what_was_handed_out_is_counted(bench: Bench) -> None:
    """Small draws as they are made, keystreams as they are said to be used; taken once."""
    bench.seed(1)
    bench.draw(32)
    bench.draw(SMALL_BYTES)
    bench.generator.keystream()
    assert bench.generator.take_drawn() == 32 + SMALL_BYTES
    bench.generator.count(5000)
    assert bench.generator.take_drawn() == 5000
    assert bench.generator.take_drawn() == 0
    assert bench.generator.drawn == 32 + SMALL_BYTES + 5000
    assert bench.reports == []


def test_much_is_reported_at_once(bench: Bench) -> None:
    """At every REPORT_BYTES, with all that was not reported yet."""
    bench.seed(1)
    bench.draw(100)
    bench.generator.count(REPORT_BYTES - 101)
    assert bench.reports == []
    bench.generator.count(1)
    assert bench.reports == [REPORT_BYTES]
    bench.generator.count(REPORT_BYTES - 1)
    assert bench.reports == [REPORT_BYTES]
    bench.generator.count(2)
    assert bench.reports == [REPORT_BYTES, REPORT_BYTES + 1]


def test_what_is_forgotten_gives_nothing_and_comes_to_nothing(
    bench: Bench, mocker: MockerFixture
) -> None:
    """Not a byte until the next seed, which is mixed into no old key."""
    mocker.patch.object(module, "SEED_WAIT", 0.002)
    bench.seed(1, fill=b"a")
    bench.draw()
    bench.page.generation = 2  # as Root.forget does
    bench.generator.forget()
    with pytest.raises(SeedNotReceivedError):
        bench.draw()
    with pytest.raises(SeedNotReceivedError):
        bench.generator.lease_seed()
    bench.seed(3, fill=b"b")
    assert bench.draw() == expected([b"b"])
