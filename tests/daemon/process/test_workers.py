"""Supervisor and workers as processes: what they may touch, and what replaces them."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hwentropyd.channel import Fresh
from hwentropyd.child import Children
from hwentropyd.config.schema import ServerConfig
from hwentropyd.confinement import raise_descriptor_limit
from hwentropyd.seeding.root import Root
from hwentropyd.serving.workers import WorkerPool
from support.daemon import ONLY_OS, PATIENCE, ROOT, Daemon
from support.raw_client import OK, READ, ask, is_closed, read_reply, send_request

pytestmark = pytest.mark.process

#: Only root may look into an undumpable process, which the workers are.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to look into a worker")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon of its own, since its processes are killed; its log has no traceback after."""
    raise_descriptor_limit()
    with Daemon() as one:
        one.wait_for(lambda: len(started_workers(one)) == 2, "serving with both workers")
        yield one
        one.check_log()


def started_workers(daemon: Daemon) -> list[int]:
    """The workers that serve."""
    return [one["pid"] for one in daemon.status()["workers"] if one["serving"]]


def status_of(pid: int) -> str:
    """What the kernel says of a process; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def ended(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    return "State:" not in status_of(pid) or "State:\tZ" in status_of(pid)


@as_root
def test_a_worker_has_no_device_open(daemon: Daemon) -> None:
    """But for /dev/null at its input: sockets, epoll's and Landlock's handles, the page."""
    for pid in daemon.worker_pids():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            target = str(fd.readlink())
            if fd.name == "0":
                assert target == "/dev/null"
            elif fd.name in {"1", "2"}:
                assert target == str(daemon.output)
            else:
                assert not stat.S_ISCHR(fd.stat().st_mode) | stat.S_ISBLK(fd.stat().st_mode)
                assert target.startswith(
                    ("socket:", "anon_inode:", "/memfd:hwentropy-generation")
                ), target


@as_root
def test_the_generation_page_is_read_only_in_a_worker(daemon: Daemon) -> None:
    """The supervisor maps the page writable, every worker read-only."""

    def mappings(pid: int) -> list[str]:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return [line.split()[1] for line in lines if "hwentropy-generation" in line]

    assert mappings(daemon.pid) == ["rw-s"]
    assert [mappings(pid) for pid in daemon.worker_pids()] == [["r--s"], ["r--s"]]


#: Lines of /proc/PID/status.
NO_CAPABILITIES = [f"Cap{kind}:\t{0:016x}" for kind in ("Inh", "Prm", "Eff", "Amb")]


def test_every_thread_of_a_worker_has_given_its_rights_up(daemon: Daemon) -> None:
    """Filter, no new privileges, no capability; Landlock came in the same breath."""
    for pid in daemon.worker_pids():
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
        assert len(threads) > 1
        for thread in threads:
            for line in ("NoNewPrivs:\t1", "Seccomp:\t2", *NO_CAPABILITIES):
                assert line in thread


def test_no_process_leaves_a_core_dump(daemon: Daemon) -> None:
    """The limit is 0 in each, and a worker that crashes leaves no file behind."""
    before = set(daemon.directory.iterdir())
    pids = [daemon.pid, *daemon.worker_pids()]
    for pid in pids:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
    os.kill(pids[1], signal.SIGSEGV)
    daemon.wait_for(lambda: ended(pids[1]), "rid of a crashed worker")
    daemon.wait_for(lambda: "died of SIGSEGV" in daemon.log, "replacing it")
    assert set(daemon.directory.iterdir()) == before


#: Protects its memory as the daemon does and says so; then waits to be looked at.
UNDUMPABLE = """
import ctypes, sys
from hwentropyd.confinement import protect_memory
if sys.argv[1] == "protected":
    protect_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)  # PR_GET_DUMPABLE
