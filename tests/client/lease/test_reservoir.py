"""Both reservoir classes, the compiled one and the one in Python: one set of tests."""

import array
import copy
import ctypes
import gc
import mmap
import os
import pickle
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwentropy.lease import reservoir as module
from hwentropy.lease.reservoir import PythonReservoir, Reservoir, make_reservoir
from hwentropy_core.page import PageReader, PageWriter, boottime
from support import needed
from support.script import run_script

BLOCK = 4096
EPOCH = 7
#: An hour from whenever a test runs.
HOUR = 3600 * 10**9


def compiled(block_bytes: int) -> Reservoir:
    """The C extension's class, or a skip."""
    extension = needed.module("hwentropy._reservoir", "the C extension was not built")
    reservoir: Reservoir = extension.Reservoir(block_bytes)
    return reservoir


@pytest.fixture(params=[compiled, PythonReservoir], ids=["c", "python"])
def make(request: pytest.FixtureRequest) -> Callable[[int], Reservoir]:
    """Makes reservoirs of one class."""
    made: Callable[[int], Reservoir] = request.param
    return made


@pytest.fixture
def page() -> Any:
    """Eight words that stand for a generation page, at epoch 7."""
    words = array.array("Q", bytes(64))
    words[PageReader.EPOCH] = EPOCH
    return words


def content(size: int = BLOCK) -> bytes:
    """Bytes of which none is 0."""
    return bytes(random.Random(1).choices(range(1, 256), k=size))


@pytest.fixture
def full(make: Callable[[int], Reservoir], page: Any) -> Reservoir:
    """A reservoir with a full block, good for an hour."""
    reservoir = make(BLOCK)
    reservoir.block[:] = content()
    reservoir.attach(page)
    reservoir.arm(EPOCH, boottime() + HOUR, BLOCK)
    return reservoir


def test_every_byte_is_given_exactly_once(full: Reservoir) -> None:
    """Takes of all sizes and kinds, one behind the other, are the block."""
    sizes = random.Random(2)
    got = b""
    while full.left:
        size = min(sizes.randrange(100), full.left)
        if sizes.randrange(2):
            out = full.take(size)
            assert out is not None
            got += out
        else:
            buffer = bytearray(size)
            assert full.take_into(buffer)
            got += buffer
    assert got == content()
    assert full.take(1) is None
    assert not full.take_into(bytearray(1))


def test_what_was_taken_is_overwritten(full: Reservoir) -> None:
    """After each take the block holds zeros there, and the rest as it was."""
    for done in range(0, 320, 32):
        full.take(16)
        full.take_into(bytearray(16))
        assert not any(full.block[: done + 32])
        assert full.block[done + 32 :] == content()[done + 32 :]
        assert full.left == BLOCK - done - 32


def test_more_than_is_left_is_not_given(full: Reservoir) -> None:
    """One byte too many gives None, changes nothing, and all that is left is given."""
    assert full.take(BLOCK + 1) is None
    buffer = bytearray(b"\xaa" * (BLOCK + 1))
    assert not full.take_into(buffer)
    assert buffer == b"\xaa" * (BLOCK + 1)
    assert full.left == BLOCK
    assert full.take(BLOCK) == content()
    assert full.left == 0


def test_a_part_of_the_block_is_its_end(full: Reservoir) -> None:
    """`arm` with n gives the last n bytes."""
    full.arm(EPOCH, boottime() + HOUR, 10)
    assert full.take(10) == content()[-10:]
    assert full.take(1) is None


def test_another_epoch_gives_nothing(full: Reservoir, page: Any) -> None:
    """Neither a later nor an earlier epoch than the one it was armed for."""
    for epoch in (EPOCH + 1, EPOCH - 1, 0, 2**64 - 1):
        page[PageReader.EPOCH] = epoch
        assert full.take(1) is None
        assert full.take(0) is None
        assert not full.take_into(bytearray(1))
    page[PageReader.EPOCH] = EPOCH
    assert full.take(BLOCK) == content()


def test_other_words_of_the_page_do_not_matter(full: Reservoir, page: Any) -> None:
    """The epoch alone is compared."""
    for word in set(range(len(page))) - {PageReader.EPOCH}:
        page[word] = 99
    assert full.take(BLOCK) == content()


def test_the_deadline_ends_it(full: Reservoir) -> None:
    """At the deadline nothing is given; `extend` gives the same bytes longer."""
    for over in (boottime(), 1, 0):
        full.extend(over)
        assert full.take(1) is None
        assert not full.take_into(bytearray(1))
    full.extend(boottime() + HOUR)
    assert full.take(BLOCK) == content()


