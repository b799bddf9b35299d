"""Known-answer tests of the health tests: right here, and each finds its fault."""

import pytest
from pytest_mock import MockerFixture

from hwentropy_core.known_answers import KnownAnswerError, check
from hwentropy_sources.health import continuous, streams
from hwentropy_sources.health.cutoffs import apt_cutoff, rct_cutoff
from hwentropy_sources.health.known_answers import HEALTH


def test_they_pass_here() -> None:
    """On this machine, by this build."""
    check(HEALTH)


@pytest.mark.parametrize(
    ("name", "wrong", "test"),
    [
        ("rct_cutoff", lambda *given: rct_cutoff(*given) + 1, "the repetition count test"),
        ("apt_cutoff", lambda *given: apt_cutoff(*given) - 1, "the adaptive proportion test"),
    ],
)
def test_a_cut_off_that_is_one_off_is_found(
    name: str, wrong: object, test: str, mocker: MockerFixture
) -> None:
    """The sample at which the alarm comes is known."""
    mocker.patch.object(streams, name, wrong)
    with pytest.raises(KnownAnswerError, match=test):
        check(HEALTH)


def test_tests_that_see_nothing_are_found(mocker: MockerFixture) -> None:
    """And the first of them is named."""
    mocker.patch.object(continuous.HealthTests, "feed", return_value=None)
    with pytest.raises(KnownAnswerError, match="the repetition count test"):
        check(HEALTH)
