"""The kind `cpu`: RDRAND by way of the kernel."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.kernel.getrandom import OsRandom
from hwentropy_sources.kernel.reseed import (
    RESEED_SECONDS,
    RNDRESEEDCRNG,
    CpuViaKernel,
    cpu_flags,
    trust_cpu,
)

BOTH = "processor\t: 0\nflags\t: rdrand rdseed sse\n\nprocessor\t: 1\nflags\t: rdseed rdrand\n"
NEITHER = "processor\t: 0\nflags\t\t: fpu sse\nbugs\t: rdrand\n"


def open_fds() -> set[str]:
    """The descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


class Machine:
    """The files a `cpu` source looks at, and a clock that is moved by hand."""

    def __init__(self, root: Path) -> None:
        self.cpuinfo = root / "cpuinfo"
        self.cmdline = root / "cmdline"
        self.device = root / "urandom"
        self.now = 10.0
        self.cpuinfo.write_text(BOTH)
        self.cmdline.write_text("quiet random.trust_cpu=0\n")
        self.device.touch()

    def source(self) -> CpuViaKernel:
        """A source on this machine."""
        return CpuViaKernel(
            cpuinfo=self.cpuinfo,
            cmdline=self.cmdline,
            device=self.device,
            clock=lambda: self.now,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose CPU has both instructions."""
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        (BOTH, {"rdrand", "rdseed"}),
        ("flags : rdrand rdseed\nflags : rdrand\n", {"rdrand"}),
        ("flags : rdrand_like xrdseed\n", set[str]()),
        (NEITHER, set[str]()),
        ("Features\t: fp asimd rng\n", set[str]()),
        ("", set[str]()),
        ("flags\n", set[str]()),
    ],
)
def test_flags_are_those_that_every_processor_has(cpuinfo: str, flags: set[str]) -> None:
    """Only the whole words of `flags` lines count, and only where all processors agree."""
    assert cpu_flags(cpuinfo) == flags


@pytest.mark.parametrize(
    ("cmdline", "release", "said"),
    [
        ("", "6.2.0", "on (the kernel's default)"),
        ("", "6.18.44-x", "on (the kernel's default)"),
        ("", "7.0", "on (the kernel's default)"),
        ("", "6.1.0-40-amd64", "as the kernel was built (CONFIG_RANDOM_TRUST_CPU)"),
        ("", "odd", "as the kernel was built (CONFIG_RANDOM_TRUST_CPU)"),
        ("ro random.trust_cpu=1 quiet", "6.1.0", "on (kernel command line)"),
        ("random.trust_cpu=off", "6.18", "off (kernel command line)"),
        ("random.trust_cpu=on random.trust_cpu=N", "6.18", "off (kernel command line)"),
        ("xrandom.trust_cpu=off", "6.18", "on (the kernel's default)"),
    ],
)
def test_trust_cpu_is_told_as_the_kernel_takes_it(
    cmdline: str, release: str, said: str
) -> None:
    """The last setting on the command line, else the default of that kernel."""
    assert trust_cpu(cmdline, release) == said


def test_it_shares_the_group_of_os() -> None:
    """Both read the kernel's generator, so they are credited once."""
    cpu, system = CpuViaKernel().describe(), OsRandom().describe()
    assert cpu.group == system.group
    assert cpu.claim == system.claim


def test_the_real_kernel_answers() -> None:
    """On this machine: bytes, and facts that say what the kernel was asked."""
    source = CpuViaKernel()
    try:
        source.open()
    except SourceAbsent as absent:
        pytest.skip(str(absent))
    assert len(source.read(1000, 5.0)) == 1000
    facts = source.describe().facts
    source.close()
    assert "rd" in facts["flags"]
    may_ask = os.geteuid() == 0 and "asked before reads" in facts["reseed"]
    assert may_ask or facts["reseed"].startswith(("not permitted", "cannot be asked"))


def test_it_asks_once_a_second_at_most(mocker: MockerFixture, machine: Machine) -> None:
    """The first read asks, the next waits out its second, and the ioctl is the kernel's."""
    ioctl = mocker.patch.object(fcntl, "ioctl")
    source = machine.source()
    source.open()
    assert source.describe().facts["reseed"] == "not asked yet"
    for _ in range(3):
        source.read(4, 1.0)
    assert [call.args[1] for call in ioctl.call_args_list] == [RNDRESEEDCRNG]
    machine.now += RESEED_SECONDS
    source.read(4, 1.0)
    assert ioctl.call_count == 2
    assert source.describe().facts["reseed"].startswith("asked before reads")
    source.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, "not permitted (needs CAP_SYS_ADMIN)"),
        (errno.ENOTTY, "not possible (Inappropriate ioctl for device)"),
    ],
)
def test_a_refusal_is_a_fact_and_not_a_failure(
    mocker: MockerFixture, machine: Machine, number: int, said: str
) -> None:
    """Who may not ask still reads; the kernel is not asked in vain a second time."""
    error = OSError(number, os.strerror(number))
    ioctl = mocker.patch.object(fcntl, "ioctl", side_effect=error)
    source = machine.source()
    source.open()
    assert len(source.read(16, 1.0)) == 16
    machine.now += 10 * RESEED_SECONDS
    assert len(source.read(16, 1.0)) == 16
    assert ioctl.call_count == 1
    assert said in source.describe().facts["reseed"]
    source.close()


def test_a_kernel_that_is_starting_is_asked_again(
    mocker: MockerFixture, machine: Machine
) -> None:
    """ENODATA means not initialised yet, so the next read asks once more."""
    starting = OSError(errno.ENODATA, "no data")
    ioctl = mocker.patch.object(fcntl, "ioctl", side_effect=[starting, 0])
    source = machine.source()
    source.open()
    source.read(4, 1.0)
    assert "not initialised" in source.describe().facts["reseed"]
    source.read(4, 1.0)
    assert ioctl.call_count == 2
    assert source.describe().facts["reseed"].startswith("asked before reads")
    source.close()


def test_without_the_device_it_reads_and_says_so(machine: Machine) -> None:
    """No /dev/urandom (a bare chroot): getrandom needs none."""
    machine.device.unlink()
    source = machine.source()
    source.open()
    assert len(source.read(16, 1.0)) == 16
    assert source.describe().facts["reseed"].startswith("cannot be asked")


def test_a_cpu_without_the_instructions_is_absent(machine: Machine) -> None:
    """Absent, with the reason and what to do."""
    machine.cpuinfo.write_text(NEITHER)
    source = machine.source()
    with pytest.raises(SourceAbsent, match="neither RDRAND nor RDSEED") as raised:
        source.open()
    assert raised.value.remedy
    with pytest.raises(SourceError, match="not open"):
        source.read(4, 1.0)


def test_a_hidden_cpuinfo_is_absent(machine: Machine) -> None:
    """Where the sandbox hides /proc/cpuinfo, it says which setting does."""
    machine.cpuinfo.unlink()
    with pytest.raises(SourceAbsent, match="cannot read") as raised:
        machine.source().open()
    assert "ProcSubset" in raised.value.remedy


def test_a_hidden_command_line_is_only_a_fact(machine: Machine) -> None:
    """random.trust_cpu is then unknown, and the source goes on."""
    machine.cmdline.unlink()
    source = machine.source()
    source.open()
    assert source.describe().facts["random.trust_cpu"].startswith("unknown")
    source.close()


def test_close_lets_go_of_the_device(machine: Machine) -> None:
    """The descriptor is closed once, and close may come again."""
    before = open_fds()
    source = machine.source()
    source.open()
    source.open()
    source.close()
    source.close()
    assert open_fds() == before
