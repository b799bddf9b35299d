"""Each kind's filter, on both architectures, lets through what it says and no more."""

import ctypes
import errno

import pytest

from hwentropyd.confinement import filters
from hwentropyd.confinement.bpf import ALLOW, ERRNO, KILL_PROCESS, assemble
from hwentropyd.confinement.filters import Filter
from hwentropyd.confinement.system_calls import ARCHITECTURES, Architecture
from support import bpf_machine

PID = 4321
ARCHITECTURE = pytest.mark.parametrize(
    "architecture", [pytest.param(one, id=name) for name, one in ARCHITECTURES.items()]
)

#: pthread_create's flags in glibc and in musl, fork's and vfork's.
THREADS = (0x3D0F00, 0x7D0F00)
PROCESSES = (0x1200011, 0x4111, 0x11, 0)
READ, WRITE, EXECUTE = 1, 2, 4


def decide(rules: Filter, architecture: Architecture, name: str, *arguments: int) -> int:
    """The verdict on a call by name."""
    program = assemble(architecture, *rules)
    return bpf_machine.run(program, architecture.audit, architecture.numbers[name], arguments)


@ARCHITECTURE
def test_a_worker_starts_threads_and_no_process(architecture: Architecture) -> None:
    """The flags of pthread_create pass; those of fork, and a thread with one more, kill."""
    rules = filters.worker(PID)
    for flags in THREADS:
        assert decide(rules, architecture, "clone", flags) == ALLOW
    for flags in (*PROCESSES, THREADS[0] | 0x10000000):
        assert decide(rules, architecture, "clone", flags) == KILL_PROCESS
    assert decide(rules, architecture, "clone3") == ERRNO | errno.ENOSYS


@ARCHITECTURE
def test_a_worker_signals_itself_only(architecture: Architecture) -> None:
    """abort and raise work, and reach nobody else."""
    rules = filters.worker(PID)
    assert decide(rules, architecture, "tgkill", PID, PID + 1, 6) == ALLOW
    assert decide(rules, architecture, "tgkill", PID + 1, PID, 6) == KILL_PROCESS


@ARCHITECTURE
@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_a_worker_has_no_new_executable_page(architecture: Architecture, name: str) -> None:
    """Readable, writable and inaccessible pages pass; executable ones, of any kind, kill."""
    rules = filters.worker(PID)
    for protection in (0, READ, READ | WRITE):
        assert decide(rules, architecture, name, 0, 4096, protection) == ALLOW
    for protection in (EXECUTE, READ | EXECUTE, READ | WRITE | EXECUTE):
        assert decide(rules, architecture, name, 0, 4096, protection) == KILL_PROCESS


@ARCHITECTURE
def test_a_worker_sets_time_limits_and_buffers_of_sockets_only(
    architecture: Architecture,
) -> None:
    """Programs on sockets, terminals' input and signals of descriptors kill."""
    rules = filters.worker(PID)
    assert decide(rules, architecture, "setsockopt", 5, 1, 20) == ALLOW  # SO_RCVTIMEO
    assert decide(rules, architecture, "setsockopt", 5, 1, 26) == KILL_PROCESS  # ATTACH_FILTER
    assert decide(rules, architecture, "setsockopt", 5, 6, 20) == KILL_PROCESS  # IPPROTO_TCP
    assert decide(rules, architecture, "ioctl", 5, 0x5421) == ALLOW  # FIONBIO
    assert decide(rules, architecture, "ioctl", 0, 0x5412) == KILL_PROCESS  # TIOCSTI
    assert decide(rules, architecture, "fcntl", 5, 3) == ALLOW  # F_GETFL
    assert decide(rules, architecture, "fcntl", 5, 8) == KILL_PROCESS  # F_SETOWN


@ARCHITECTURE
def test_the_numbers_are_those_of_libseccomp(architecture: Architecture) -> None:
    """Every number in the table, against a source that others maintain."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    for name, number in architecture.numbers.items():
        found = library.seccomp_syscall_resolve_name_arch(architecture.audit, name.encode())
        assert found == number, name
