"""What each kind of process may ask of the kernel.

    worker      uses what it holds: connections, channel, page
    collector   also opens files, connects sockets and maps libraries
    supervisor  also listens, starts processes and ends them

What is not listed kills a worker or a collector: it is in strange hands or has a bug,
and both show at once, as SIGSYS in the reason.  An errno would be quieter and worse:
libc's abort, refused its own calls, runs into a crash elsewhere.  Only what working code
tries and copes with is refused by an errno.  The supervisor gets EPERM: its end would be
everybody's, and Python makes an exception of it.

What this does not protect against: a path or an address in a call, which a filter cannot
see; the files are Landlock's to guard.
"""

import errno
import fcntl
import socket
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .bpf import ERRNO, KILL_PROCESS, Check, Rule

# asm-generic/mman-common.h, mman.h
_PROT_EXEC: Final = 0x4
_PROT_WRITE: Final = 0x2
_MAP_ANONYMOUS: Final = 0x20

#: What glibc's and musl's pthread_create ask for: a thread that shares everything and
#: no new process.  CLONE_DETACHED (0x400000), which musl adds, means nothing any more.
_THREAD: Final = 0x3D0F00
_ALL_BUT_DETACHED: Final = 0xFFFFFFFF & ~0x400000
#: CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWNS of linux/sched.h.
_NAMESPACES: Final = 0x7E020000

# asm-generic/ioctls.h
_FIONBIO: Final = 0x5421  # setblocking
_TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: types for the user

# linux/prctl.h
_PR_SET_NAME: Final = 15
_PR_GET_NAME: Final = 16
_PR_SET_VMA: Final = 0x53564D41
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47

_F_GET_SEALS: Final = 1034  # linux/fcntl.h

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

#: Reading by path.  A worker is refused it: a traceback looks for its source.
_BY_PATH: Final = (
    *("open", "openat", "readlink", "readlinkat", "getcwd"),
    *("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
)

#: Files and directories, and other things to wait for and to pass data through.
_FILES: Final = (
    *_BY_PATH,
    *("getdents64", "pread64", "pwrite64", "preadv", "preadv2", "fadvise64", "readahead"),
    *("statfs", "fstatfs", "dup", "dup2", "dup3", "flock", "umask"),
    *("pipe", "pipe2", "eventfd2", "epoll_create", "epoll_create1", "signalfd4"),
    *("timerfd_create", "timerfd_settime", "timerfd_gettime"),
    *("inotify_init1", "inotify_add_watch", "inotify_rm_watch"),
)

#: Changing files by path: Landlock forbids it, and Python copes (it caches modules).
_CHANGE_PATHS: Final = (
    *("mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("chmod", "fchmod", "fchmodat", "utimensat", "symlink", "symlinkat", "link", "linkat"),
)

#: Keeping files of one's own: the seed log.
_KEEP_FILES: Final = ("ftruncate", "fsync", "fdatasync")

#: Sockets as a client uses them.
_SOCKETS: Final = ("connect", "setsockopt", "sendmmsg", "recvmmsg")

#: What libraries ask about the machine and themselves, and memory they lock.
_ASK: Final = (
    *("uname", "sysinfo", "times", "getresuid", "getresgid", "getgroups", "getpgrp", "getpgid"),
    *("sched_getparam", "sched_getscheduler", "getpriority", "mincore", "getsid"),
    *("sched_get_priority_max", "sched_get_priority_min", "rt_sigpending", "rt_sigtimedwait"),
    *("mlock", "mlock2", "munlock", "msync", "pause", "capget", "get_robust_list"),
)

#: To start processes, and for a program to start.
_PROGRAMS: Final = (
    *("vfork", "fork", "execve", "wait4", "waitid", "setsid", "setpgid", "close_range"),
    *("chdir", "fchdir", "arch_prctl", "set_tid_address", "getrlimit"),
)

#: To limit and end children: the template, and through it the rest.
_CHILDREN: Final = (
    *("kill", "tgkill", "pidfd_open", "pidfd_send_signal", "setrlimit", "prlimit64"),
    # With which a template and its children give up the rest.
    *("seccomp", "capset", "landlock_create_ruleset", "landlock_add_rule"),
    "landlock_restrict_self",
)

#: clone3 and membarrier: libc falls back to clone (whose flags a filter can see) and
#: to ordinary barriers.
_FALL_BACK: Final = {"clone3": errno.ENOSYS, "membarrier": errno.ENOSYS}


class Filter(NamedTuple):
    """The rules of one kind of process."""

    allowed: tuple[Rule, ...]
    refused: Mapping[str, int]
    """Errno by name."""
    rest: int = KILL_PROCESS


def worker(pid: int) -> Filter:
    """The filter of the worker with this process id."""
    options = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO, socket.SO_RCVBUF, socket.SO_SNDBUF)
    commands = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, _F_GET_SEALS)
    return Filter(
        (
            *_plain(_CONVERSE),
            *_plain(_OWN_AFFAIRS),
            *_threads_and_signals(pid),
            # No page that can be executed, be it new or become so.
            *(Rule(name, (Check(2, (0,), _PROT_EXEC),)) for name in ("mmap", "mprotect")),
            # Not F_SETOWN, which has the kernel send somebody a signal.
            Rule("fcntl", (Check(1, commands),)),
            # Nothing that attaches a program or another socket to one.
            Rule("setsockopt", (Check(1, (socket.SOL_SOCKET,)), Check(2, options))),
            Rule("ioctl", (Check(1, (_FIONBIO,)),)),
        ),
        {**dict.fromkeys((*_BY_PATH, "openat2"), errno.EACCES), **_FALL_BACK},
    )


