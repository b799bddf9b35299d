"""The benchmark of all processes' memory: what is summed, and its bars."""

import pytest
from bench.footprint import WITH, WITHOUT, Footprint, report_of, section
from bench.machine import Memory

MEGABYTE = 10**6


def memory(resident: int, proportional: int | None) -> Memory:
    """A process's, in 10^6 bytes."""
    known = None if proportional is None else proportional * MEGABYTE
    return Memory(resident * MEGABYTE, known, None)


def footprint(case: str, supervisor: int, *others: int | None) -> Footprint:
    """A daemon whose supervisor has 20 MB by PSS, and whose others have these."""
    rest = tuple(memory(30, one) for one in others)
    return Footprint(case, ("os", "cpu"), memory(supervisor, 20), rest)


@pytest.mark.parametrize(
    ("supervisor", "last", "expected"), [(36, 24, [True] * 2), (37, 25, [False] * 2)]
)
def test_the_bars_are_for_a_service_with_a_tpm(
    supervisor: int, last: int, expected: list[bool]
) -> None:
    """36 MB for the supervisor, 64 MB PSS for all; without a TPM it is only shown."""
    report = report_of([footprint(WITHOUT, 90, 90), footprint(WITH, supervisor, 10, 10, last)])
    assert [target["met"] for target in report["targets"]] == expected
    assert [target["value"] for target in report["targets"]] == [supervisor, 40 + last]
    assert [cell["processes"] for cell in report["cells"]] == [2, 4]
    assert len(section(report["cells"]).rows) == 2


def test_without_a_tpm_the_bars_are_not_measured() -> None:
    """Neither met nor missed."""
    targets = report_of([footprint(WITHOUT, 30, 10)])["targets"]
    assert [(one["value"], one["met"]) for one in targets] == [(None, None)] * 2


def test_a_part_is_not_passed_for_the_sum() -> None:
    """Where the kernel does not say one process's PSS there is none of all."""
    report = report_of([footprint(WITH, 30, 10, None)])
    assert report["cells"][0]["all_pss_mb"] is None
    assert report["targets"][1]["met"] is None
