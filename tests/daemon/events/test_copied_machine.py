"""What a machine and its copy hand out: the same, until a sign comes, and nothing after."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy.lease.reservoir import PythonReservoir, Reservoir, make_reservoir
from hwentropy_core.page import ServiceState
from hwentropyd.events import acpi, boot_id, clock, kernel_log, uevents
from hwentropyd.events.clones import SIGNS, CloneWatch
from hwentropyd.events.sign import Watcher
from hwentropyd.worker import drbg as worker_module
from hwentropyd.worker.drbg import SeedNotReceivedError
from support.machine import Machine
from support.signs import NEW_GENERATION, leave_network, may_send, send_uevent
from support.snapshot import in_a_copy

FULL = bytes(range(40))


@dataclass
class Source:
    """A healthy one; what it samples is the test's."""

    name: str = "a"
    group: str = "x"
    credited: bool = True
    usable: bool = True
    strength: int | None = None


@pytest.fixture(params=[PythonReservoir, make_reservoir], ids=["python", "c"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """One that serves, with the lease's reservoir in Python or, where it is built, C."""
    make: Callable[[int], Reservoir] = request.param
    return Machine(Source(), make, os.urandom(40))


def test_a_copy_repeats_while_no_sign_has_come(machine: Machine) -> None:
    """Root, workers and leases: all of them go on from the state that was copied."""

    def draw() -> bytes:
        return b"".join([*machine.draws(), bytes(machine.root.child_seed(b"w", 1))])

    other = in_a_copy(draw)
    assert other == draw()
    assert len(other) == 7 * 32


def test_a_copy_repeats_through_a_reseed_of_the_same_samples(machine: Machine) -> None:
    """A kernel's generator that was copied too gives both what the other has."""

    def draw() -> bytes:
        machine.pass_time()
        generation = machine.page.generation
        machine.deliver(FULL)
        assert machine.page.generation == generation + 1
        return b"".join(machine.draws())

    assert in_a_copy(draw) == draw()


def test_a_copy_is_as_private_as_a_machine(machine: Machine) -> None:
    """What it does to its page and its generators nobody else sees: the test's own test."""

    def forget() -> bytes:
        machine.copied("test")
        return bytes([machine.page.generation, machine.state])

    generation = machine.page.generation
    assert in_a_copy(forget) == bytes([generation + 1, ServiceState.STARTING])
    assert (machine.page.generation, machine.state) == (generation, ServiceState.OK)
    assert machine.draws()


Come = Callable[[], object]
"""Has a sign come."""
WatchAndCome = tuple[Callable[[], Watcher], Come]


def in_the_log(mocker: MockerFixture, _: Path) -> WatchAndCome:
    """The kernel writes a record."""
    mocker.patch("hwentropyd.events.kernel_log.os.lseek")
    log, writer = os.pipe()
    record = b"5,412,7310022,-;" + kernel_log.LINE + b"\n"
    return lambda: kernel_log.KernelLog(log), lambda: os.write(writer, record)


def in_the_count(_: MockerFixture, sysfs: Path) -> WatchAndCome:
    """QEMU notifies its device."""
    device, events = sysfs / "bus/acpi/devices/QEMUVGID:00", sysfs / "firmware/acpi/interrupts"
    for folder in (device, events):
        folder.mkdir(parents=True)
    (device / "hid").write_text("QEMUVGID\n")
    (device / "modalias").write_text("acpi:QEMUVGID:VM_GEN_COUNTER:\n")
    (events / "gpe05").write_text("       0\n")
    return lambda: acpi.watch(
        sysfs
    ), lambda: (events / "gpe05").write_text("       1\n") and None


def in_a_uevent(_: MockerFixture, __: Path) -> WatchAndCome:
    """The kernel broadcasts it."""
    if not may_send():
        pytest.skip("only root may have the kernel send a uevent")

    def watch() -> Watcher:
        leave_network()
        return uevents.watch()

    return watch, lambda: send_uevent(NEW_GENERATION)


def in_the_boot_id(_: MockerFixture, folder: Path) -> WatchAndCome:
    """The process is restored under another kernel."""
    path = folder / "boot_id"
    path.write_text("f74bd492-827d-4b1f-ae91-6014e90580cc\n")
    return lambda: boot_id.watch(path), lambda: path.write_text("another\n")


def in_the_clock(_: MockerFixture, __: Path) -> WatchAndCome:
    """Somebody tells the copy the time."""
    offset = [0]

    def come() -> None:
        offset[0] = 3600 * 10**9

    def read() -> clock.Difference:
        return clock.Difference.between(0, offset[0], 100)

    return lambda: clock.ClockWatcher(clock.SetTimer(), read), come


SIGN_BY_SIGN = {
    "kernel log": in_the_log,
    "ACPI event": in_the_count,
    "uevent": in_a_uevent,
    "boot id": in_the_boot_id,
    "clock": in_the_clock,
}


def test_every_sign_is_tried() -> None:
    """Below."""
    assert SIGN_BY_SIGN.keys() == SIGNS.keys()


@pytest.fixture
def impatient(mocker: MockerFixture) -> Iterator[None]:
    """Workers that wait for a seed that does not come give up at once."""
    mocker.patch.object(worker_module, "SEED_WAIT", 0.002)
    return iter(())


def notice(sign: str, watch: Callable[[], Watcher], come: Come, machine: Machine) -> None:
    """Have the sign come, and the event loop of the daemon find it."""
    noticed: list[str] = []

    async def main() -> None:
        watching = CloneWatch(signs={sign: watch})
        watching.start(asyncio.get_running_loop(), noticed.append)
        come()
        async with asyncio.timeout(20.0):
            while not noticed:
                await asyncio.sleep(0.001)
        watching.close()

    asyncio.run(main())
    machine.copied(noticed[0])


def refuses(machine: Machine) -> None:
    """Whoever holds state that makes bytes gives none."""
    assert machine.state is ServiceState.STARTING
    for worker in machine.workers:
        for draw in (lambda: worker.read_into(memoryview(bytearray(32))), worker.keystream):  # noqa: B023
            with pytest.raises(SeedNotReceivedError):
                draw()
    with pytest.raises(RuntimeError, match="not seeded"):
        machine.root.child_seed(b"w", machine.page.generation)
    assert machine.lease.reservoir.take(32) is None
    assert not machine.lease.ready(32)
    with pytest.raises(SeedNotReceivedError):
        machine.draw_lease()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sign", SIGN_BY_SIGN)
def test_a_sign_ends_it(
    machine: Machine, sign: str, mocker: MockerFixture, tmp_path: Path
) -> None:
    """No byte before the new seed; after it nothing of what the other machine gives."""
    watch, come = SIGN_BY_SIGN[sign](mocker, tmp_path)

    def draw() -> bytes:
        notice(sign, watch, come, machine)
        refuses(machine)
        machine.deliver(FULL)
        assert machine.state is ServiceState.OK
        return b"".join(machine.draws())

    other = in_a_copy(draw)
    own = machine.draws()
    machine.pass_time()
    machine.deliver(FULL)  # what the copy had
    own += machine.draws()
    drawn = [other[at : at + 32] for at in range(0, len(other), 32)]
    assert len({*drawn, *own}) == len(drawn) + len(own) == 6 + 12


@pytest.mark.usefixtures("impatient")
def test_samples_from_before_the_sign_are_no_seed(machine: Machine) -> None:
    """Both have them: those that were pooled, and those that were being read."""

    def draw() -> bytes:
        machine.deliver(FULL)
        machine.copied("test")
        machine.deliver(FULL, started=-1.0)
        machine.pass_time()
        refuses(machine)
        return b"refused"

    assert in_a_copy(draw) == b"refused"
