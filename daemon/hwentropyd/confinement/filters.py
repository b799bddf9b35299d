"""What each kind of process may ask of the kernel.

What is not listed kills the process: it is in strange hands or has a bug, and both
show at once, as SIGSYS in the log.  An errno would be quieter and worse: libc's
abort, refused its own calls, runs into an endless loop or a crash elsewhere.
Only what working code tries and copes with is refused by an errno.

    worker      uses what it holds: connections, channel, page
"""

import errno
import fcntl
import socket
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .bpf import Check, Rule

_PROT_WRITE_EXEC: Final = 0x6  # PROT_WRITE | PROT_EXEC, asm-generic/mman-common.h
_PROT_EXEC: Final = 0x4

#: What glibc's and musl's pthread_create ask for: a thread that shares everything and
#: no new process.  CLONE_DETACHED (0x400000), which musl adds, means nothing any more.
_THREAD: Final = 0x3D0F00
_ALL_BUT_DETACHED: Final = 0xFFFFFFFF & ~0x400000

_FIONBIO: Final = 0x5421  # asm-generic/ioctls.h; setblocking
_PR_SET_NAME: Final = 15
_PR_SET_VMA: Final = 0x53564D41
_F_GET_SEALS: Final = 1034

#: Memory, threads, time, its own signals, its end, and what it has open.
_OWN_AFFAIRS: Final = (
    # Often first: before Linux 5.11 the filter is walked through each time.
    *("futex", "read", "write", "readv", "writev", "close", "fstat", "lseek"),
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl"),
    *("poll", "ppoll", "select", "pselect6"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday"),
    *("munmap", "mremap", "madvise", "brk"),
    *("sched_yield", "sched_getaffinity", "getcpu", "set_robust_list", "rseq"),
    *("rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack", "restart_syscall"),
    *("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid"),
    *("getrandom", "getrusage", "exit", "exit_group"),
)

#: To ask and answer over connected sockets.
_CONVERSE: Final = (
    *("recvfrom", "sendto", "recvmsg", "sendmsg", "shutdown"),
    *("getsockname", "getpeername", "getsockopt"),
)

#: By path, whatever the path: a traceback looks for its source, an import for its module.
_BY_PATH: Final = (
    *("open", "openat", "openat2", "readlink", "readlinkat", "getcwd"),
    *("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
)

#: clone3 and membarrier: libc falls back to clone (whose flags a filter can see) and
#: to ordinary barriers.
_FALL_BACK: Final = {"clone3": errno.ENOSYS, "membarrier": errno.ENOSYS}


class Filter(NamedTuple):
    """The rules of one kind of process."""

    allowed: tuple[Rule, ...]
    refused: Mapping[str, int]
    """Errno by name."""


def worker(pid: int) -> Filter:
    """The filter of the worker with this process id."""
    options = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO, socket.SO_RCVBUF, socket.SO_SNDBUF)
    return Filter(
        (
            *_plain(_CONVERSE),
            *_plain(_OWN_AFFAIRS),
            *_threads_and_signals(pid),
            *_data_only(),
            *_descriptor_flags(),
            # Nothing that attaches a program or another socket to one.
            Rule("setsockopt", (Check(1, (socket.SOL_SOCKET,)), Check(2, options))),
            Rule("ioctl", (Check(1, (_FIONBIO,)),)),
        ),
        {**dict.fromkeys(_BY_PATH, errno.EACCES), **_FALL_BACK},
    )


def _plain(names: Iterable[str]) -> list[Rule]:
    return [Rule(name) for name in names]


def _threads_and_signals(pid: int) -> list[Rule]:
    return [
        Rule("clone", (Check(0, (_THREAD,), _ALL_BUT_DETACHED),)),
        # To its own threads: abort, raise, pthread_kill.
        Rule("tgkill", (Check(0, (pid,)),)),
        # Names of threads and mappings.
        Rule("prctl", (Check(0, (_PR_SET_NAME, _PR_SET_VMA)),)),
    ]


def _data_only() -> list[Rule]:
    """No page that can be executed, be it new or become so."""
    return [Rule(name, (Check(2, (0,), _PROT_EXEC),)) for name in ("mmap", "mprotect")]


def _descriptor_flags() -> list[Rule]:
    """Not F_SETOWN and F_SETSIG, which have the kernel send somebody a signal."""
    commands = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, _F_GET_SEALS)
    return [Rule("fcntl", (Check(1, commands),))]
