"""Lets a test have any process of a daemon try what it must not be able to do.

With this directory in PYTHONPATH the interpreter imports this at its start, before the
daemon's own code.  Each attempt waits for a real-time signal of its own, whose handler
makes it in the main thread and appends one line to the file ATTEMPT_REPORT:

    attempt NAME by PID: done | ERRNO

A process that is killed for it writes nothing.  All modules are imported here, as a
confined process can import no more.  ATTEMPT_DIRECTORY is the daemon's runtime
directory and ATTEMPT_FILE another's file; on ATTEMPT_PORT of this machine somebody takes
TCP connections.
"""

import ctypes
import errno
import mmap
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_directory = Path(os.environ.get("ATTEMPT_DIRECTORY", "/nonexistent"))
_file = os.environ.get("ATTEMPT_FILE", "/nonexistent")
_port = int(os.environ.get("ATTEMPT_PORT", "1"))
_PTRACE, _UNSHARE, _BPF = {"x86_64": (101, 272, 321), "aarch64": (117, 97, 280)}[
    os.uname().machine
]
# The same on both.
_IO_URING_SETUP, _PIDFD_OPEN, _PIDFD_SEND_SIGNAL = 425, 434, 424
_PTRACE_SEIZE = 0x4206
_CLONE_NEWUSER = 0x10000000
_PRIVATE_ANONYMOUS = 0x22


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(number, *arguments))


def _tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", _port))


def _udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"attempt", ("127.0.0.1", _port))


def _reseed() -> None:
    """Not waiting for the answer: the supervisor may be who asks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(_directory / "control.sock"))
        sock.sendall(b'{"method": "org.hwentropy.Control.Reseed"}\0')


def _fork() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _execute() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _execute_memfd() -> None:
    fd = os.memfd_create("attempt")
    try:
        os.write(fd, Path("/bin/true").read_bytes())
        os.waitpid(os.posix_spawn(f"/proc/self/fd/{fd}", ["true"], {}), 0)
    finally:
        os.close(fd)


def _writable_executable() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _made_executable() -> None:
    size = ctypes.c_size_t(4096)
    page = ctypes.c_void_p(
        _libc.mmap(None, size, mmap.PROT_READ, _PRIVATE_ANONYMOUS, -1, ctypes.c_long(0))
    )
    _checked(_libc.mprotect(page, size, mmap.PROT_READ | mmap.PROT_EXEC))


def _io_uring() -> None:
    os.close(_syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(120)))


def _bpf() -> None:
    """BPF_MAP_CREATE of an array of one."""
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
    os.close(_syscall(_BPF, 0, attributes, ctypes.sizeof(attributes)))


def _signal() -> None:
    os.kill(os.getppid(), 0)


def _signal_pidfd() -> None:
    fd = _syscall(_PIDFD_OPEN, os.getppid(), 0)
    try:
        _syscall(_PIDFD_SEND_SIGNAL, fd, 0, None, 0)
    finally:
        os.close(fd)


def _trace() -> None:
    """The tracer's end sets its parent free again; it has not been stopped."""
    _syscall(_PTRACE, _PTRACE_SEIZE, os.getppid(), None, None)


def _memory() -> None:
    os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY))


def _read_file() -> None:
    os.close(os.open(_file, os.O_RDONLY))


def _write_file() -> None:
    os.close(os.open(_file, os.O_WRONLY))


def _make_file() -> None:
    path = _directory / "made"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.unlink()


def _device() -> None:
    os.close(os.open("/dev/ptmx", os.O_RDWR))


def _kernel_memory() -> None:
    os.close(os.open("/dev/mem", os.O_RDONLY))


def _namespace() -> None:
    _syscall(_UNSHARE, _CLONE_NEWUSER)


#: By what docs/security.md calls it.
ATTEMPTS: dict[str, Callable[[], None]] = {
    "connect over TCP": _tcp,
    "send over UDP": _udp,
    "call `Reseed` on control.sock": _reseed,
    "fork": _fork,
    "execute a program": _execute,
    "execute from a memfd": _execute_memfd,
    "map memory writable and executable": _writable_executable,
    "make memory executable": _made_executable,
    "io_uring": _io_uring,
    "bpf": _bpf,
    "signal its parent": _signal,
    "signal its parent by a pidfd": _signal_pidfd,
    "trace its parent": _trace,
    "open its parent's memory": _memory,
    "read a user's file": _read_file,
    "write to a user's file": _write_file,
    "make a file in the runtime directory": _make_file,
    "open a device (/dev/ptmx)": _device,
    "open /dev/mem": _kernel_memory,
    "make a user namespace": _namespace,
}


def signal_number(name: str) -> int:
    """The signal that has a process make this attempt."""
    return signal.SIGRTMIN + 1 + list(ATTEMPTS).index(name)


def outcome(name: str) -> str:
    """Make an attempt; `done`, or the name of the errno."""
    try:
        ATTEMPTS[name]()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _handle(number: int, frame: object) -> None:
    name = list(ATTEMPTS)[number - signal.SIGRTMIN - 1]
    os.write(_report, f"attempt {name} by {os.getpid()}: {outcome(name)}\n".encode())


if "ATTEMPT_REPORT" in os.environ:
    _report = os.open(os.environ["ATTEMPT_REPORT"], os.O_WRONLY | os.O_APPEND)
    for _name in ATTEMPTS:
        signal.signal(signal_number(_name), _handle)
