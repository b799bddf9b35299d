"""A rate, on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.token_bucket import BURST_SECONDS, TokenBucket


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 2000)), max_size=100),
)
def test_no_sequence_gets_more_than_the_rate(
    rate: int, takings: list[tuple[float, int]]
) -> None:
    """But a burst, and one taking that goes beyond."""
    bucket = TokenBucket(rate, 0.0)
    now = taken = 0.0
    for pause, amount in takings:
        now += pause
        if bucket.take(amount, now):
            assert taken < rate * (BURST_SECONDS + now) + 1e-6
            taken += amount


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Nor does it take."""
    bucket = TokenBucket(10, 100.0)
    assert all(bucket.take(1, 100.0 - step) for step in range(10))
    assert not bucket.take(1, 0.0)
    assert bucket.take(1, 0.2)
