"""Whose share a connection draws on, of what the kernel says of its peer."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.serving import identity
from hwentropyd.serving.identity import Peer, ShareKey, parse_cgroup

LOGIN = "/user.slice/user-1000.slice"
DOCKER = "0123456789abcdef"


def peer(uid: int, cgroup: str | None) -> Peer:
    """One in this control group."""
    return Peer(uid, uid, 1, cgroup=cgroup)


def test_in_another_pid_namespace_a_uid_is_all_there_is() -> None:
    """No process is visible to a daemon in a container: its users are told apart."""
    assert Peer(165_535, 1, 0).key == ShareKey(165_535, "?")


@pytest.mark.parametrize(
    ("uid", "cgroup", "key"),
    [
        # A machine without control groups, and a login: one user is one share.
        (1000, "/", ShareKey(1000)),
        (1000, f"{LOGIN}/session-1.scope", ShareKey(1000)),
        (1000, f"{LOGIN}/user@1000.service/app.slice/mine.service", ShareKey(1000)),
        (0, f"{LOGIN}/session-1.scope", ShareKey(0)),
        # A user namespace of the login's: its subordinate uids are not users.
        (165536, f"{LOGIN}/user@1000.service/user.slice/podman-1.scope", ShareKey(1000)),
        (165536, "/user.slice/user-165536.slice/session-1.scope", ShareKey(165536)),
        # Services of the system's manager, each by itself, their users told apart.
        (33, "/system.slice/nginx.service", ShareKey(33, "system.slice/nginx.service")),
        (
            33,
            "/system.slice/system-php.slice/php@2.service/made/below.service",
            ShareKey(33, "system.slice/system-php.slice/php@2.service"),
        ),
        (1000, "/system.slice/ssh.service", ShareKey(1000, "system.slice/ssh.service")),
        # A user namespace in there has thousands of subordinate uids: they are one.
        (
            165_535,
            "/system.slice/ci.service/libpod-payload-1",
            ShareKey(100_000, "system.slice/ci.service"),
        ),
        # Containers, whatever their uids.
        (
            0,
            f"/system.slice/docker-{DOCKER}.scope/below",
            ShareKey(None, f"system.slice/docker-{DOCKER}.scope"),
        ),
        (
            0,
            "/machine.slice/machine-web.scope/payload/system.slice/x.service",
            ShareKey(None, "machine.slice/machine-web.scope"),
        ),
        # No unit is named: docker's cgroupfs driver.
        (0, f"/docker/{DOCKER}/below/it", ShareKey(None, f"docker/{DOCKER}")),
        (0, "/init.scope", ShareKey(0, "init.scope")),
        # It ended, or is not visible: one share for all of those of its uid.
        (1000, None, ShareKey(1000, "?")),
        # Of subordinate uids a user has thousands, and nobody knows any more whose they were.
        (100_000, None, ShareKey(100_000, "?")),
        (165_535, None, ShareKey(100_000, "?")),
    ],
)
def test_whose_share_it_is(uid: int, cgroup: str | None, key: ShareKey) -> None:
    """Two users of one uid are told apart, and nobody makes two of itself."""
    assert peer(uid, cgroup).key == key


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize(
    "cgroup",
    [
        "/machine.slice/machine-web.scope/payload",
        "/machine.slice/systemd-nspawn@web.service/payload/system.slice/x.service",
        f"/system.slice/docker-{DOCKER}.scope",
        f"/docker/{DOCKER}",
        "/kubepods.slice/kubepods-pod1.slice/cri-2.scope",
    ],
)
def test_root_of_a_container_is_one_user_by_all_its_uids(
    cgroup: str, one: int, other: int
) -> None:
    """It can run a process as any of them."""
    assert peer(one, cgroup).key == peer(other, cgroup).key
    assert peer(one, cgroup).key != peer(one, "/machine.slice/machine-other.scope").key


@pytest.mark.parametrize("group", [LOGIN, "/system.slice/nginx.service", "/docker/abc", "/"])
def test_a_daemon_in_a_group_namespace_sees_the_same_users(group: str) -> None:
    """It reads /../.. before the names of groups outside."""
    for uid in (0, 1000, 1001):
        assert peer(uid, f"/../..{group}").key == peer(uid, group).key


BELOW = st.lists(st.sampled_from(["a", "b.service", "user.slice", "x.scope", ".."]), max_size=4)


@given(
    st.sampled_from(
        [
            LOGIN,
            f"{LOGIN}/user@1000.service",
            "/system.slice/nginx.service",
            "/machine.slice/machine-web.scope",
            f"/docker/{DOCKER}",
        ]
    ),
    BELOW,
)
def test_groups_made_below_ones_own_are_no_new_share(own: str, below: list[str]) -> None:
    """Whatever a user or container names them."""
    assert peer(1000, "/".join([own, *below])).key == peer(1000, own).key
    assert peer(1000, "/".join([own, *below])).hosts_own == peer(1000, own).hosts_own


@pytest.mark.parametrize(
    ("cgroup", "unit", "own"),
    [
        ("/", "", True),
        ("/init.scope", "init.scope", True),
        (f"{LOGIN}/session-1.scope", "", True),
        (f"{LOGIN}/user@1000.service/nginx.service", "", True),
        ("/system.slice/nginx.service", "nginx.service", True),
        (f"/system.slice/docker-{DOCKER}.scope", f"docker-{DOCKER}.scope", False),
        (
            "/machine.slice/machine-web.scope/system.slice/nginx.service",
            "machine-web.scope",
            False,
        ),
        (f"/docker/{DOCKER}", "", False),
        ("/kubepods.slice/kubepods-pod1.slice/cri-2.scope", "cri-2.scope", False),
        ("/../other", "", False),
        (None, "", False),
    ],
)
def test_unit_and_host(cgroup: str | None, unit: str, own: bool) -> None:  # noqa: FBT001
    """A unit is one of the system's manager; a container is not the host's own."""
    assert (peer(0, cgroup).unit, peer(0, cgroup).hosts_own) == (unit, own)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/system.slice/a.service\n", "/system.slice/a.service"),
        # A user's own name of a group, which may hold all but a slash and a line feed.
        (
            f"0::{LOGIN}/x\r0::/system.slice/a.service\n",
            f"{LOGIN}/x\r0::/system.slice/a.service",
        ),
        (f"0::{LOGIN}/x\u20280::/a.service\n", f"{LOGIN}/x\u20280::/a.service"),
        # Hybrid: the names are in systemd's own hierarchy.
        (
            "4:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n",
            "/system.slice/a.service",
        ),
        ("1:name=systemd:/\n0::/unified\n", "/unified"),
        ("1:name=systemd:/a:b\n", "/a:b"),
        ("4:memory:/x\n", "/"),
        ("", "/"),
    ],
)
def test_the_hierarchy_with_the_names_is_read(text: str, path: str) -> None:
    """Of version 2, of version 1, and of both beside each other."""
    assert parse_cgroup(text) == path


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket to connect to."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        yield sock


def test_the_kernel_says_who_connected(listening: socket.socket) -> None:
    """This process, with its groups and its control group."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            said = identity.of(accepted)
    assert (said.uid, said.gid, said.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert said.groups == frozenset(os.getgroups())
    assert said.cgroup == parse_cgroup(Path("/proc/self/cgroup").read_text())


def test_a_peer_that_has_ended_has_no_control_group(listening: socket.socket) -> None:
    """Its number may be another's by now: nothing is read of that one."""
    child = os.fork()
    if not child:
        socket.socket(socket.AF_UNIX).connect(listening.getsockname())
        os._exit(0)
    os.waitpid(child, 0)
    accepted, _ = listening.accept()
    with accepted:
        # As if the number had been given to another process at once.
        said = identity.of(accepted, lambda _: "/system.slice/other.service")
    assert (said.pid, said.uid) == (child, os.geteuid())
    if _has_peer_pidfd():
        assert said.cgroup is None


def _has_peer_pidfd() -> bool:
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1])) >= (6, 5)
