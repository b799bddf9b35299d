"""The seed log of a real daemon: signed by a TPM, and right after a kill."""

from pathlib import Path

import pytest

from hwentropy.history import NoSeedLogError, SeedLogReader, export_key, load_key
from support import needed
from support.daemon import ONLY_OS, Daemon, only
from support.swtpm import SoftwareTpm, missing_swtpm

pytestmark = pytest.mark.process

#: A seed a second.
OFTEN = "[pool]\nreseed_seconds = 1\npoll_seconds = 0.2\n"
#: Every third record is signed.
SIGNED = "[seed_log]\nsign_records = 3\n[sources.tpm2]\ntcti = '{tcti}'\n"


def kinds(directory: Path) -> list[str]:
    """The kinds of the records in a daemon's log."""
    try:
        reader = SeedLogReader(directory / "state")
    except NoSeedLogError:
        return []
    return [record["kind"] for record in reader.records()]


def seeded(daemon: Daemon, seeds: int) -> None:
    """Wait for so many seeds in the log."""
    daemon.wait_for(lambda: kinds(daemon.directory).count("seed") >= seeds, f"{seeds} seeds")


def test_a_killed_daemon_leaves_a_log_that_verifies_and_goes_on() -> None:
    """Without a `stop` before the next `start`; an orderly end writes one."""
    daemon = Daemon(OFTEN + ONLY_OS)
    with daemon:
        seeded(daemon, 2)
        daemon.kill()
        verdict = SeedLogReader(daemon.directory / "state").verify()
        assert verdict.problems == []
        daemon.start()
        daemon.wait_until_settled()
        seeded(daemon, verdict.records + 1)
        daemon.stop()
        log = kinds(daemon.directory)
        assert SeedLogReader(daemon.directory / "state").verify().problems == []
    assert (log[0], log[-1]) == ("start", "stop")
    assert log.count("start") == 2
    assert log.count("stop") == 1


def test_status_says_where_it_is_and_how_many() -> None:
    """As the reader sees it."""
    with Daemon(ONLY_OS) as daemon:
        seeded(daemon, 1)
        told = daemon.status()["seed_log"]
    assert told["directory"] == str(daemon.directory / "state")
    assert told["records"] >= 2
    assert told["problem"] == ""


def test_without_a_directory_it_serves_and_says_so() -> None:
    """One that nobody can make."""
    with Daemon(ONLY_OS, environment={"HWENTROPY_STATE_DIR": "/proc/none"}) as daemon:
        problem = daemon.status()["seed_log"]["problem"]
        assert "cannot be written to" in problem


@needed.needs(missing_swtpm())
def test_a_tpm_signs_what_the_key_verifies(tmp_path: Path) -> None:
    """By a key that the log itself has, and that another machine keeps from the first day."""
    needed.module("tpm2_pytss", "tpm2-pytss is not installed")
    with SoftwareTpm(tmp_path) as tpm:
        config = OFTEN + only("os", "tpm2") + SIGNED.format(tcti=tpm.tcti)
        with Daemon(config) as daemon:
            daemon.wait_for(lambda: "signature" in kinds(daemon.directory), "signed")
            daemon.stop()
            reader = SeedLogReader(daemon.directory / "state")
            pem = export_key(reader.records())
            assert pem is not None
            verdict = reader.verify(load_key(pem))
    assert verdict.problems == []
    assert verdict.signed >= 3
