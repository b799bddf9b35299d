"""The generation page: what the writer writes readers see, and only the writer writes."""

import ctypes
import fcntl
import mmap
import os
import socket
import tempfile
import time
from collections.abc import Iterator

import pytest

from hwentropy_core.errors import ProtocolError
from hwentropy_core.page import (
    MAGIC,
    PAGE_BYTES,
    PageReader,
    PageWriter,
    ServiceState,
    boottime,
)

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x10 | fcntl.F_SEAL_SEAL


@pytest.fixture
def writer() -> Iterator[PageWriter]:
    page = PageWriter()
    yield page
    os.close(page.fd)


@pytest.fixture
def memfd() -> Iterator[int]:
    """A memfd of one page that starts with the magic, not sealed yet."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, MAGIC.to_bytes(8, "little").ljust(PAGE_BYTES, b"\0"))
    yield fd
    os.close(fd)


def test_a_new_page_says_that_nothing_is_seeded(writer: PageWriter) -> None:
    """Generation 0 and `starting`, for the writer and for a reader."""
    reader = PageReader(writer.fd)
    assert (writer.generation, writer.state) == (0, ServiceState.STARTING)
    assert (reader.generation, reader.state) == (0, ServiceState.STARTING)


@pytest.mark.parametrize("state", ServiceState)
def test_readers_see_what_is_written(writer: PageWriter, state: ServiceState) -> None:
    """Each state and the whole range of generations, by property and by word."""
    reader = PageReader(writer.fd)
    for generation in (1, 2**64 - 1):
        writer.generation = generation
        writer.state = state
        assert (writer.generation, writer.state) == (generation, state)
        assert (reader.generation, reader.state) == (generation, state)
        assert reader.words[PageReader.GENERATION] == generation
        assert reader.words[PageReader.STATE] == state


def test_state_labels_are_those_of_the_protocol() -> None:
    """The names in INFO and in status."""
    assert [state.label for state in ServiceState] == ["starting", "ok", "degraded", "failed"]


def test_a_page_that_came_over_a_socket(writer: PageWriter) -> None:
    """A reader needs the descriptor only while it maps it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [writer.fd])
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
    reader = PageReader(fds[0])
    os.close(fds[0])
    writer.generation = 5
    assert reader.generation == 5


def test_layout_is_the_documented_one(writer: PageWriter) -> None:
    """docs/protocol.md: magic, generation, state and epoch in the first four words."""
    writer.generation = 7
    writer.state = ServiceState.FAILED
    page = memoryview(mmap.mmap(writer.fd, PAGE_BYTES, prot=mmap.PROT_READ)).cast("Q")
    assert list(page[:4]) == [0x31475054_4E455748, 7, 3, 2]
    assert not any(page[4:])
    writer.publish(ServiceState.OK, 11, 12)
    assert list(page[:6]) == [0x31475054_4E455748, 7, 1, 2, 11, 12]
    assert not any(page[6:])


@pytest.mark.parametrize(
    ("state", "times"),
    [
        (ServiceState.STARTING, [0, 0]),
        (ServiceState.OK, [100, 200]),
        (ServiceState.DEGRADED, [0, 200]),
        (ServiceState.FAILED, [0, 0]),
    ],
)
def test_a_state_has_the_times_that_it_lasts(
    writer: PageWriter, state: ServiceState, times: list[int]
) -> None:
    """0 where it is not served at all: to compare with the clock alone is enough."""
    words = PageReader(writer.fd).words
    writer.publish(state, 100, 200)
    assert [words[PageReader.OK_UNTIL], words[PageReader.SERVES_UNTIL]] == times
    writer.state = state  # without an end
    assert [words[PageReader.OK_UNTIL], words[PageReader.SERVES_UNTIL]] == [
        2**63 - 1 if time else 0 for time in times
    ]


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        (ServiceState.STARTING, ["starting"] * 4),
        (ServiceState.OK, ["ok", "degraded", "degraded", "failed"]),
        (ServiceState.DEGRADED, ["degraded", "degraded", "degraded", "failed"]),
        (ServiceState.FAILED, ["failed"] * 4),
    ],
)
def test_a_state_that_is_not_renewed_ends(
    writer: PageWriter, state: ServiceState, seen: list[str]
) -> None:
    """By the reader's clock, whatever has become of the writer."""
    reader = PageReader(writer.fd)
    writer.publish(state, 100, 200)
    assert [reader.state_at(now).label for now in (99, 100, 199, 200)] == seen
    assert reader.state is state


