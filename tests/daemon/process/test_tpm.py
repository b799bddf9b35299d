"""The main job end to end: this machine's sources, and a TPM that dies and comes back."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import needed
from support.daemon import Daemon, descendants
from support.raw_client import OK, CallError, ask
from support.swtpm import SoftwareTpm, missing_swtpm
from support.tpm_wire import Wire

needed.module("tpm2_pytss", "tpm2-pytss is not installed")
pytestmark = [
    pytest.mark.process,
    needed.needs(missing_swtpm()),
]

#: Quick: sources asked often, a hang noticed after a second, a seed every second.
CONFIG = """
[pool]
poll_seconds = 0.2
reseed_seconds = 1
[sources.tpm2]
tcti = "{tcti}"
deadline = 1
"""


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A running software TPM."""
    with SoftwareTpm(tmp_path / "tpm") as software:
        yield software


@pytest.fixture
def daemon(tpm: SoftwareTpm) -> Iterator[Daemon]:
    """A daemon with all sources of this machine and the TPM; healthy at the end as well."""
    with Daemon(CONFIG.format(tcti=tpm.tcti)) as one:
        yield one
        one.check_log()


def serve_a_thousand(daemon: Daemon) -> None:
    """1,000 requests in a row on one connection, not one of which fails or is degraded."""
    with daemon.connect() as sock:
        replies = [ask(sock, 32) for _ in range(1000)]
    assert {(reply.status, reply.flags, len(reply.payload)) for reply in replies} == {
        (OK, 0, 32)
    }
    assert len({reply.payload for reply in replies}) == 1000


def wait_for_credit(daemon: Daemon, names: list[str], beyond: int = 0) -> None:
    """Wait until each of these sources had part in a seed."""
    daemon.wait_for(
        lambda: all(daemon.source(name)["credited_bits"] > beyond for name in names),
        f"crediting {names}",
    )


def test_every_source_of_this_machine_is_healthy_and_credited(daemon: Daemon) -> None:
    """os, tpm2 and what else is here: healthy and credited; the rest says why not."""
    states = {one["name"]: one for one in daemon.call("Sources")["sources"]}
    assert set(states) == {"os", "cpu", "rdseed", "hwrng", "tpm2", "jitter"}
    here = [name for name, one in states.items() if one["state"] != "absent"]
    assert {"os", "tpm2"} <= set(here)
    if Path("/dev/hwrng").exists():
        assert "hwrng" in here or "permission" in states["hwrng"]["reason"]
    for name, one in states.items():
        if name in here:
            assert (one["state"], one["reason"], one["alarms"]) == ("healthy", "", 0)
            assert one["samples"] >= 1024
        else:
            assert one["reason"]
            assert one["remedy"]
    assert states["tpm2"]["facts"]["software"] == "yes"
    groups = {states[name]["group"] for name in here if states[name]["credit"]}
    # `os` and `cpu` are one: what either brings the other does not.
    daemon.wait_for(
        lambda: (
            {one["group"] for one in daemon.call("Sources")["sources"] if one["credited_bits"]}
            == groups
        ),
        f"crediting {groups}",
    )
    daemon.check()


def test_a_killed_tpm_fails_alone_and_comes_back_by_itself(
    daemon: Daemon, tpm: SoftwareTpm
) -> None:
    """Failed with its reason while 1,000 requests succeed; credited again once restarted."""
    wait_for_credit(daemon, ["tpm2"])
    others = {one["name"]: one["state"] for one in daemon.call("Sources")["sources"]}
    tpm.kill()
    serve_a_thousand(daemon)
    failed = daemon.wait_for_source("tpm2", "failed")
    serve_a_thousand(daemon)
    assert failed["reason"]
    assert failed["alarms"] >= 1
    assert daemon.status()["state"] == "ok"
    tpm.start()
    daemon.wait_for_source("tpm2", "healthy")
    wait_for_credit(daemon, ["tpm2"], failed["credited_bits"])
    assert {one["name"]: one["state"] for one in daemon.call("Sources")["sources"]} == others
    daemon.check()


