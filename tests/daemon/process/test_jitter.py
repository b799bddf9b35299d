"""The `jitter` source in a real daemon, confined as it is shipped."""

from collections.abc import Iterator

import pytest

from hwentropy_sources import jitter
from hwentropy_sources.contract import SourceError
from support.daemon import Daemon, only
from support.needed import needs

pytestmark = pytest.mark.process


def missing_jitter() -> str:
    """Why this machine has no such source; empty where it has."""
    try:
        jitter.Jitter().open()
    except SourceError as error:
        return str(error)
    return ""


with_jitter = needs(missing_jitter())


@pytest.fixture(params=[False, True], ids=["mixed in", "credited"])
def daemon(request: pytest.FixtureRequest) -> Iterator[tuple[Daemon, bool]]:
    """With the kernel and jitter, by default and with credit; and which it is."""
    credit: bool = request.param
    table = "[sources.jitter]\ncredit = true\n" if credit else ""
    with Daemon(only("os", "jitter") + "[pool]\nreseed_seconds = 1\n" + table) as daemon:
        yield daemon, credit


@with_jitter
def test_it_is_healthy_beside_the_kernel_and_credited_where_told_so(
    daemon: tuple[Daemon, bool],
) -> None:
    """Healthy within its startup test, live; without a word of the operator worth nothing."""
    running, credit = daemon
    shown = running.source("jitter")
    assert (shown["state"], shown["reason"], shown["alarms"]) == ("healthy", "", 0)
    assert (shown["credit"], shown["live"], shown["group"]) == (credit, True, "jitter")
    assert shown["min_entropy"] == 1 / 16
    assert {"counter", "step", "reads", "cpu"} == shown["facts"].keys()
    running.wait_for(
        lambda: (
            running.source("os")["credited_bits"] >= 256
            and (running.source("jitter")["credited_bits"] > 0) == credit
        ),
        "seeded with the credit that was given",
    )
    assert running.source("jitter")["alarms"] == 0


@with_jitter
def test_it_can_be_tested_on_demand(daemon: tuple[Daemon, bool]) -> None:
    """1,024 fresh samples through RCT, APT and the lag test."""
    running, _ = daemon
    result = running.call("TestSource", name="jitter")
    assert (result["passed"], result["samples"]) == (True, 1024), result


@with_jitter
def test_with_credit_it_carries_a_seed_alone() -> None:
    """5,120 samples, drawn one batch after another: 320 bits of no other group."""
    with Daemon(only("jitter") + "[sources.jitter]\ncredit = true\n") as daemon:
        status = daemon.status()
        assert (status["state"], status["seed_groups"]) == ("ok", ["jitter"])
        assert status["seed_bits"] >= 320
        daemon.check()