def test_the_clock_of_the_page_goes_on_in_suspend() -> None:
    """CLOCK_BOOTTIME, in nanoseconds."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= boottime() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_epoch_moves_when_leases_end(writer: PageWriter) -> None:
    """A new generation and failing closed end every lease; other states do not."""
    words = PageReader(writer.fd).words
    seen = []
    states = [ServiceState.OK, ServiceState.DEGRADED, ServiceState.FAILED, ServiceState.FAILED]
    for state in states:
        writer.state = state
        seen.append(words[PageReader.EPOCH])
    writer.generation = 1
    seen.append(words[PageReader.EPOCH])
    assert seen == [0, 0, 1, 1, 2]


# Only the writer writes.


def test_no_second_writable_mapping(writer: PageWriter) -> None:
    """Whoever gets the descriptor cannot map the page writable."""
    with pytest.raises(PermissionError):
        mmap.mmap(writer.fd, PAGE_BYTES)


def test_no_writing_through_the_descriptor(writer: PageWriter) -> None:
    """Nor write to it, nor through a descriptor opened anew for writing."""
    with pytest.raises(PermissionError):
        os.pwrite(writer.fd, b"x", 8)
    again = os.open(f"/proc/self/fd/{writer.fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 8)
        with pytest.raises(PermissionError):
            mmap.mmap(again, PAGE_BYTES)
    finally:
        os.close(again)


@pytest.mark.parametrize("size", [0, PAGE_BYTES - 1, PAGE_BYTES + 1])
def test_no_change_of_size(writer: PageWriter, size: int) -> None:
    """The page cannot be cut off under its readers (SIGBUS) nor grown."""
    with pytest.raises(PermissionError):
        os.ftruncate(writer.fd, size)


def test_no_change_of_seals(writer: PageWriter) -> None:
    """The seals are final."""
    with pytest.raises(PermissionError):
        fcntl.fcntl(writer.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_a_readers_mapping_cannot_be_made_writable(writer: PageWriter) -> None:
    """mprotect(PROT_WRITE) on a reader's mapping is refused, and so are its words."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, PAGE_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, writer.fd, 0)
    try:
        assert libc.mprotect(address, PAGE_BYTES, mmap.PROT_READ | mmap.PROT_WRITE) == -1
    finally:
        libc.munmap(address, PAGE_BYTES)
    with pytest.raises(TypeError):
        PageReader(writer.fd).words[1] = 1


# A wrong descriptor.


def test_a_page_without_its_seals_is_refused(memfd: int) -> None:
    """Memory that its sender could still cut off or that others could write is not mapped."""
    with pytest.raises(ProtocolError, match="not sealed"):
        PageReader(memfd)


@pytest.mark.parametrize("seal", [fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, 0x10])
def test_each_seal_is_needed(memfd: int, seal: int) -> None:
    """A page that lacks one of them is refused."""
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS & ~seal)
    with pytest.raises(ProtocolError, match="not sealed"):
        PageReader(memfd)


def test_other_sealed_memory_is_refused(memfd: int) -> None:
    """Without the magic it is not the generation page."""
    os.pwrite(memfd, b"x", 0)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    with pytest.raises(ProtocolError, match="magic"):
        PageReader(memfd)


def test_a_short_page_is_refused(memfd: int) -> None:
    """Less than a page is not mapped."""
    os.ftruncate(memfd, PAGE_BYTES - 1)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    with pytest.raises(ProtocolError, match="cannot be mapped"):
        PageReader(memfd)


def test_a_state_of_a_later_version_is_refused(memfd: int) -> None:
    """An unknown state raises rather than pass for one that is known."""
    os.pwrite(memfd, (4).to_bytes(8, "little"), 16)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, SEALS)
    with pytest.raises(ProtocolError, match="unknown state 4"):
        _ = PageReader(memfd).state


def test_other_descriptors_are_refused() -> None:
    """A regular file, a pipe, a closed and a negative descriptor: ProtocolError."""
    read_end, write_end = os.pipe()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(PAGE_BYTES))
        file.flush()
        for fd in (file.fileno(), read_end, -1):
            # A file on tmpfs knows seals, and has none.
            with pytest.raises(ProtocolError, match=r"cannot be mapped|is not sealed"):
                PageReader(fd)
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(ProtocolError, match="cannot be mapped"):
        PageReader(write_end)
