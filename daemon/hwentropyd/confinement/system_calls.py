"""Numbers of the system calls that the filters name, by architecture.

From the kernel's own headers (asm/unistd_64.h, asm-generic/unistd.h, Linux 6.1); a test
holds them to libseccomp's.  Numbers never change once given.
"""

from typing import Final, NamedTuple

#: The last one given when the filters were written: mseal, Linux 6.10.  The numbers of
#: all architectures have gone together since 424.
NEWEST: Final = 462

#: Name, number on x86-64 and on aarch64; -1 where there is none.
_TABLE: Final[tuple[tuple[str, int, int], ...]] = (
    ("read", 0, 63),
    ("write", 1, 64),
    ("open", 2, -1),
    ("close", 3, 57),
    ("stat", 4, -1),
    ("fstat", 5, 80),
    ("lstat", 6, -1),
    ("poll", 7, -1),
    ("lseek", 8, 62),
    ("mmap", 9, 222),
    ("mprotect", 10, 226),
    ("munmap", 11, 215),
    ("brk", 12, 214),
    ("rt_sigaction", 13, 134),
    ("rt_sigprocmask", 14, 135),
    ("rt_sigreturn", 15, 139),
    ("ioctl", 16, 29),
    ("readv", 19, 65),
    ("writev", 20, 66),
    ("access", 21, -1),
    ("select", 23, -1),
    ("sched_yield", 24, 124),
    ("mremap", 25, 216),
    ("madvise", 28, 233),
    ("nanosleep", 35, 101),
    ("getpid", 39, 172),
    ("sendto", 44, 206),
    ("recvfrom", 45, 207),
    ("sendmsg", 46, 211),
    ("recvmsg", 47, 212),
    ("shutdown", 48, 210),
    ("getsockname", 51, 204),
    ("getpeername", 52, 205),
    ("setsockopt", 54, 208),
    ("getsockopt", 55, 209),
    ("clone", 56, 220),
    ("exit", 60, 93),
    ("fcntl", 72, 25),
    ("getcwd", 79, 17),
    ("readlink", 89, -1),
    ("gettimeofday", 96, 169),
    ("getrusage", 98, 165),
    ("getuid", 102, 174),
    ("getgid", 104, 176),
    ("geteuid", 107, 175),
    ("getegid", 108, 177),
    ("getppid", 110, 173),
    ("sigaltstack", 131, 132),
    ("prctl", 157, 167),
    ("gettid", 186, 178),
    ("futex", 202, 98),
    ("sched_getaffinity", 204, 123),
    ("restart_syscall", 219, 128),
    ("clock_gettime", 228, 113),
    ("clock_getres", 229, 114),
    ("clock_nanosleep", 230, 115),
    ("exit_group", 231, 94),
    ("epoll_wait", 232, -1),
    ("epoll_ctl", 233, 21),
    ("tgkill", 234, 131),
    ("openat", 257, 56),
    ("newfstatat", 262, 79),
    ("readlinkat", 267, 78),
    ("faccessat", 269, 48),
    ("pselect6", 270, 72),
    ("ppoll", 271, 73),
    ("set_robust_list", 273, 99),
    ("epoll_pwait", 281, 22),
    ("getcpu", 309, 168),
    ("seccomp", 317, 277),
    ("getrandom", 318, 278),
    ("membarrier", 324, 283),
    ("statx", 332, 291),
    ("rseq", 334, 293),
    ("clone3", 435, 435),
    ("openat2", 437, 437),
    ("faccessat2", 439, 439),
    ("epoll_pwait2", 441, 441),
)


class Architecture(NamedTuple):
    """One machine's system calls."""

    audit: int
    """AUDIT_ARCH_* of linux/audit.h, as a filter sees it."""
    numbers: dict[str, int]


#: By the machine's name as uname(2) has it.
ARCHITECTURES: Final = {
    "x86_64": Architecture(0xC000003E, {name: at for name, at, _ in _TABLE if at >= 0}),
    "aarch64": Architecture(0xC00000B7, {name: at for name, _, at in _TABLE if at >= 0}),
}