def test_the_last_nanosecond_counts(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the Python class, whose clock can be set: good before the deadline, not at it."""
    reservoir = PythonReservoir(BLOCK)
    reservoir.block[:] = content()
    reservoir.attach(page)
    reservoir.arm(EPOCH, 5000, BLOCK)
    monkeypatch.setattr(module, "boottime", lambda: 4999)
    assert reservoir.take(1) == content()[:1]
    monkeypatch.setattr(module, "boottime", lambda: 5000)
    assert reservoir.take(1) is None


def test_the_clock_goes_on_in_suspend() -> None:
    """`boottime` is CLOCK_BOOTTIME, the one that the C class reads."""
    before = boottime()
    with Path("/proc/uptime").open() as file:
        uptime = float(file.read().split()[0])
    assert abs(before / 1e9 - uptime) < 5


def test_nothing_before_it_is_armed(make: Callable[[int], Reservoir], page: Any) -> None:
    """Neither without a page nor without `arm` is there a byte."""
    reservoir = make(BLOCK)
    reservoir.block[:] = content()
    assert (reservoir.left, reservoir.take(0), reservoir.take(1)) == (0, None, None)
    reservoir.arm(0, boottime() + HOUR, BLOCK)
    assert reservoir.take(1) is None
    assert not reservoir.take_into(bytearray(1))
    reservoir.attach(page)
    assert (reservoir.left, reservoir.take(1)) == (0, None)


def test_disarm_overwrites_all(full: Reservoir) -> None:
    """Nothing is left and the block is zeros."""
    full.disarm()
    assert (full.left, full.take(1)) == (0, None)
    assert not any(full.block)


def test_attach_ends_what_was_armed(full: Reservoir, page: Any) -> None:
    """Bytes of another page's lease are not given, though the epoch be the same."""
    full.attach(page)
    assert (full.left, full.take(1)) == (0, None)


def test_a_wiped_block_cannot_be_armed(full: Reservoir) -> None:
    """A block that ends in zeros gives nothing: nobody is handed wiped memory."""
    full.block[-8:] = bytes(8)
    full.arm(EPOCH, boottime() + HOUR, BLOCK)
    assert (full.left, full.take(1)) == (0, None)
    full.block[-1] = 1
    full.arm(EPOCH, boottime() + HOUR, BLOCK)
    assert full.left == BLOCK


def test_zero_bytes(full: Reservoir) -> None:
    """A take of 0 is empty and costs nothing."""
    assert full.take(0) == b""
    assert full.take_into(bytearray())
    assert full.left == BLOCK


@pytest.mark.parametrize("size", [-1, -(2**63), -(2**80), BLOCK + 1, 2**63, 2**80])
def test_sizes_that_there_are_not(full: Reservoir, size: int) -> None:
    """Negative and huge sizes give None: `random_bytes` says what is wrong with them."""
    assert full.take(size) is None
    assert full.left == BLOCK


@pytest.mark.parametrize("size", [1.0, "1", None, b"1", 2j])
def test_sizes_that_are_no_numbers(full: Reservoir, size: Any) -> None:
    """TypeError, and nothing is lost."""
    with pytest.raises(TypeError):
        full.take(size)
    assert full.left == BLOCK


def test_a_size_is_an_index(full: Reservoir) -> None:
    """Whatever has `__index__` is a size, and its exceptions come through."""

    class Four:
        def __index__(self) -> int:
            return 4

    class Broken:
        def __index__(self) -> int:
            raise ZeroDivisionError

    assert full.take(Four()) == content()[:4]
    assert full.take(True) == content()[4:5]
    with pytest.raises(ZeroDivisionError):
        full.take(Broken())
    assert full.left == BLOCK - 5


@pytest.mark.parametrize(
    "kind", [bytearray, lambda n: array.array("I", bytes(n)), lambda n: mmap.mmap(-1, n)]
)
def test_any_writable_buffer_is_filled(full: Reservoir, kind: Callable[[int], Any]) -> None:
    """Of any item size, over all of its bytes."""
    buffer = kind(64)
    assert full.take_into(buffer)
    with memoryview(buffer) as view, view.cast("B") as flat:
        assert flat == content()[:64]


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (bytes(8), BufferError),
        (memoryview(bytearray(16))[::2], BufferError),
        ("text", TypeError),
        (8, TypeError),
        (None, TypeError),
    ],
    ids=["read-only", "not contiguous", "text", "number", "none"],
)
def test_what_is_no_writable_buffer(
    full: Reservoir, buffer: Any, error: type[Exception]
) -> None:
    """It is refused, and nothing is lost."""
    with pytest.raises(error):
        full.take_into(buffer)
    assert full.left == BLOCK


@pytest.mark.parametrize(
    "wrong", [b"", bytes(8), bytes(31), array.array("Q", bytes(24))], ids=len
)
def test_a_page_that_is_too_short(full: Reservoir, wrong: Any) -> None:
    """ValueError, and the page before it stays in use."""
    with pytest.raises(ValueError, match="not a generation page"):
        full.attach(wrong)
    assert full.take(BLOCK) == content()


