"""SIGTERM and SIGINT in this process: noted, waking a loop, held back, ignored."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hwentropyd.operating import signals
from hwentropyd.operating.signals import STOP, StopSignals

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The handlers and the mask of this process are as before afterwards."""
    before = {number: signal.getsignal(number) for number in STOP}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP)
def test_a_signal_is_noted(number: int) -> None:
    """And nothing else happens."""
    stop = StopSignals()
    stop.install()
    assert not stop.received
    signal.raise_signal(number)
    assert stop.received


@pytest.mark.parametrize("number", STOP)
def test_a_loop_that_waits_is_woken(number: int) -> None:
    """One that waits in the kernel for nothing else."""
    stop = StopSignals()
    stop.install()

    async def main() -> None:
        told = asyncio.Event()
        with stop.calling(told.set, asyncio.get_running_loop()):
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            async with asyncio.timeout(PATIENCE):
                await told.wait()

    asyncio.run(main())


def test_one_that_came_before_the_loop_is_told() -> None:
    """At once."""
    stop = StopSignals()
    stop.install()
    signal.raise_signal(signal.SIGTERM)
    told: list[bool] = []

    async def main() -> None:
        with stop.calling(lambda: told.append(True), asyncio.get_running_loop()):
            assert told == [True]

    asyncio.run(main())


def test_another_signal_stops_nothing() -> None:
    """It wakes the loop too, which looks which one it was."""
    stop = StopSignals()
    stop.install()
    told: list[bool] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:

        async def main() -> None:
            with stop.calling(lambda: told.append(True), asyncio.get_running_loop()):
                signal.raise_signal(signal.SIGUSR1)
                for _ in range(3):
                    await asyncio.sleep(0)

        asyncio.run(main())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == []


def test_what_is_executed_meanwhile_begins_with_the_signals_held_back() -> None:
    """Until it ignores them: there is no moment at which one would end it."""
    code = (
        "import os, signal\n"
        "from hwentropyd.operating import signals\n"
        "held = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "signals.ignore()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "print(sorted(held) == sorted(signals.STOP))"
    )
    with signals.blocked():
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, timeout=PATIENCE
        )
    assert done.stdout == b"True\n"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(STOP)
