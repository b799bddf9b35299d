"""The benchmark of prediction resistance: what it reckons, and its burner."""

import time

import pytest
from bench.reseeds import BESIDE, Run, burn, burner_share, report_of, section


def run(draws: int, *, others: float = 0.0, reseeds: int = 0) -> Run:
    """A run of two seconds, of which the holder had the CPU for one."""
    return Run(draws, 2.0, 1.0, others, reseeds)


def test_the_burner_gets_what_prediction_resistance_took() -> None:
    """Beyond what the service takes anyhow; not below nothing, and one CPU at most."""
    assert burner_share(run(1, others=0.2), run(1, others=0.6)) == pytest.approx(0.2)
    assert burner_share(run(1, others=0.6), run(1, others=0.2)) == 0
    assert burner_share(run(1), run(1, others=9.0)) == 1


@pytest.mark.parametrize(
    ("draws", "reseeds", "expected"), [(900, 10, [True] * 2), (899, 11, [False] * 2)]
)
def test_the_bars_are_a_tenth_of_the_draws_and_five_reseeds(
    draws: int, reseeds: int, expected: list[bool]
) -> None:
    """Draws beside it are set against those beside the burner, not those alone."""
    one = {
        "alone": run(5000),
        "fresh": run(draws, others=0.5, reseeds=reseeds),
        "burn": run(1000, others=0.5),
    }
    report = report_of([one, one])
    assert [target["met"] for target in report["targets"]] == expected
    assert report["targets"][0]["value"] == draws / 1000
    shown = {cell["beside"]: cell for cell in report["cells"]}
    assert tuple(shown) == BESIDE
    assert shown["fresh"]["per_second"] == draws / 2
    assert shown["fresh"]["per_cpu_second"] == draws
    assert shown["fresh"]["reseeds_per_second"] == reseeds / 2
    assert len(section(report["cells"]).rows) == len(BESIDE)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_burner_is_idle_for_the_rest(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own that is one thing or the other: the share is what it burnt."""
    clock = {"now": 0.0, "cpu": 0.0}

    def monotonic() -> float:
        clock["now"] += 0.0001
        clock["cpu"] += 0.0001
        return clock["now"]

    def sleep(seconds: float) -> None:
        clock["now"] += seconds

    monkeypatch.setattr(time, "monotonic", monotonic)
    monkeypatch.setattr(time, "process_time", lambda: clock["cpu"])
    monkeypatch.setattr(time, "sleep", sleep)
    burn(2.0, share)
    # Without a share, what it takes to look at the clock: 0.1 of each 2.1 ms.
    assert clock["cpu"] / clock["now"] == pytest.approx(max(share, 0.1 / 2.1), rel=0.1)