def test_a_hung_tpm_raises_a_hang_and_nothing_else(daemon: Daemon, tpm: SoftwareTpm) -> None:
    """SIGSTOP: alarm `hang` after its deadline, all else goes on; SIGCONT brings it back."""
    before = {one["name"]: one["alarm_counts"] for one in daemon.call("Sources")["sources"]}
    tpm.stop()
    serve_a_thousand(daemon)
    failed = daemon.wait_for_source("tpm2", "failed")
    assert failed["alarm_counts"] == {"hang": 1}
    assert "no answer within 1 s" in failed["reason"]
    serve_a_thousand(daemon)
    with pytest.raises(CallError) as caught:
        daemon.call("TestSource", name="tpm2")
    assert caught.value.error.endswith(".SourceNotReady")
    assert caught.value.parameters["state"] == "failed"
    generation = daemon.generation()
    daemon.wait_for(lambda: daemon.generation() > generation, "reseeded without it")
    for one in daemon.call("Sources")["sources"]:
        if one["name"] != "tpm2":
            assert one["alarm_counts"] == before[one["name"]]
    tpm.cont()
    daemon.wait_for_source("tpm2", "healthy")
    wait_for_credit(daemon, ["tpm2"], failed["credited_bits"])
    daemon.check()


def test_an_answer_that_is_cut_off_is_a_hang_and_the_end_of_its_process(
    tpm: SoftwareTpm,
) -> None:
    """libtss2 would wait for the rest for ever: killed at the deadline, and tried again."""
    with Wire(tpm) as wire, Daemon(CONFIG.format(tcti=wire.tcti)) as daemon:
        wait_for_credit(daemon, ["tpm2"])
        others = {*descendants(daemon.pid)[:1], *daemon.worker_pids()}
        (reading,) = set(descendants(daemon.pid)) - others
        wire.cut()
        failed = daemon.wait_for_source("tpm2", "failed")
        assert failed["alarm_counts"] == {"hang": 1}
        assert failed["reason"] == "no answer within 1 s"
        serve_a_thousand(daemon)
        daemon.wait_for_source("tpm2", "healthy")
        wait_for_credit(daemon, ["tpm2"], failed["credited_bits"])
        assert reading not in descendants(daemon.pid)
        daemon.check()


def test_the_supervisor_loads_no_library_of_a_tpm(daemon: Daemon) -> None:
    """It is in its collector's memory, and in nobody else's."""
    wait_for_credit(daemon, ["tpm2"])
    loaded = [
        pid
        for pid in (daemon.pid, *descendants(daemon.pid))
        if "libtss2" in Path(f"/proc/{pid}/maps").read_text()
    ]
    assert len(loaded) == 1
    assert loaded[0] not in {daemon.pid, *daemon.worker_pids()}


def test_a_hung_tpm_does_not_hold_a_stop_up(daemon: Daemon, tpm: SoftwareTpm) -> None:
    """SIGTERM while a thread is stuck in libtss2: the daemon still ends within a second."""
    tpm.stop()
    daemon.wait_for_source("tpm2", "failed")
    assert daemon.stop() < 1.0


def test_a_test_under_way_when_the_tpm_hangs_is_answered(
    daemon: Daemon, tpm: SoftwareTpm
) -> None:
    """TestSource of a source that stops answering ends with its deadline, as not passed."""
    answers: list[dict[str, object]] = []

    def test() -> None:
        try:
            answers.append(daemon.call("TestSource", name="tpm2"))
        except CallError as error:
            answers.append(error.parameters)

    tpm.stop()
    asking = threading.Thread(target=test)
    asking.start()
    asking.join(10)
    assert not asking.is_alive()
    assert "no answer within 1 s" in str(answers[0]["reason"])
    assert answers[0].get("passed", False) is False
