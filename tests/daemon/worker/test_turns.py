"""Turns: fair between users, then between one user's connections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.worker.turns import Turns


def test_a_crowd_does_not_stand_before_another_user() -> None:
    """A thousand of one user are ready; the other's one request is next, each time."""
    turns: Turns[str] = Turns()
    for number in range(1000):
        turns.add(1, f"crowd {number}")
    assert turns.take() == "crowd 0"
    for _ in range(10):
        turns.add(2, "other")
        assert "other" in {turns.take(), turns.take()}


def test_who_comes_new_goes_first() -> None:
    """Before those who had a turn; not before those who are new too."""
    turns: Turns[int] = Turns()
    for user in (1, 1, 2, 2):
        turns.add(user, user)
    assert [turns.take(), turns.take()] == [1, 2]
    turns.add(3, 3)
    turns.add(4, 4)
    assert [turns.take() for _ in range(4)] == [3, 4, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=200))
def test_nothing_is_lost_and_each_users_order_is_kept(steps: list[tuple[int, bool]]) -> None:
    """Whatever is added and taken when."""
    turns: Turns[tuple[int, int]] = Turns()
    waiting: dict[int, list[int]] = {user: [] for user in range(5)}
    for number, (user, take) in enumerate(steps):
        turns.add(user, (user, number))
        waiting[user].append(number)
        if take:
            whose, taken = turns.take()
            assert waiting[whose].pop(0) == taken
        assert len(turns) == sum(map(len, waiting.values()))
    while turns:
        whose, taken = turns.take()
        assert waiting[whose].pop(0) == taken
    assert not any(waiting.values())
    with pytest.raises(IndexError):
        turns.take()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_nobody_waits_longer_than_a_turn_of_each_other(coming: list[int]) -> None:
    """However often others come back, new or not: at most two turns of each of them."""
    turns: Turns[int] = Turns()
    for user in range(5):
        turns.add(user, user)
    turns.add(9, 9)
    before = []
    for user in coming:
        turns.add(user, user)
        before.append(turns.take())
        if before[-1] == 9:
            break
    assert all(before.count(user) <= 2 for user in range(5))
