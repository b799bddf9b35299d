"""FreshRequests for fresh entropy, beside a plain list that is searched from end to end."""

import asyncio
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.seeding.fresh_requests import FreshRequest, FreshRequests

Future = asyncio.Future[int]


@pytest.fixture(scope="module")
def future() -> Iterator[Callable[[], Future]]:
    """Makes futures of a loop that never runs."""
    loop = asyncio.new_event_loop()
    yield loop.create_future
    loop.close()


#: Seconds between two wishes; 0 for two of the same moment.
STEPS = st.lists(st.sampled_from([0.0, 0.0, 0.25, 1.0]), max_size=60)


@given(STEPS, st.randoms(use_true_random=False))
def test_any_of_them_can_be_forgotten(
    future: Callable[[], Future], steps: list[float], chance: random.Random
) -> None:
    """In any order, also of the same moment, and a second time without effect."""
    wishes = FreshRequests()
    now, model = 0.0, list[FreshRequest]()
    for step in steps:
        now += step
        model.append(wishes.add(now, future()))
    gone = [wish for wish in model if chance.random() < 0.5]
    chance.shuffle(gone)
    for wish in gone * 2:
        wishes.forget(wish)
    left = [wish for wish in model if wish not in gone]
    assert len(wishes) == len(left)
    wishes.grant(len(wishes), 7)
    assert [wish for wish in model if wish.future.done()] == left
    assert {wish.future.result() for wish in left} <= {7}


@given(STEPS, st.floats(0, 60))
def test_those_before_the_entropy_are_met(
    future: Callable[[], Future], steps: list[float], collected: float
) -> None:
    """What was collected from a moment on serves every wish up to it, and no later one."""
    wishes = FreshRequests()
    now, model = 0.0, list[FreshRequest]()
    for step in steps:
        now += step
        model.append(wishes.add(now, future()))
    met = wishes.met(lambda since: since <= collected)
    assert met == sum(wish.since <= collected for wish in model)
    wishes.grant(met, 3)
    assert [wish.future.done() for wish in model] == [w.since <= collected for w in model]
    assert len(wishes) == len(model) - met
    assert wishes.met(lambda since: since <= collected) == 0


def test_who_does_not_wait_any_more_is_passed_over(future: Callable[[], Future]) -> None:
    """A future that was cancelled keeps no other from its answer."""
    wishes = FreshRequests()
    one, two = wishes.add(1.0, future()), wishes.add(2.0, future())
    one.future.cancel()
    wishes.grant(2, 5)
    assert two.future.result() == 5
    assert not wishes
