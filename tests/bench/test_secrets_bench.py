"""The benchmark of `hwentropy.secrets`: its arithmetic, and one short real run."""

import json
from typing import Any

import pytest
from bench.secrets_bench import CASES, measure_secrets, report_of, section

from bench import secrets_bench


def timed(ours: float, theirs: float) -> dict[str, dict[str, list[float]]]:
    """Three equal rounds of every case, in seconds for one call."""
    return {case.name: {"ours": [ours] * 3, "theirs": [theirs] * 3} for case in CASES}


def by_name(report: dict[str, Any]) -> dict[str, Any]:
    """The cells by the name of their case."""
    return {cell["name"]: cell for cell in report["cells"]}


def test_ratios_are_time_by_time_or_speed_by_speed() -> None:
    """Ten times as fast is 0.1 of the time, and 10 times the speed."""
    cells = by_name(report_of(timed(1e-6, 1e-5)))
    assert cells["token_bytes(32)"]["ratio"] == pytest.approx(0.1)
    assert cells["fill, 64 MiB"]["ratio"] == pytest.approx(10)
    assert all(cell["met"] for cell in cells.values() if cell["limit"] is not None)


def test_a_missed_target_is_said() -> None:
    """As fast as the standard module is too slow for some, and shown so."""
    report = report_of(timed(1e-6, 1e-6))
    cells = by_name(report)
    missed = {name for name, cell in cells.items() if cell["met"] is False}
    assert missed == {"token_bytes(32)", "token_bytes(4096)", "fill, 64 MiB"}
    assert sum(one["met"] is False for one in report["targets"]) == 3
    shown = {row[0]: row[-1] for row in section(report["cells"]).rows}
    assert {name for name, word in shown.items() if word == "MISSED"} == missed


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    """Without NumPy its row is gone and its target unknown."""
    took = timed(1e-6, 1e-5)
    del took["NumPy doubles, 10**6"]
    report = report_of(took)
    assert "NumPy doubles, 10**6" not in by_name(report)
    unknown = [one for one in report["targets"] if one["met"] is None]
    assert [one["name"].partition(",")[0] for one in unknown] == ["NumPy doubles"]
    assert section([]).rows == ()


def test_it_measures_the_real_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short round against a daemon: every case has a figure, and it is JSON."""
    monkeypatch.setattr(secrets_bench, "GIVE_UP", 120.0)
    report = json.loads(json.dumps(measure_secrets(rounds=1, seconds=0.001)))
    assert {cell["name"] for cell in report["cells"]} >= {
        case.name for case in CASES if "NumPy" not in case.name
    }
    assert all(cell["ours_us"] > 0 and cell["theirs_us"] > 0 for cell in report["cells"])
