"""Who may do what, and how much of it."""

import os

from hwentropyd.config.principals import Principal
from hwentropyd.config.schema import Access, LimitsConfig, LimitsFor, UserLimits
from hwentropyd.role import Role
from hwentropyd.serving.access import Rules
from hwentropyd.serving.identity import Peer

EVERYBODY = (Principal("everybody"),)
NGINX = "/system.slice/nginx.service"
CONTAINER = "/machine.slice/machine-web.scope"
OPERATORS = 900


def rules(
    *special: LimitsFor,
    entropy: tuple[Principal, ...] = EVERYBODY,
    stream: tuple[Principal, ...] = EVERYBODY,
    fresh: tuple[Principal, ...] = EVERYBODY,
) -> Rules:
    """With a group of operators."""
    return Rules(Access(entropy, stream, fresh), LimitsConfig(), special, OPERATORS)


def peer(uid: int, *groups: int, cgroup: str = "/", gid: int = 5000) -> Peer:
    """One in the root control group."""
    return Peer(uid, gid, 1, frozenset(groups), cgroup)


def test_by_default_everybody_may_use_everything() -> None:
    """With the limits that the defaults have."""
    rights = rules().of(peer(1000))
    assert rights.roles == {Role.ENTROPY, Role.STREAM}
    assert rights.fresh
    assert not rights.operator
    assert rights.allowance.connections is None
    assert rights.allowance.leases_per_second == LimitsConfig().leases_per_second


def test_who_is_an_operator() -> None:
    """Root, this user and the group, outside of containers."""
    given = rules(entropy=(), stream=(), fresh=())
    for one in (peer(0), peer(os.geteuid()), peer(1000, OPERATORS), peer(1000, gid=OPERATORS)):
        assert given.of(one).operator
        assert given.of(one).roles == {Role.ENTROPY, Role.STREAM}
        assert given.of(one).fresh
    inside = (peer(0, cgroup=CONTAINER), peer(1000, OPERATORS, cgroup=CONTAINER))
    for other in (peer(4242, 1, 2), *inside):
        rights = given.of(other)
        assert (rights.operator, rights.roles, rights.fresh) == (False, frozenset(), False)


def test_without_the_group_nobody_is_in_it() -> None:
    """No process has the group that there is not."""
    given = Rules(Access((), (), ()), LimitsConfig(), (), None)
    assert not given.of(peer(1000, 1, 2)).operator


def test_access_by_user_group_and_unit() -> None:
    """Each socket by itself."""
    given = rules(
        entropy=(Principal("user", "u", 1000), Principal("group", "g", 50)),
        stream=(Principal("unit", "nginx.service"),),
        fresh=(Principal("group", "g", 50),),
    )
    assert given.of(peer(1000)).roles == {Role.ENTROPY}
    assert given.of(peer(1001)).roles == frozenset()
    assert given.of(peer(1001, 50)).roles == {Role.ENTROPY}
    assert given.of(peer(1001, gid=50)).fresh
    assert given.of(peer(1001, cgroup=NGINX)).roles == {Role.STREAM}
    # A user's own manager may call a unit what it likes.
    mine = "/user.slice/user-1001.slice/user@1001.service/nginx.service"
    assert given.of(peer(1001, cgroup=mine)).roles == frozenset()


def test_the_most_precise_figure_holds_key_by_key() -> None:
    """The user's before the unit's before the group's before everybody's."""
    given = rules(
        LimitsFor(Principal("group", "g", 50), UserLimits(connections=1, bytes_per_second=2)),
        LimitsFor(Principal("unit", "nginx.service"), UserLimits(connections=3)),
        LimitsFor(Principal("user", "u", 1000), UserLimits(leases_per_second=4)),
    )
    all_three = given.of(peer(1000, 50, cgroup=NGINX)).allowance
    assert (all_three.leases_per_second, all_three.connections) == (4, 3)
    assert all_three.bytes_per_second == 2
    assert all_three.fresh_per_second == LimitsConfig().fresh_per_second
    assert given.of(peer(1001, 50)).allowance.connections == 1
    assert given.of(peer(1001)).allowance.connections is None


def test_who_is_counted_in_one_place() -> None:
    """A limit on requests or bytes needs one worker, the others do not."""
    who = Principal("user", "u", 1000)
    for limits, pinned in (
        (UserLimits(requests_per_second=1), True),
        (UserLimits(bytes_per_second=1), True),
        (UserLimits(connections=1, leases_per_second=1, fresh_per_second=1), False),
    ):
        assert rules(LimitsFor(who, limits)).of(peer(1000)).allowance.pinned is pinned
