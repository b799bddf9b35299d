"""Real control groups: peers told apart by theirs, and a daemon in one with little memory."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.control_groups import limited, made, named
from support.daemon import ONLY_OS, Daemon, descendants
from support.descriptors import many
from support.raw_client import MAX_READ, OK, READ, ask, request_bytes
from support.users import ALICE, BOB, as_user, needs_root

pytestmark = [pytest.mark.process, needs_root]

#: Half of the default of 4,096 without the operators' reserve.
MOST_OF_ONE = 1984

#: Connects so often as each of so many uids, from within a control group; says how many
#: connections are answered, and holds them until its input ends.
CROWD = """
import json, os, resource, socket, struct, sys
path, group, uids, each = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
with open(group + "/cgroup.procs", "w") as procs:
    procs.write("0")
held, served = [], 0
for uid in range(uids):
    os.seteuid(uid)
    for _ in range(each):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        held.append(sock)
    os.seteuid(0)
for sock in held:
    sock.settimeout(30)
    try:
        sock.sendall(struct.pack(">BBHI", 1, 0, 7, 32))
        served += len(sock.recv(40, socket.MSG_WAITALL)) == 40
    except (BrokenPipeError, ConnectionResetError):
        pass
print(json.dumps(served), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """With the default limits, and open to every user."""
    with Daemon(ONLY_OS) as one:
        one.directory.chmod(0o755)
        yield one


@contextmanager
def group(path: str) -> Generator[Path]:
    """A control group of this name, or a skip."""
    wanted = named(path)
    if wanted is None:
        pytest.skip("no unified hierarchy of control groups is mounted")
    with ExitStack() as stack:
        try:
            there = stack.enter_context(made(wanted))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error.strerror}")
        yield there


@contextmanager
def crowd(daemon: Daemon, where: Path, uids: int, each: int) -> Generator[int]:
    """One that holds its connections; how many of them are served."""
    command = [sys.executable, "-c", CROWD, str(daemon.entropy), str(where), str(uids)]
    with subprocess.Popen(
        [*command, str(each)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        yield int(json.loads(process.stdout.readline()))
        process.stdin.close()


def users(daemon: Daemon) -> dict[tuple[int | None, str], dict[str, Any]]:
    """Those with connections, by uid and control group."""
    listed = daemon.status()["users"]
    return {(one["uid"], one["cgroup"]): one for one in listed if one["connections"]}


def test_containers_that_run_as_root_are_told_apart(daemon: Daemon) -> None:
    """One that takes all it can keeps neither another nor the host's root out."""
    names = [f"machine.slice/hwe-{os.getpid()}-{one}.scope" for one in "ab"]
    with group(names[0]) as first, group(names[1]) as second, ExitStack() as load:
        assert load.enter_context(crowd(daemon, first, 1, 2500)) <= MOST_OF_ONE
        assert load.enter_context(crowd(daemon, second, 1, 20)) == 20
        with daemon.connect() as sock:
            assert ask(sock, 32).status == OK
        found = users(daemon)
        assert {(None, name) for name in names} <= found.keys()
        assert not found[None, names[0]]["operator"]
    daemon.check()


def test_a_container_with_many_uids_is_one_user(daemon: Daemon) -> None:
    """Root in there can be every uid: together they have one share."""
    name = f"machine.slice/hwe-{os.getpid()}-many.scope"
    with group(name) as container, crowd(daemon, container, 25, 120) as served:
        assert 0 < served <= MOST_OF_ONE
        assert users(daemon)[None, name]["connections"] == served
        with as_user(BOB), daemon.connect() as sock:
            assert ask(sock, 32).status == OK
    daemon.check()


def oom_kills(where: Path) -> int:
    """How many processes of a group the kernel has killed for want of memory."""
    lines = (where / "memory.oom_control").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def test_in_300_mb_nobody_is_killed_for_clients_that_never_read() -> None:
    """4,000 connections of four users with large replies; the daemon's memory is limited."""
    wanted = limited(f"hwe-{os.getpid()}")
    if wanted is None:
        pytest.skip("no hierarchy with a controller of memory of its own is mounted")
    with many(), ExitStack() as stack:
        try:
            where = stack.enter_context(made(wanted))
            (where / "memory.limit_in_bytes").write_text(str(300 << 20))
        except OSError as error:
            pytest.skip(f"no control group can be limited here: {error.strerror}")
        daemon = stack.enter_context(Daemon(ONLY_OS))
        daemon.directory.chmod(0o755)
        before = {daemon.pid, *descendants(daemon.pid)}
        for pid in before:
            (where / "cgroup.procs").write_text(str(pid))
        for user in range(ALICE - 3, ALICE + 1):
            with as_user(user):
                for _ in range(1000):
                    sock = stack.enter_context(daemon.connect())
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        sock.sendall(request_bytes(READ, 0, 1, MAX_READ) * 64)
        for _ in range(100):
            with as_user(BOB), daemon.connect() as sock:
                assert ask(sock, 32).status == OK
        # What it has by now is charged to the group: else nothing could be killed in it.
        assert int((where / "memory.usage_in_bytes").read_text()) > 10 << 20
        assert oom_kills(where) == 0
        assert {daemon.pid, *descendants(daemon.pid)} == before
        assert daemon.status()["state"] == "ok"
        daemon.check()