@pytest.mark.parametrize("wrong", ["text", 8, None])
def test_a_page_that_is_no_buffer(full: Reservoir, wrong: Any) -> None:
    """TypeError, and the page before it stays in use."""
    with pytest.raises(TypeError):
        full.attach(wrong)
    assert full.take(BLOCK) == content()


def test_a_real_page(make: Callable[[int], Reservoir]) -> None:
    """With the daemon's own page: good until the generation moves, or it fails closed."""
    writer = PageWriter()
    try:
        reader = PageReader(writer.fd)
        writer.generation = 1
        reservoir = make(BLOCK)
        reservoir.block[:] = content()
        reservoir.attach(reader.words)
        reservoir.arm(reader.words[PageReader.EPOCH], boottime() + HOUR, BLOCK)
        del reader
        assert reservoir.take(1) == content()[:1]
        writer.generation = 2
        assert reservoir.take(1) is None
    finally:
        os.close(writer.fd)


@pytest.mark.parametrize("left", [-1, BLOCK + 1])
def test_more_cannot_be_armed_than_there_is(full: Reservoir, left: int) -> None:
    """ValueError, and what was armed stays."""
    with pytest.raises(ValueError, match="more bytes than the block holds"):
        full.arm(EPOCH, 1, left)
    assert full.take(BLOCK) == content()


@pytest.mark.parametrize("size", [-1, 0, 7])
def test_a_reservoir_of_no_size(make: Callable[[int], Reservoir], size: int) -> None:
    """ValueError."""
    with pytest.raises(ValueError, match="at least 8"):
        make(size)


def test_more_than_there_is_memory(make: Callable[[int], Reservoir]) -> None:
    """An error, no crash."""
    for size in (2**62, 2**63 - 1, 2**63 - 4096, 2**64):
        with pytest.raises((OSError, MemoryError, OverflowError, ValueError)):
            make(size)


def test_it_cannot_be_copied_or_pickled(make: Callable[[int], Reservoir]) -> None:
    """TypeError: two of one block would give the same bytes."""
    reservoir = make(BLOCK)
    for way in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            way(reservoir)


def test_it_is_in_no_core_dump_and_wiped_on_fork(make: Callable[[int], Reservoir]) -> None:
    """The kernel says so of its memory: VmFlags dd (do not dump) and wf (wipe on fork)."""
    reservoir = make(BLOCK)
    address = ctypes.addressof(ctypes.c_char.from_buffer(reservoir.block))
    control = address - 4096
    flags: dict[int, set[str]] = {}
    area = range(0)
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            start, end = (int(part, 16) for part in first.split("-"))
            area = range(start, end)
        elif first == "VmFlags:":
            for one in (control, address, address + BLOCK - 1):
                if one in area:
                    flags[one] = set(line.split()[1:])
    assert len(flags) == 3
    assert all({"dd", "wf"} <= found for found in flags.values())


FORK = """
import array, os, sys
from hwentropy.lease.reservoir import PythonReservoir, boottime
if sys.argv[1] == "c":
    from hwentropy._reservoir import Reservoir
else:
    Reservoir = PythonReservoir
page = array.array("Q", [0, 0, 0, 7])
reservoir = Reservoir(4096)
reservoir.block[:] = b"x" * 4096
reservoir.attach(page)
reservoir.arm(7, boottime() + 10**12, 4096)
def check():
    assert (reservoir.left, any(reservoir.block)) == (0, False)
    assert (reservoir.take(1), reservoir.take_into(bytearray(1))) == (None, False)
    # Even with the epoch that wiped memory says:
    page[3] = 0
    assert (reservoir.take(1), reservoir.take(0)) == (None, None)
    reservoir.after_fork()
    reservoir.block[:] = b"y" * 4096
    reservoir.arm(0, boottime() + 10**12, 16)
    assert reservoir.take(16) == b"y" * 16
    if not os.fork():
        assert (reservoir.left, any(reservoir.block)) == (0, False)
        os._exit(0)
    assert os.wait()[1] == 0
if not os.fork():
    try:
        check()
        os._exit(0)
    finally:
        os._exit(1)
assert os.wait()[1] == 0
assert (reservoir.left, reservoir.take(4096)) == (4096, b"x" * 4096)
"""


def test_a_forked_child_holds_nothing(make: Callable[[int], Reservoir]) -> None:
    """Children and grandchildren: zeros and nothing left; the parent keeps all of it."""
    make(BLOCK)
    run_script(FORK, "c" if make is compiled else "python")


