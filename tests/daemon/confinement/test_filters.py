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


#: Older forms of calls, for which newer architectures have the newer form alone.
X86_ONLY = {
    *("open", "stat", "lstat", "poll", "select", "epoll_wait", "access", "readlink"),
    *("dup2", "pipe", "epoll_create", "fork", "vfork", "getpgrp", "pause", "arch_prctl"),
    *("mkdir", "rename", "unlink", "rmdir", "chmod", "symlink", "link", "getrlimit"),
    "setrlimit",
}


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
    assert decide(rules, architecture, "kill", PID, 9) == ALLOW
    for other in (PID + 1, 0, 2**32 - 1, 2**32 - PID):  # its group, all, a group
        assert decide(rules, architecture, "kill", other, 9) == KILL_PROCESS


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


#: AF_UNIX, AF_INET and AF_NETLINK.
UNIX, INET, NETLINK = 1, 2, 16
PRIVATE_FILE, ANONYMOUS = 0x02, 0x22


@ARCHITECTURE
def test_a_collector_makes_the_sockets_that_it_was_given(architecture: Architecture) -> None:
    """Others fail as on a kernel without them; with none given there is none."""
    refused = ERRNO | errno.EAFNOSUPPORT
    some = filters.collector(PID, (UNIX, NETLINK))
    assert decide(some, architecture, "socket", UNIX) == ALLOW
    assert decide(some, architecture, "socket", NETLINK) == ALLOW
    assert decide(some, architecture, "socket", INET) == refused
    for family in (UNIX, INET, NETLINK):
        assert decide(filters.collector(PID, ()), architecture, "socket", family) == refused


@ARCHITECTURE
def test_a_collector_maps_libraries_and_no_code_of_its_own(architecture: Architecture) -> None:
    """Executable from a file and not writable; never anonymous, never made so."""
    rules = filters.collector(PID, ())
    code = READ | EXECUTE
    assert decide(rules, architecture, "mmap", 0, 4096, code, PRIVATE_FILE) == ALLOW
    assert decide(rules, architecture, "mmap", 0, 4096, READ | WRITE, ANONYMOUS) == ALLOW
    for protection, flags in (
        (code, ANONYMOUS),
        (code | WRITE, PRIVATE_FILE),
        (code | WRITE, ANONYMOUS),
    ):
        verdict = decide(rules, architecture, "mmap", 0, 4096, protection, flags)
        assert verdict == KILL_PROCESS
    assert decide(rules, architecture, "mprotect", 0, 4096, code) == KILL_PROCESS


@ARCHITECTURE
def test_a_collector_starts_programs_only_where_it_may(architecture: Architecture) -> None:
    """And then in no namespace of its own, and without signals to others."""
    without = filters.collector(PID, ())
    with_programs = filters.collector(PID, (), programs=True)
    for name in ("execve", "wait4"):
        assert decide(without, architecture, name) == KILL_PROCESS
        assert decide(with_programs, architecture, name) == ALLOW
    for flags in PROCESSES:
        assert decide(without, architecture, "clone", flags) == KILL_PROCESS
        assert decide(with_programs, architecture, "clone", flags) == ALLOW
    assert decide(with_programs, architecture, "clone", 0x10000011) == KILL_PROCESS
    assert decide(without, architecture, "kill", PID + 1) == KILL_PROCESS
    assert decide(with_programs, architecture, "kill", PID + 1) == ERRNO | errno.EPERM


@ARCHITECTURE
def test_a_collector_limits_itself_only(architecture: Architecture) -> None:
    """prlimit(2) of another process of the same user could starve the supervisor."""
    rules = filters.collector(PID, ())
    assert decide(rules, architecture, "prlimit64", 0) == ALLOW
    assert decide(rules, architecture, "prlimit64", PID) == ALLOW
    assert decide(rules, architecture, "prlimit64", PID + 1) == KILL_PROCESS


@ARCHITECTURE
def test_a_collector_keeps_no_files(architecture: Architecture) -> None:
    """The supervisor does, for the seed log; another's code has none to cut or to flush."""
    for name in ("ftruncate", "fsync", "fdatasync"):
        assert decide(filters.supervisor(()), architecture, name, 3) == ALLOW
        assert decide(filters.collector(PID, ()), architecture, name, 3) == KILL_PROCESS


@ARCHITECTURE
@pytest.mark.parametrize(
    "rules", [filters.collector(PID, (UNIX,)), filters.supervisor((UNIX,))], ids=["c", "s"]
)
def test_nobody_types_into_a_terminal(architecture: Architecture, rules: Filter) -> None:
    """A device's own requests pass, TIOCSTI and TIOCLINUX do not."""
    assert decide(rules, architecture, "ioctl", 3, 0x5207) == ALLOW  # RNDRESEEDCRNG
    for request in (0x5412, 0x541C):
        assert decide(rules, architecture, "ioctl", 0, request) != ALLOW


@ARCHITECTURE
def test_the_supervisor_is_refused_and_not_killed(architecture: Architecture) -> None:
    """What it does not need fails with EPERM: its end would be everybody's."""
    rules = filters.supervisor((UNIX, NETLINK))
    assert decide(rules, architecture, "accept4") == ALLOW
    assert decide(rules, architecture, "clone", PROCESSES[0]) == ALLOW
    assert decide(rules, architecture, "clone", 0x10000011) == ERRNO | errno.EPERM
    assert decide(rules, architecture, "socket", INET) == ERRNO | errno.EAFNOSUPPORT
    program = assemble(architecture, *rules)
    io_uring_setup = 425
    verdict = bpf_machine.run(program, architecture.audit, io_uring_setup)
    assert verdict == ERRNO | errno.EPERM


@ARCHITECTURE
def test_every_name_in_a_filter_has_a_number(architecture: Architecture) -> None:
    """A name that is misspelt would allow nothing; x86-64's own are all that aarch64 lacks."""
    every = [filters.worker(PID), filters.supervisor((UNIX,))]
    every += [filters.collector(PID, (UNIX,), programs=flag) for flag in (False, True)]
    names = {rule.name for one in every for rule in one.allowed}
    names |= {name for one in every for name in one.refused}
    known = set().union(*(one.numbers for one in ARCHITECTURES.values()))
    assert names <= known
    assert known <= names | {"seccomp"}
    assert names - architecture.numbers.keys() <= X86_ONLY


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
