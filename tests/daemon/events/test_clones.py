"""All signs together: who is told, what is said, and what one that breaks costs."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropyd.events import clones
from hwentropyd.events.clones import LOOK_SECONDS, SIGNS, WATCHED, CloneWatch
from hwentropyd.events.sign import ForbiddenError, UnwatchedError, Watcher

PATIENCE = 20.0


class AnyWatcher:
    """A watcher that says what the test has it say; with a pipe, where it wakes."""

    def __init__(self, *, wakes: bool) -> None:
        self.wakes: int | None = None
        self.signs: list[bool | Exception] = []
        self.looks = 0
        self.closed = False
        if wakes:
            self.wakes, self._writer = os.pipe2(os.O_NONBLOCK)

    def come(self, sign: bool | Exception = True) -> None:  # noqa: FBT001, FBT002 (it is data)
        """A sign, no sign, or an error at the next look."""
        self.signs.append(sign)
        if self.wakes is not None:
            os.write(self._writer, b"x")

    def look(self) -> bool:
        """As told."""
        self.looks += 1
        sign = self.signs.pop(0) if self.signs else False
        if isinstance(sign, Exception):
            raise sign
        if self.wakes is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wakes, 1)
        return sign

    def close(self) -> None:
        """Once."""
        assert not self.closed
        self.closed = True
        if self.wakes is not None:
            os.close(self.wakes)
            os.close(self._writer)


class Bench:
    """A watch of one sign that wakes, one that is looked at, and one that is not there."""

    def __init__(self) -> None:
        self.noticed: list[str] = []
        self.waker = AnyWatcher(wakes=True)
        self.polled = AnyWatcher(wakes=False)
        self.watch = CloneWatch(
            signs={
                "waker": lambda: self.waker,
                "polled": lambda: self.polled,
                "third": self._refuses,
                "fourth": self._is_not_there,
            },
        )

    def _refuses(self) -> Watcher:
        raise ForbiddenError("it may not be read")

    def _is_not_there(self) -> Watcher:
        raise UnwatchedError("no such device")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)


def run(scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    """In an event loop; afterwards all is closed."""
    bench = Bench()

    async def main() -> None:
        bench.watch.start(asyncio.get_running_loop(), bench.noticed.append)
        try:
            await scenario(bench)
        finally:
            bench.watch.close()

    asyncio.run(main())
    assert bench.waker.closed
    assert bench.polled.closed
    return bench


def test_each_sign_is_told_by_its_name() -> None:
    """Each as often as it comes."""

    async def scenario(bench: Bench) -> None:
        bench.waker.come()
        await bench.until(lambda: bench.noticed == ["waker"])
        bench.polled.come()
        await bench.until(lambda: bench.noticed == ["waker", "polled"])
        bench.waker.come(sign=False)
        await bench.until(lambda: not bench.waker.signs)
        bench.waker.come()
        await bench.until(lambda: len(bench.noticed) == 3)

    assert run(scenario).noticed == ["waker", "polled", "waker"]


def test_what_wakes_is_not_waited_for(mocker: MockerFixture) -> None:
    """Its sign is told of where the next look at all is an hour away."""
    mocker.patch.object(clones, "LOOK_SECONDS", 3600.0)

    async def scenario(bench: Bench) -> None:
        bench.waker.come()
        await bench.until(lambda: bench.noticed == ["waker"])

    run(scenario)


def test_all_are_looked_at_again_and_again() -> None:
    """Every LOOK_SECONDS, and no more often."""

    async def scenario(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await bench.until(lambda: bench.polled.looks == 4)
        assert loop.time() - began >= 3 * LOOK_SECONDS - 0.01

    assert run(scenario).noticed == []


def test_what_may_not_be_watched_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """All that is not is shown; the others are watched."""
    caplog.set_level("INFO")
    bench = Bench()
    assert bench.watch.signs == {
        "waker": WATCHED,
        "polled": WATCHED,
        "third": "it may not be read",
        "fourth": "no such device",
    }
    assert caplog.messages == [
        "the sign of a copied machine `third` is not watched: it may not be read"
    ]
    bench.watch.close()


@pytest.mark.parametrize("which", ["waker", "polled"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ValueError("no count")])
def test_one_that_breaks_is_given_up_and_costs_no_other(
    which: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once and shown; it is looked at no more."""

    async def scenario(bench: Bench) -> None:
        broken, other = bench.waker, bench.polled
        if which == "polled":
            broken, other = other, broken
        broken.come(error)
        await bench.until(lambda: broken.closed)
        looks = broken.looks
        other.come()
        await bench.until(lambda: len(bench.noticed) == 1)
        assert broken.looks == looks

    bench = run(scenario)
    assert "cannot be watched any more" in bench.watch.signs[which]
    assert sum("any more" in message for message in caplog.messages) == 1


def test_what_was_passed_for_the_log_is_used_or_said_to_be_none() -> None:
    """A descriptor that the service manager opened, and one that is no file."""
    reader, writer = os.pipe()
    watch = CloneWatch(reader, {"kernel log": SIGNS["kernel log"]})
    os.close(writer)
    said = "what was passed for it is no log (Illegal seek)"
    assert watch.signs == {"kernel log": said}
    passed = os.open("/dev/null", os.O_RDONLY)
    watch = CloneWatch(passed, {"kernel log": SIGNS["kernel log"]})
    assert watch.signs == {"kernel log": WATCHED}
    watch.close()


def test_a_log_that_nobody_can_wait_for_is_given_up(tmp_path: Path) -> None:
    """A plain file in the place of the device: said, and no end of the daemon."""
    file = tmp_path / "kmsg"
    file.touch()
    watch = CloneWatch(os.open(file, os.O_RDONLY), {"kernel log": SIGNS["kernel log"]})

    async def main() -> None:
        watch.start(asyncio.get_running_loop(), lambda _: None)
        watch.close()

    asyncio.run(main())
    why = "it cannot be watched any more (Operation not permitted)"
    assert watch.signs == {"kernel log": why}


def test_the_real_signs_are_all_tried() -> None:
    """Each is watched here, or has a reason."""
    watch = CloneWatch()
    assert watch.signs.keys() == SIGNS.keys()
    assert all(watch.signs.values())
    assert watch.signs["clock"] == watch.signs["boot id"] == WATCHED
    watch.close()