def test_threads_get_no_byte_twice(make: Callable[[int], Reservoir], page: Any) -> None:
    """Eight threads empty one block: together they have it, each piece once."""
    size = 4 * 60_000
    reservoir = make(size)
    numbers = array.array("I", range(1, size // 4 + 1))
    reservoir.block[:] = numbers.tobytes()
    reservoir.attach(page)
    reservoir.arm(EPOCH, boottime() + HOUR, size)
    got: list[bytes] = []
    start = threading.Barrier(8)
    switch = sys.getswitchinterval()

    def work() -> None:
        start.wait()
        while (piece := reservoir.take(4)) is not None:
            got.append(piece)

    threads = [threading.Thread(target=work) for _ in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert sorted(int.from_bytes(piece, sys.byteorder) for piece in got) == numbers.tolist()


def test_a_take_within_a_take_gives_nothing(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler in the middle of the Python class's take: None, and nothing shared."""
    reservoir = PythonReservoir(BLOCK)
    reservoir.block[:] = content()
    reservoir.attach(page)
    reservoir.arm(EPOCH, 2, BLOCK)
    nested: list[bytes | None] = []
    seen: list[bool] = []

    def interrupting() -> int:
        seen.append(reservoir.interrupted)
        if not nested:
            nested.append(reservoir.take(16))
        return 1

    monkeypatch.setattr(module, "boottime", interrupting)
    assert reservoir.take(16) == content()[:16]
    assert (nested, seen, reservoir.interrupted) == ([None], [True], False)
    assert reservoir.take(16) == content()[16:32]


class ForkingBlock:
    """A reservoir's block, and a fork at the moment at which bytes are copied out of it."""

    def __init__(self, block: memoryview, after_fork: Callable[[], None]) -> None:
        self._block = block
        self._after_fork = after_fork
        self.child: int | None = None
        """Its process id; 0 in itself."""

    def __len__(self) -> int:
        return len(self._block)

    def __getitem__(self, part: slice) -> memoryview:
        self.child = os.fork()
        if not self.child:
            self._after_fork()
        return self._block[part]


def test_a_fork_within_a_take_gives_no_zeros(page: Any) -> None:
    """Between reservation and copy: no bytes in the child, whose block is wiped, not zeros."""
    reservoir: Any = PythonReservoir(BLOCK)
    reservoir.block[:] = content()
    reservoir.attach(page)
    reservoir.arm(EPOCH, boottime() + HOUR, BLOCK)
    forking = reservoir.block = ForkingBlock(reservoir.block, reservoir.after_fork)
    taken = reservoir.take(16)
    if not forking.child:
        os._exit(0 if taken is None and not reservoir.interrupted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(forking.child, 0)[1]) == 0
    assert taken == content()[:16]


def test_the_faster_class_is_taken_where_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make_reservoir` gives the C class, and the Python one where there is none."""
    assert type(make_reservoir(64)) is type(compiled(64))
    monkeypatch.setitem(sys.modules, "hwentropy._reservoir", None)
    assert type(make_reservoir(64)) is PythonReservoir


def test_memory_and_page_are_given_back(make: Callable[[int], Reservoir]) -> None:
    """Two thousand reservoirs, pages and exceptions leave neither memory nor references."""
    words = array.array("Q", bytes(64))
    buffer = bytearray(8)

    def use() -> None:
        reservoir = make(64 * 1024)
        reservoir.block[-8:] = b"content!"
        for _ in range(3):
            reservoir.attach(words)
        reservoir.arm(0, boottime() + HOUR, 100)
        reservoir.take(16)
        reservoir.take_into(buffer)
        with pytest.raises(ValueError, match="page"):
            reservoir.attach(b"short")
        with pytest.raises(BufferError):
            reservoir.take_into(bytes(8))

    def held() -> tuple[int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return pages, sys.getrefcount(words)

    use()
    pages, references = held()
    for _ in range(2000):
        use()
    after = held()
    # A twentieth of what they had: the interpreter's own memory comes and goes.
    assert after[0] < pages + 2000 * 68 // 4 // 20
    assert after[1] == references
    words.append(1)  # BufferError if one still held the page
    buffer.append(1)


def test_the_block_outlives_its_reservoir(make: Callable[[int], Reservoir]) -> None:
    """A view of the block keeps the memory."""
    block = make(BLOCK).block
    gc.collect()
    block[:] = content()
    assert block == content()


def test_a_released_page_is_not_looked_at(make: Callable[[int], Reservoir], page: Any) -> None:
    """The code that a page's release runs finds the new page in its place."""
    seen: list[bytes | None] = []

    class Loud(bytearray):
        def __del__(self) -> None:
            seen.append(reservoir.take(0))

    reservoir = make(BLOCK)
    reservoir.attach(Loud(64))
    reservoir.attach(page)
    reservoir.arm(EPOCH, boottime() + HOUR, 0)
    gc.collect()
    assert seen == [None]
    assert reservoir.take(0) == b""
