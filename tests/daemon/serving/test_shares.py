"""The accounts of all users: fair whatever comes in which order, and never negative."""

# pyright: reportPrivateUsage=false

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hwentropyd.serving.identity import ShareKey
from hwentropyd.serving.shares import (
    LARGE,
    LOG_SECONDS,
    REMEMBERED,
    SHOWN,
    SMALL,
    Admission,
    Allowance,
    Budget,
    Shares,
)

FREELY = Allowance()


def fill(budget: Budget, user: int, *, operator: bool = False) -> int:
    """Let a user take all that it gets; returns how much."""
    got = 0
    while budget.charge(user, 1, operator=operator):
        got += 1
    return got


@given(st.integers(2, 5000), st.integers(1, 12))
def test_no_number_of_users_starves_a_newcomer(total: int, users: int) -> None:
    """Each in turn takes all it can, twice; whoever comes next has its part of the rest."""
    budget = Budget(total)
    for user in [*range(users), *range(users)]:
        fill(budget, user)
    free = budget.free
    # T / (k + 1), less what rounding to whole connections takes from it.
    assert free >= min(total - max(1, total // 32), total // (users + 1)) - total // 32 - users
    if free:
        assert fill(budget, users) >= max(1, free // (users + 2))


def test_alone_half_then_a_sixth_then_a_twelfth() -> None:
    """1 / (k (k + 1)) of what is not reserved: 3,968 of 4,096."""
    budget = Budget(4096)
    assert [fill(budget, user) for user in range(4)] == [1984, 661, 330, 198]
    assert fill(budget, 0) == 0


@given(st.integers(32, 5000))
def test_the_reserve_is_the_operators_own(total: int) -> None:
    """However many users have taken all they can, an operator gets in, and no other."""
    budget = Budget(total)
    for user in range(total):
        if not fill(budget, user):
            break
    assert budget.free == 0
    assert budget.charge(total + 1, 1, operator=False) is False
    assert budget.charge(total + 1, 1, operator=True) is True


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40), st.booleans()), max_size=80),
    st.randoms(use_true_random=False),
)
def test_what_is_given_back_is_there_again(
    total: int, charges: list[tuple[int, int, bool]], random: Random
) -> None:
    """In any order; nothing is negative at any time, and nothing is left at the end."""
    budget = Budget(total)
    held = []
    for user, amount, operator in charges:
        if budget.charge(user, amount, operator=operator):
            held.append((user, amount))
        assert sum(amount for _, amount in held) <= total
        assert budget.free >= 0
    random.shuffle(held)
    for user, amount in held:
        budget.release(user, amount)
        assert budget.free >= 0
    assert [budget.held(user) for user in range(6)] == [0] * 6
    assert budget.free == total - (max(1, total // 32) if total > 1 else 0)


class Everybody(RuleBasedStateMachine):
    """Users of all kinds connect and go away in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = Shares(64, 4 << 20)
        self.open: list[Admission] = []

    @rule(uid=st.integers(0, 9), most=st.none() | st.integers(1, 30), operator=st.booleans())
    def connect(self, uid: int, most: int | None, operator: bool) -> None:  # noqa: FBT001
        """One more."""
        allowance = Allowance(connections=most)
        admission = self.shares.admit(ShareKey(uid), allowance, operator=operator)
        if admission is not None:
            self.open.append(admission)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        """One less."""
        self.shares.release(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))))

    @invariant()
    def sums_hold(self) -> None:
        """What is shown is what is open, and within the totals."""
        status = self.shares.status()
        assert sum(one.connections for one in status) == len(self.open) <= 64
        unread = sum(one.buffer.charge for one in self.open)
        assert sum(one.unread_bytes for one in status) == unread <= 4 << 20
        assert all(one.connections >= 0 and one.unread_bytes >= 0 for one in status)


TestEverybody = Everybody.TestCase


def test_a_user_keeps_below_64_mb_of_unread_replies() -> None:
    """At the default of 4,096 connections, and all users together below the total."""
    total = 24 * 1024 * 4096
    shares = Shares(4096, total)
    while shares.admit(ShareKey(1000), FREELY, operator=False):
        pass
    (one,) = shares.status()
    assert one.connections > 1800
    assert one.unread_bytes < 64_000_000
    for uid in range(2000, 2200):
        while shares.admit(ShareKey(uid), FREELY, operator=False):
            pass
    assert sum(one.unread_bytes for one in shares.status()) <= total


def test_an_ordinary_number_of_clients_has_large_buffers() -> None:
    """Some dozen of one user; then small ones, and again large ones when they have gone."""
    shares = Shares(4096, 24 * 1024 * 4096)
    admitted = [shares.admit(ShareKey(1000), FREELY, operator=False) for _ in range(100)]
    buffers = [one.buffer for one in admitted if one]
    assert buffers.count(LARGE) >= 32
    assert buffers == [LARGE] * buffers.count(LARGE) + [SMALL] * buffers.count(SMALL)
    other = shares.admit(ShareKey(1001), FREELY, operator=False)
    assert other
    assert other.buffer is LARGE
    for one in admitted:
        assert one
        shares.release(one)
    again = shares.admit(ShareKey(1000), FREELY, operator=False)
    assert again
    assert again.buffer is LARGE


def test_no_memory_for_replies_refuses_and_holds_nothing() -> None:
    """A total that is too small for the connections is the limit."""
    shares = Shares(4096, 3 * SMALL.charge)
    while shares.admit(ShareKey(1000), FREELY, operator=False):
        pass
    (one,) = shares.status()
    assert one.connections == 1
    assert one.refused_connections == 1


def test_a_figure_of_the_operators_replaces_the_fair_share() -> None:
    """Below it, and above it as far as there is room."""
    shares = Shares(100, 64 << 20)
    few, many = Allowance(connections=3), Allowance(connections=80)
    assert (
        sum(shares.admit(ShareKey(1), few, operator=False) is not None for _ in range(9)) == 3
    )
    assert (
        sum(shares.admit(ShareKey(2), many, operator=False) is not None for _ in range(99))
        == 80
    )


def test_fresh_entropy_has_a_rate() -> None:
    """Of the user, not of the connection."""
    shares = Shares(100, 64 << 20)
    allowance = Allowance(fresh_per_second=3)
    one = shares.admit(ShareKey(1), allowance, operator=False)
    two = shares.admit(ShareKey(1), allowance, operator=False)
    other = shares.admit(ShareKey(2), allowance, operator=False)
    assert one
    assert two
    assert other
    assert [shares.admit_fresh(which, 5.0) for which in (one, two, one, two)] == [True] * 3 + [
        False
    ]
    assert shares.admit_fresh(other, 5.0)
    assert shares.admit_fresh(two, 6.0)
    assert {user.uid: user.over_quota for user in shares.status()} == {1: 1, 2: 0}


def test_the_log_hears_of_a_user_once_a_minute() -> None:
    """With how often it was; of each user by itself; and of nobody unknown."""
    shares = Shares(2, 64 << 20)
    for uid in (1, 2):
        shares.note_not_permitted(ShareKey(uid))
    first = shares.to_say(ShareKey(1), "is refused", 100.0)
    assert first == "uid 1: is refused; see `hwentropy status --json`"
    assert shares.to_say(ShareKey(1), "is refused", 100.0 + LOG_SECONDS - 1) is None
    assert shares.to_say(ShareKey(2), "is refused", 101.0)
    later = shares.to_say(ShareKey(1), "is refused", 100.0 + LOG_SECONDS)
    assert later
    assert "(2 times since the last such line)" in later
    assert shares.to_say(ShareKey(3), "is refused", 100.0) is None


def test_what_a_worker_refused_is_counted_for_its_user() -> None:
    """By the number that the worker knows; one of nobody is passed over."""
    shares = Shares(100, 64 << 20)
    admission = shares.admit(ShareKey(7), FREELY, operator=False)
    assert admission
    assert shares.note_refused(admission.user, 5, 2) == ShareKey(7)
    assert shares.note_refused(admission.user + 1, 5, 2) is None
    (one,) = shares.status()
    assert (one.over_quota, one.not_permitted, one.connections) == (5, 2, 1)


def test_users_that_come_and_go_take_bounded_memory() -> None:
    """Those with a connection are never forgotten, nor is the number of one changed."""
    shares = Shares(100, 64 << 20)
    stays = shares.admit(ShareKey(1), FREELY, operator=False)
    assert stays
    for uid in range(1000, 1000 + 3 * REMEMBERED):
        admission = shares.admit(ShareKey(uid), FREELY, operator=False)
        assert admission
        shares.release(admission)
    assert len(shares._users) <= REMEMBERED + 1
    again = shares.admit(ShareKey(1), FREELY, operator=False)
    assert again
    assert again.user == stays.user
    assert len(shares.status()) == SHOWN
    assert shares.status()[0].uid == 1


@pytest.mark.parametrize("total", [1, 2, 20])
def test_a_small_total_serves_somebody(total: int) -> None:
    """And the reserve leaves something."""
    assert Budget(total).charge(1, 1, operator=False)
