"""One user's rates, as a worker holds its connections to them, on the test's own clock."""

import pytest

from hwentropy_core.limits import MAX_READ
from hwentropyd.worker.quota import REMEMBERED, Quota, Quotas
from support.assigned import assigned


class Clock:
    """Seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def test_a_user_without_limits_is_not_measured() -> None:
    """Every request is admitted, and none need be counted."""
    quota = Quota(assigned(), lambda: 0.0)
    assert not quota.measured
    assert all(quota.admit_read(MAX_READ) and quota.admit_lease() for _ in range(1000))
    assert quota.admit_stream()
    assert quota.stream_bytes == MAX_READ
    assert quota.take_refused() == (0, 0)


def test_requests_come_at_their_rate() -> None:
    """A second's at once, then one by one; a refused one is counted and costs nothing."""
    clock = Clock()
    quota = Quota(assigned(requests_per_second=4), clock)
    assert [quota.admit_read(1) for _ in range(6)] == [True] * 4 + [False] * 2
    clock.now = 0.25
    assert [quota.admit_read(1) for _ in range(2)] == [True, False]
    assert quota.take_refused() == (3, 0)
    assert quota.take_refused() == (0, 0)


def test_bytes_come_at_their_rate() -> None:
    """What is larger than a second's is let through once, and owed."""
    clock = Clock()
    quota = Quota(assigned(bytes_per_second=100), clock)
    assert quota.admit_read(300)
    clock.now = 2.9
    assert not quota.admit_read(100)
    clock.now = 3.1
    assert quota.admit_read(100)


def test_leases_have_a_rate_of_their_own() -> None:
    """And count as requests, where those have one."""
    quota = Quota(assigned(leases_per_second=2), lambda: 0.0)
    assert [quota.admit_lease() for _ in range(3)] == [True, True, False]
    assert quota.admit_read(1)
    both = Quota(assigned(leases_per_second=2, requests_per_second=1), lambda: 0.0)
    assert [both.admit_lease() for _ in range(2)] == [True, False]
    assert not both.admit_read(1)


@pytest.mark.parametrize(("rate", "at_once"), [(1, 1), (1000, 100), (1 << 40, MAX_READ)])
def test_a_paced_stream_gives_a_tenth_of_a_second_at_a_time(rate: int, at_once: int) -> None:
    """Never nothing, and never more than a read may have."""
    assert Quota(assigned(bytes_per_second=rate), lambda: 0.0).stream_bytes == at_once


def test_a_paced_stream_waits_and_is_not_refused() -> None:
    """It has no status to be told by, so nothing is counted."""
    clock = Clock()
    quota = Quota(assigned(bytes_per_second=1000), clock)
    assert [quota.admit_stream() for _ in range(11)] == [True] * 10 + [False]
    clock.now = 0.1
    assert quota.admit_stream()
    assert quota.take_refused() == (0, 0)


def test_what_is_not_permitted_is_counted_apart() -> None:
    """For the user's line in the status."""
    quota = Quota(assigned(), lambda: 0.0)
    quota.refuse_permission()
    assert quota.take_refused() == (0, 1)


def test_connections_of_one_user_share_its_rates() -> None:
    """And those of another have their own; only who was refused is told of."""
    quotas = Quotas(lambda: 0.0)
    one = [quotas.of(assigned(n, user=1, requests_per_second=1)) for n in (1, 2)]
    other = quotas.of(assigned(3, user=2, requests_per_second=1))
    assert one[0] is one[1]
    assert one[0].admit_read(1)
    assert not one[1].admit_read(1)
    assert other.admit_read(1)
    assert quotas.take_refused() == [(1, 1, 0)]


def test_a_user_who_connects_anew_has_no_fresh_rate() -> None:
    """Until so many others came that it is forgotten: memory has a bound."""
    quotas = Quotas(lambda: 0.0)
    first = quotas.of(assigned(user=0, requests_per_second=1))
    for user in range(1, REMEMBERED):
        quotas.of(assigned(user=user))
    assert quotas.of(assigned(user=0)) is first
    for user in range(REMEMBERED, 2 * REMEMBERED):
        quotas.of(assigned(user=user))
    assert quotas.of(assigned(user=0)) is not first
