"""A wall clock that is set, by clocks of the test's own and by the machine's."""

import errno
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropyd.events import clock
from hwentropyd.events.clock import (
    STEP,
    ClockWatcher,
    Difference,
    SetTimer,
    WallClock,
    read_difference,
)
from hwentropyd.events.sign import UnwatchedError

SECOND = 1_000_000_000


class Clocks:
    """Boot time and wall clock, and how long it takes to read them."""

    def __init__(self) -> None:
        self.boot = 1_000 * SECOND
        self.offset = 1_700_000_000 * SECOND
        self.takes = 100

    def read(self) -> Difference:
        """As the watcher does."""
        readings = iter((self.boot, self.boot + self.takes))
        middle = self.boot + self.takes // 2 + self.offset
        return read_difference(lambda: next(readings), lambda: middle)


@pytest.mark.parametrize("by", [STEP + 200, -STEP - 200, 3600 * SECOND, -SECOND])
def test_a_clock_that_is_set_is_a_sign_once(by: int) -> None:
    """Forwards, backwards, and by a leap second."""
    clocks = Clocks()
    wall = WallClock(clocks.read())
    clocks.boot += SECOND
    assert not wall.look(clocks.read())
    clocks.offset += by
    assert wall.look(clocks.read())
    assert not wall.look(clocks.read())


def test_time_that_passes_is_none() -> None:
    """A suspend, a slewed rate: both clocks count it alike."""
    clocks = Clocks()
    wall = WallClock(clocks.read())
    for seconds in (1, 86_400, 10**7):
        clocks.boot += seconds * SECOND
        assert not wall.look(clocks.read())


def test_small_steps_do_not_add_up() -> None:
    """A service that corrects by milliseconds, each day of ten years."""
    clocks = Clocks()
    wall = WallClock(clocks.read())
    for _ in range(3650):
        clocks.offset += STEP // 2
        assert not wall.look(clocks.read())


def test_a_reading_that_took_long_neither_cries_nor_hides() -> None:
    """A thread put aside between two clocks: the next look sees what came meanwhile."""
    clocks = Clocks()
    wall = WallClock(clocks.read())
    clocks.takes = 10 * SECOND
    assert not wall.look(clocks.read())
    clocks.offset += 2 * SECOND
    assert not wall.look(clocks.read())
    clocks.takes = 100
    assert wall.look(clocks.read())


@given(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(0, 10**9))
def test_one_offset_is_never_two(offset: int, first: int, second: int) -> None:
    """However long either reading took."""
    one = Difference.between(0, first // 2 + offset, first)
    two = Difference.between(5, 5 + second // 3 + offset, 5 + second)
    assert one.apart(two) == two.apart(one) == 0


def test_the_machines_clocks_are_one_counter() -> None:
    """Nobody sets the clock meanwhile, so their difference stays."""
    first = read_difference()
    assert max(read_difference().apart(first) for _ in range(10_000)) < STEP


def test_the_watcher_looks_at_the_clocks_each_time() -> None:
    """Whether or not the timer woke it."""
    clocks = Clocks()
    watcher = ClockWatcher(SetTimer(), clocks.read)
    assert not watcher.look()
    for _ in range(2):
        clocks.offset += SECOND
        assert watcher.look()
        assert not watcher.look()
    watcher.close()


def told_of(timer: SetTimer) -> dict[str, str]:
    """What proc_pid_fdinfo(5) has of a timer."""
    lines = Path(f"/proc/self/fdinfo/{timer.fd}").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def years_left(timer: SetTimer) -> float:
    """Until it would end."""
    return int(told_of(timer)["it_value"].strip("()").split(",")[0]) / 31_556_952


def test_the_kernel_is_asked_to_cancel_the_timer() -> None:
    """A real one, for ever."""
    timer = SetTimer()
    told = told_of(timer)
    assert int(told["clockid"]) == time.CLOCK_REALTIME
    assert int(told["settime flags"], 8) == 3  # ABSTIME and CANCEL_ON_SET
    assert years_left(timer) > 90
    timer.close()


def test_a_timer_that_was_cancelled_is_set_anew(mocker: MockerFixture) -> None:
    """Only then; the kernel says so by ECANCELED, and another error is another's."""
    timer = SetTimer()
    mocker.patch("hwentropyd.events.clock.time.time", return_value=time.time() + 3e8)
    timer.renew()
    assert years_left(timer) < 101
    canceled = OSError(errno.ECANCELED, "Operation canceled")
    broken = OSError(errno.EIO, "broken")
    mocker.patch("hwentropyd.events.clock.os.read", side_effect=[canceled, broken])
    timer.renew()
    assert years_left(timer) > 105
    with pytest.raises(OSError, match="broken"):
        timer.renew()
    timer.close()


def test_without_the_timer_it_is_not_watched() -> None:
    """And it is said why."""

    def refused() -> SetTimer:
        raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(UnwatchedError, match="Invalid argument"):
        clock.watch(refused)
