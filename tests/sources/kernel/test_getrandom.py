"""The kind `os`: real getrandom, and the ways in which it can fail."""

import ctypes
import errno
from collections.abc import Iterable
from itertools import count

import pytest
from pytest_mock import MockerFixture

from hwentropy_sources.contract import SourceError
from hwentropy_sources.kernel import getrandom
from hwentropy_sources.kernel.getrandom import (
    POLL_SECONDS,
    OsRandom,
    read_kernel,
    reseed_interval,
)


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Jump."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> FakeTime:
    """A simulated clock."""
    return FakeTime()


def test_it_claims_full_entropy_by_policy() -> None:
    """H = 8 of 8, in the kernel's group, and it says that nobody measured it."""
    description = OsRandom().describe()
    assert description.group == "kernel-crng"
    assert (description.claim.bits_per_sample, description.claim.min_entropy) == (8, 8.0)
    assert "by policy, not by measurement" in description.claim.provenance


def test_it_is_a_generator_with_a_key_of_256_bits() -> None:
    """No more than that can come of it until the kernel reseeds it."""
    claim = OsRandom().describe().claim
    assert (claim.strength, claim.live) == (256, False)
    assert claim.renewal == f"the kernel reseeds it every {claim.renewal_seconds:g} s"


@pytest.mark.parametrize(
    ("release", "seconds"),
    [
        ("6.1.0-40-amd64", 60.0),
        ("5.18", 60.0),
        ("5.17.3", 300.0),
        ("7.0", 60.0),
        ("odd", 300.0),
    ],
)
def test_the_kernels_interval_is_that_of_its_version(release: str, seconds: float) -> None:
    """CRNG_RESEED_INTERVAL went from 300 s to 60 s; an unknown kernel has the longer one."""
    assert reseed_interval(release) == seconds


@pytest.mark.parametrize("size", [0, 1, 255, 257, 1 << 20])
def test_real_getrandom_gives_every_size(size: int) -> None:
    """Also above 256 bytes, where getrandom may come back short."""
    assert len(OsRandom().read(size, 5.0)) == size


def kernel_gives(mocker: MockerFixture, answers: Iterable[bytes | OSError]) -> list[int]:
    """Have the kernel give these; returns the list of what it was asked for, which grows."""
    coming = iter(answers)
    asked: list[int] = []

    def getrandom_into(view: memoryview) -> int:
        asked.append(len(view))
        answer = next(coming)
        if isinstance(answer, OSError):
            raise answer
        view[: len(answer)] = answer
        return len(answer)

    mocker.patch.object(getrandom, "getrandom_into", getrandom_into)
    return asked


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EAGAIN, BlockingIOError), (errno.EPERM, PermissionError)]
)
def test_an_error_of_the_system_call_is_an_exception(
    mocker: MockerFixture, code: int, kind: type[OSError]
) -> None:
    """Of the kind that Python has for its errno."""
    mocker.patch.object(getrandom, "libc_getrandom", return_value=-1)
    ctypes.set_errno(code)
    with pytest.raises(kind):
        getrandom.getrandom_into(memoryview(bytearray(1)))


def test_short_answers_are_put_together(mocker: MockerFixture, time: FakeTime) -> None:
    """Five answers of one or two bytes make eight, each in its place."""
    parts = [b"ab", b"c", b"de", b"fg", b"h"]
    asked = kernel_gives(mocker, parts)
    assert read_kernel(8, 1.0, time.clock, time.sleep) == b"abcdefgh"
    assert asked == [8, 6, 5, 3, 1]


def test_it_waits_for_a_kernel_that_is_starting(mocker: MockerFixture, time: FakeTime) -> None:
    """EAGAIN three times and then bytes: three pauses, no error."""
    answers: list[bytes | OSError] = [
        BlockingIOError(),
        BlockingIOError(),
        BlockingIOError(),
        b"abcd",
    ]
    kernel_gives(mocker, answers)
    assert OsRandom(clock=time.clock, sleep=time.sleep).read(4, 5.0) == b"abcd"
    assert time.slept == [POLL_SECONDS] * 3


def test_it_gives_up_at_its_timeout(mocker: MockerFixture, time: FakeTime) -> None:
    """A kernel that never starts costs the timeout and not a second more."""
    kernel_gives(mocker, (BlockingIOError() for _ in count()))
    with pytest.raises(SourceError, match=r"not initialised within 0\.12 s") as raised:
        OsRandom(clock=time.clock, sleep=time.sleep).read(4, 0.12)
    assert raised.value.remedy
    assert sum(time.slept) == pytest.approx(0.12)


def test_a_forbidden_getrandom_is_said_so(mocker: MockerFixture, time: FakeTime) -> None:
    """A seccomp filter answers EPERM: the error names the sandbox, not the bytes so far."""
    kernel_gives(mocker, [b"secret", PermissionError(1, "denied")])
    with pytest.raises(SourceError, match="getrandom failed: denied") as raised:
        read_kernel(32, 1.0, time.clock, time.sleep)
    assert "sandbox" in raised.value.remedy
    assert "secret" not in repr(raised.value)
