"""Requests for fresh entropy, beside a plain list that is searched from end to end."""

import random

from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.seeding.fresh_requests import FreshRequests

#: Seconds between two requests; 0 for two of the same moment.
STEPS = st.lists(st.sampled_from([0.0, 0.0, 0.25, 1.0]), max_size=60)


def made(steps: list[float]) -> tuple[FreshRequests, list[tuple[int, float]]]:
    """Requests so many seconds after one another, and who made which when."""
    requests, model, now = FreshRequests(), list[tuple[int, float]](), 0.0
    for who, step in enumerate(steps):
        now += step
        requests.add(who, now)
        model.append((who, now))
    return requests, model


@given(STEPS, st.randoms(use_true_random=False))
def test_any_of_them_can_be_forgotten(steps: list[float], chance: random.Random) -> None:
    """In any order, also of the same moment, and a second time without effect."""
    requests, model = made(steps)
    gone = {who for who, _ in model if chance.random() < 0.5}
    for who in [*gone, *gone]:
        requests.forget(who)
    left = [(who, since) for who, since in model if who not in gone]
    assert len(requests) == len(left)
    assert requests.oldest == (left[0][1] if left else None)
    assert requests.take(len(requests)) == [who for who, _ in left]
    assert not requests


@given(STEPS, st.floats(0, 60))
def test_those_before_the_entropy_are_met(steps: list[float], collected: float) -> None:
    """What was collected from a moment on serves every request up to it, and no later one."""
    requests, model = made(steps)
    met = requests.met(lambda since: since <= collected)
    assert requests.take(met) == [who for who, since in model if since <= collected]
    assert len(requests) == len(model) - met
    assert requests.met(lambda since: since <= collected) == 0


@given(STEPS, st.floats(0, 60))
def test_those_that_waited_too_long_are_taken_out(steps: list[float], moment: float) -> None:
    """All that were made up to a moment, and no later one."""
    requests, model = made(steps)
    assert requests.take_until(moment) == [who for who, since in model if since <= moment]
    assert len(requests) == sum(since > moment for _, since in model)


def test_who_waits_already_keeps_its_place() -> None:
    """A second request of the same one neither renews nor doubles the first."""
    requests = FreshRequests()
    requests.add("one", 1.0)
    requests.add("one", 2.0)
    assert (len(requests), requests.oldest) == (1, 1.0)