"""


@pytest.mark.parametrize(("how", "dumpable"), [("protected", "0"), ("open", "1")])
def test_protected_memory_is_undumpable(how: str, dumpable: str) -> None:
    """After protect_memory the kernel says the process is not dumpable; before, it is."""
    done = subprocess.run(
        [sys.executable, "-c", UNDUMPABLE, how], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == dumpable


def test_a_killed_worker_is_replaced_and_the_other_goes_on(daemon: Daemon) -> None:
    """Its clients see the end and are served when they reconnect; the others notice nothing."""
    killed, spared = daemon.worker_pids()
    with ExitStack() as stack:
        socks = [stack.enter_context(daemon.connect()) for _ in range(10)]
        assert all(ask(sock, 16).status == OK for sock in socks)
        os.kill(killed, signal.SIGKILL)
        daemon.wait_for(lambda: killed not in daemon.worker_pids(), "rid of it")
        lost = []
        for sock in socks:
            try:
                assert ask(sock, 16).status == OK
            except (EOFError, ConnectionError):
                lost.append(sock)
        assert len(lost) == 5
        assert all(is_closed(sock) for sock in lost if sock.fileno() >= 0)
    daemon.check()
    daemon.wait_for(lambda: len(daemon.worker_pids()) == 2, "back to two workers")
    assert spared in daemon.worker_pids()
    assert f"worker {killed} died of SIGKILL: replaced" in daemon.log


def test_an_answer_for_a_worker_that_has_just_gone_is_forgotten() -> None:
    """Its request for fresh entropy may be met in the moment in which it is closed."""

    def nothing(*_: object) -> None:
        """Nobody listens to the worker here."""

    async def scenario() -> None:
        with closing(Children()) as children:
            pool = WorkerPool(
                Root(),
                ServerConfig(workers=1),
                children,
                drawn=nothing,
                want_fresh=nothing,
                ended=nothing,
                refused=nothing,
            )
            pool.start()
            (worker,) = pool.workers
            worker.close()
            pool.workers.clear()
            worker.send(Fresh(1, met=True, live=True))

    asyncio.run(scenario())


def test_losing_all_workers_costs_the_connections_only(daemon: Daemon) -> None:
    """Once every worker is lost, a client that connects waits until a new one serves it."""
    generation = daemon.generation()
    lost = daemon.worker_pids()
    for pid in lost:
        os.kill(pid, signal.SIGKILL)
    daemon.wait_for(lambda: not set(lost) & set(daemon.worker_pids()), "rid of them")
    seen = {daemon.read(32).payload for _ in range(20)}
    assert len(seen) == 20
    assert daemon.generation() >= generation


def test_workers_end_with_a_killed_supervisor(daemon: Daemon) -> None:
    """SIGKILL to the supervisor: no worker goes on alone, whatever its clients do."""
    with daemon.connect() as sock, daemon.connect(daemon.stream) as stream:
        assert ask(sock, 16).status == OK
        assert stream.recv(1)
        workers = daemon.worker_pids()
        assert set(workers) < set(daemon.kill())  # it waits for their end
        assert is_closed(sock)


def test_a_restart_replaces_the_sockets_of_a_crash(daemon: Daemon) -> None:
    """After kill -9 the socket files are still there, and the next daemon serves on them."""
    daemon.kill()
    assert daemon.entropy.exists()
    with pytest.raises(ConnectionRefusedError):
        daemon.connect()
    daemon.start()
    daemon.wait_until_settled()
    daemon.check()


def test_a_second_daemon_on_the_same_directory_gives_way(daemon: Daemon) -> None:
    """It exits with 3 and one sentence; the first goes on with its sockets."""
    inodes = [path.stat().st_ino for path in (daemon.entropy, daemon.stream, daemon.control)]
    done = subprocess.run(
        daemon.command(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 3
    assert f"another hwentropyd serves {daemon.directory}" in done.stderr
    said = done.stderr.splitlines()
    # Where the suite runs with few descriptors, the daemon says so first.
    assert len([line for line in said if "descriptors only" not in line]) == 1
    assert [
        path.stat().st_ino for path in (daemon.entropy, daemon.stream, daemon.control)
    ] == inodes
    daemon.check()


def test_no_output_appears_in_status_or_log(daemon: Daemon) -> None:
    """None of the bytes that were handed out is in what an operator or the journal sees."""
    blocks = [daemon.read(16).payload for _ in range(50)]
    with daemon.connect() as sock:
        blocks += [ask(sock, 2000).payload[:16] for _ in range(50)]
    shown = (repr(daemon.status()) + daemon.log).encode()
    assert b"generation" in shown
    for block in blocks:
        assert block not in shown
        assert block[:4].hex().encode() not in shown
        assert repr(block)[2:-1].encode() not in shown


#: Workers of a template that has imported this do not start while a file is there.
NOT_TODAY = """
import os, sys
if "hwentropyd.template" in sys.orig_argv:
    from hwentropyd import confinement
    confine = confinement.confine_worker
    def confine_worker():
        if os.path.exists(os.environ["NOT_TODAY"]):
            raise OSError("no sandbox today")
        confine()
    confinement.confine_worker = confine_worker
"""


def test_without_workers_the_service_has_failed_and_says_why(tmp_path: Path) -> None:
    """One line of the log, exit code 1 of `hwentropy status`; a client waits, and is served."""
    (tmp_path / "sitecustomize.py").write_text(NOT_TODAY)
    file = tmp_path / "not-today"
    file.touch()
    environment = {"PYTHONPATH": str(tmp_path), "NOT_TODAY": str(file)}
    with Daemon(ONLY_OS, environment=environment, wait=False) as daemon:
        daemon.wait_until_reachable()
        failed = daemon.wait_for_state("failed")
        why = "its process could not start (OSError: no sandbox today)"
        assert failed["reason"] == f"no worker can be started: {why}"
        assert not any(worker["serving"] for worker in failed["workers"])
        shown = subprocess.run(
            [sys.executable, "-m", "hwentropy", "status"],
            env={**os.environ, "HWENTROPY_RUNTIME_DIR": str(daemon.directory)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 1
        assert why in shown.stdout
        with daemon.connect() as sock:
            send_request(sock, READ, 0, 7, 32)
            said = daemon.log
            file.unlink()
            assert read_reply(sock).status == OK
        assert daemon.status()["state"] == "ok"
        assert said.count("a worker cannot be started") == 1
        daemon.check_log()


def test_a_frozen_worker_gets_no_connection(daemon: Daemon) -> None:
    """Soon after it was stopped all newcomers are served by the other one."""
    frozen, well = daemon.worker_pids()
    os.kill(frozen, signal.SIGSTOP)

    def noticed() -> bool:
        return [one["pid"] for one in daemon.status()["workers"] if one["serving"]] == [well]

    daemon.wait_for(noticed, "aware of it")
    for _ in range(20):
        assert daemon.read(16).status == OK
    os.kill(frozen, signal.SIGCONT)
    daemon.wait_for(lambda: len(started_workers(daemon)) == 2, "serving with both again")
    assert daemon.worker_pids() == [frozen, well]