def collector(pid: int, families: Iterable[int], *, programs: bool = False) -> Filter:
    """The filter of the collector with this process id, which may use these sockets.

    `programs`: it may execute others, which inherit the filter.
    """
    more: list[Rule] = []
    refused: dict[str, int] = {}
    if programs:
        more = [*_plain(_PROGRAMS), Rule("clone", (Check(0, (0,), _NAMESPACES),))]
        # Left behind, they are the template's to end.
        refused = dict.fromkeys(("kill", "tgkill", "prlimit64"), errno.EPERM)
    return Filter(
        (
            *_plain(_OWN_AFFAIRS),
            *_plain(_CONVERSE),
            *_plain(_FILES),
            *_plain(_ASK),
            *_threads_and_signals(pid),
            *_libraries(),
            *_sockets(families),
            _harmless_fcntl(),
            _harmless_ioctl(),
            Rule("prlimit64", (Check(0, (0, pid)),)),
            *more,
        ),
        {
            **refused,
            **dict.fromkeys(_CHANGE_PATHS, errno.EACCES),
            "socket": errno.EAFNOSUPPORT,
            "prctl": errno.EPERM,
            "openat2": errno.ENOSYS,
            **_FALL_BACK,
        },
    )


def supervisor(families: Iterable[int]) -> Filter:
    """The filter of the supervisor; a template that it starts anew inherits it.

    So it leaves what the children's own filters and limits leave, and no less.
    """
    own = (
        *(_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE),
        *(_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS),
        _PR_CAP_AMBIENT,
    )
    return Filter(
        (
            *_plain(_OWN_AFFAIRS),
            *_plain(_CONVERSE),
            *_plain(_FILES),
            *_plain(_CHANGE_PATHS),
            *_plain(_KEEP_FILES),
            *_plain(_ASK),
            *_plain(_PROGRAMS),
            *_plain(_CHILDREN),
            *_libraries(),
            *_sockets(families),
            *_plain(("accept4", "accept", "listen")),
            _harmless_fcntl(),
            _harmless_ioctl(),
            Rule("clone", (Check(0, (0,), _NAMESPACES),)),
            Rule("prctl", (Check(0, own),)),
        ),
        {"socket": errno.EAFNOSUPPORT, "openat2": errno.ENOSYS, **_FALL_BACK},
        rest=ERRNO | errno.EPERM,
    )


def _plain(names: Iterable[str]) -> list[Rule]:
    return [Rule(name) for name in names]


def _threads_and_signals(pid: int) -> list[Rule]:
    return [
        Rule("clone", (Check(0, (_THREAD,), _ALL_BUT_DETACHED),)),
        # To itself and its own threads: kill, abort, raise, pthread_kill.
        Rule("kill", (Check(0, (pid,)),)),
        Rule("tgkill", (Check(0, (pid,)),)),
        # Names of threads and mappings.
        Rule("prctl", (Check(0, (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA)),)),
    ]


def _libraries() -> list[Rule]:
    """Executable pages of files only, and none that can be written to as well."""
    return [
        Rule("mmap", (Check(2, (0,), _PROT_EXEC),)),
        Rule("mmap", (Check(2, (0,), _PROT_WRITE), Check(3, (0,), _MAP_ANONYMOUS))),
        Rule("mprotect", (Check(2, (0,), _PROT_EXEC),)),
    ]


def _sockets(families: Iterable[int]) -> list[Rule]:
    return [
        *_plain(_SOCKETS),
        *(Rule("socket", (Check(0, (family,)),)) for family in families),
        Rule("socketpair", (Check(0, (socket.AF_UNIX,)),)),
        # A netlink socket hears nothing before it; of the others' addresses Landlock
        # guards TCP ports and the paths of Unix sockets.
        Rule("bind"),
    ]


def _harmless_fcntl() -> Rule:
    """All but F_SETOWN, F_SETSIG and F_SETOWN_EX: the kernel would send a signal for it."""
    return Rule("fcntl", (Check(1, (8, 10, 15), other=True),))


def _harmless_ioctl() -> Rule:
    """A device's own requests, whatever they are, but nothing typed into a terminal."""
    return Rule("ioctl", (Check(1, _TERMINAL_INPUT, other=True),))
