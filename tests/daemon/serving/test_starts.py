"""When a worker is started again: pauses by the test's own numbers."""

from hwentropyd.serving.starts import (
    LIVED_SECONDS,
    LONGEST_RESPAWN_SECONDS,
    RESPAWN_SECONDS,
    Starts,
)


def test_one_that_served_is_replaced_at_once() -> None:
    """One that died young has a pause: it may do so again."""
    assert Starts.died(LIVED_SECONDS) == 0.0
    assert Starts.died(LIVED_SECONDS - 0.01) == RESPAWN_SECONDS


def test_the_pause_doubles_for_each_round_of_all_workers() -> None:
    """Two workers fail twice before it grows; it has a limit, and no overflow."""
    starts = Starts(2)
    pauses = [starts.failed("x")[0] for _ in range(12)]
    assert pauses == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    assert starts.failed("x")[0] == LONGEST_RESPAWN_SECONDS
    assert max(starts.failed("x")[0] for _ in range(5000)) == LONGEST_RESPAWN_SECONDS


def test_a_reason_is_new_once() -> None:
    """Until another one comes, or all are there again."""
    starts = Starts(1)
    assert [starts.failed(why)[1] for why in "aabba"] == [True, False, True, False, True]
    assert starts.failure == "a"
    assert starts.all_there()
    assert starts.failure == ""
    assert starts.failed("a") == (RESPAWN_SECONDS, True)


def test_that_all_are_there_is_news_once() -> None:
    """And none where nothing had failed."""
    starts = Starts(1)
    assert not starts.all_there()
    starts.failed("a")
    assert starts.all_there()
    assert not starts.all_there()
