"""Plug-ins that break in every way: each hurts itself alone, and nobody else notices."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.daemon import ONLY_OS, PATIENCE, ROOT, Daemon, descendants
from support.plugins import Plugins
from support.raw_client import OK, ask

pytestmark = pytest.mark.process

#: Quick, so that there are many reads and reseeds in little time.
POOL = "[pool]\npoll_seconds = 0.2\nreseed_seconds = 1\n"

MARKER = "MARKER-OF-ENTROPY"


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    """The package, installed."""
    return Plugins(tmp_path)


def daemon_with(plugins: Plugins, kind: str, *, wait: bool = True) -> Daemon:
    """A daemon with `os` and a plug-in of this kind, called `broken`."""
    config = POOL + ONLY_OS + plugins.table(kind)
    return Daemon(config, environment=plugins.environment, wait=wait)


@contextmanager
def clients(daemon: Daemon) -> Iterator[None]:
    """Clients that ask all the while, on one connection and on new ones; none fails."""
    done = threading.Event()
    failures: list[BaseException] = []
    calls = [0]

    def talk() -> None:
        try:
            with daemon.connect() as held:
                while not done.is_set():
                    assert ask(held, 32).status == OK
                    assert daemon.read(32).status == OK
                    calls[0] += 2
        except BaseException as error:  # noqa: BLE001  (shown by the assertion below)
            failures.append(error)

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        yield
        had = calls[0]
        daemon.wait_for(lambda: failures != [] or calls[0] > had + 20, "served on")
    finally:
        done.set()
        talking.join(PATIENCE)
    assert failures == []


@pytest.mark.parametrize(
    ("kind", "alarm", "reason"),
    [
        ("segfaults", "died", "its process died of SIGSEGV"),
        ("exits", "died", "its process ended with exit code 0"),
        ("dies_at_import", "died", "its process died of SIGSEGV"),
        ("exits_at_import", "died", "its process ended with exit code 0"),
        ("hangs_at_import", "hang", "no answer within 1 s"),
        ("keeps-the-gil", "hang", "no answer within 1 s"),
        ("hangs-in-open", "hang", "no answer within 1 s"),
        ("hangs-in-read", "hang", "no answer within 1 s"),
        ("hangs-in-describe", "hang", "no answer within 1 s"),
        ("hangs-in-close", "error", "no noise today"),
        ("returns-2-gb", "error", "raised MemoryError"),
        ("returns-too-much", "length", "gave 81 bytes when asked for 80"),
        ("raises-system-exit", "error", "raised SystemExit"),
        ("answers", "error", "its process answered what was not asked"),
        ("forks", "died", "its process died of SIGABRT"),
    ],
)
def test_a_plug_in_that_breaks_fails_alone(
    plugins: Plugins, kind: str, alarm: str, reason: str
) -> None:
    """It has failed with the reason, is tried again, and no client's call fails."""
    with daemon_with(plugins, kind) as daemon:
        with clients(daemon):
            failed = daemon.wait_for_source("broken", "failed")
            assert failed["reason"] == reason
            assert set(failed["alarm_counts"]) == {alarm}
            daemon.wait_for(lambda: daemon.source("broken")["alarms"] >= 2, "tried again")
            generation = daemon.generation()
            daemon.wait_for(lambda: daemon.generation() > generation, "reseeded without it")
        assert daemon.status()["state"] == "ok"
        assert daemon.source("os")["state"] == "healthy"
        assert MARKER not in daemon.log
        daemon.check()


def test_a_plug_in_that_raises_is_told_where(plugins: Plugins) -> None:
    """File and line, as its text, which may hold samples, is not shown."""
    lines = (plugins.site / "plugins_that_break.py").read_text().splitlines()
    number = lines.index("        raise SystemExit(MARKER)") + 1
    with daemon_with(plugins, "raises-system-exit") as daemon:
        failed = daemon.wait_for_source("broken", "failed")
        file = plugins.site / "plugins_that_break.py"
        assert failed["remedy"] == f"see line {number} of {file}"
        assert MARKER not in daemon.log


def test_a_plug_in_that_comes_back_is_credited(plugins: Plugins) -> None:
    """Dead once, it is started afresh after the pause and feeds the pool."""
    with daemon_with(plugins, "recovers") as daemon:
        daemon.wait_for(lambda: daemon.source("broken")["credited_bits"] > 0, "credited")
        assert daemon.source("broken")["alarm_counts"] == {"died": 1}
        assert daemon.source("broken")["state"] == "healthy"


def test_the_supervisor_imports_no_plug_in(plugins: Plugins) -> None:
    """Neither to check its table nor to read it, nor does the template or a worker."""
    with daemon_with(plugins, "well") as daemon:
        daemon.wait_for_source("broken", "healthy")
        (template,) = descendants(daemon.pid)[:1]
        imported = plugins.noted("imported")
        assert len(imported) >= 2  # for the check, and to read
        assert not imported & {daemon.pid, template, *daemon.worker_pids()}


def test_a_collector_has_no_generator_in_its_memory(plugins: Plugins) -> None:
    """Of all objects that the garbage collector can reach, none is a DRBG."""
    with daemon_with(plugins, "looks-for-keys") as daemon:
        daemon.wait_for_source("broken", "healthy")
        assert daemon.source("broken")["facts"] == {"generators but its own": "0"}


def test_what_a_plug_in_prints_is_nowhere(plugins: Plugins) -> None:
    """It may be samples; and however much it is, nobody waits for it."""
    with daemon_with(plugins, "prints") as daemon:
        daemon.wait_for(lambda: daemon.source("broken")["credited_bits"] > 0, "credited")
        assert MARKER not in daemon.log


def test_what_a_plug_in_says_can_be_shown(plugins: Plugins) -> None:
    """Only printable characters, and not too many of them."""
    with daemon_with(plugins, "boasts") as daemon:
        one = daemon.wait_for_source("broken", "healthy")
        texts = [one["group"], one["provenance"], *one["facts"], *one["facts"].values()]
        assert all(text.isprintable() and len(text) < 1000 for text in texts)
        assert len(one["facts"]) < 100
        assert daemon.log.isprintable() or "\x1b" not in daemon.log


def test_what_a_plug_in_leaves_behind_is_ended(plugins: Plugins) -> None:
    """A process of its own session, whose parent is gone, ends with the collector."""
    with daemon_with(plugins, "forks") as daemon:
        daemon.wait_for_source("broken", "failed")
        left = plugins.noted("left")
        assert left
        daemon.wait_for(lambda: not any(is_alive(pid) for pid in left), "rid of them")


@pytest.mark.parametrize("kind", ["keeps-the-gil", "hangs-in-read", "well"])
def test_a_killed_supervisor_leaves_nothing_behind(plugins: Plugins, kind: str) -> None:
    """kill -9: no template, worker or collector goes on, whatever is in its way."""
    config = POOL + ONLY_OS + plugins.table(kind, deadline=60)
    with Daemon(config, environment=plugins.environment, wait=False) as daemon:
        daemon.wait_for(lambda: len(descendants(daemon.pid)) == 4, "running a collector")
        assert len(daemon.kill()) == 4  # it waits for their end


def test_a_hanging_plug_in_does_not_hold_a_stop_up(plugins: Plugins) -> None:
    """SIGTERM while it keeps the interpreter's lock: all have ended within a second."""
    config = POOL + ONLY_OS + plugins.table("keeps-the-gil", deadline=60)
    with Daemon(config, environment=plugins.environment, wait=False) as daemon:
        daemon.wait_for(lambda: len(descendants(daemon.pid)) == 4, "running a collector")
        pids = descendants(daemon.pid)
        assert daemon.stop() < 1.0
        assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dies_at_import", "as its process died of SIGSEGV; repair or uninstall its package"),
        ("exits_at_import", "as its process ended with exit code 0; repair or uninstall"),
        ("hangs_at_import", "as no answer within 1 s; repair or uninstall its package"),
        ("hangs-in-describe", "as no answer within 1 s; repair or uninstall its package"),
        ("nobody", "there is no source kind 'nobody'; known are os, "),
    ],
)
def test_check_config_says_what_is_wrong_with_a_plug_in(
    plugins: Plugins, kind: str, said: str
) -> None:
    """One sentence and exit code 2, whatever the plug-in does."""
    done = check_config(plugins, ONLY_OS + plugins.table(kind))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_check_config_explains_a_plug_ins_keys(plugins: Plugins) -> None:
    """As those of the built-in kinds."""
    done = check_config(plugins, ONLY_OS + plugins.table("well") + "noise = 1\n")
    assert done.returncode == 2
    assert "sources.broken.noise: unknown key; allowed are kind, enabled" in done.stderr
    assert check_config(plugins, ONLY_OS + plugins.table("well")).returncode == 0


def test_a_number_that_cannot_be_passed_on_is_refused(plugins: Plugins) -> None:
    """TOML has numbers of any length here, the message to a collector has not."""
    done = check_config(plugins, ONLY_OS + plugins.table("well") + f"noise = {1 << 70}\n")
    assert done.returncode == 2
    assert "sources.broken: cannot be passed on" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def check_config(plugins: Plugins, config: str) -> subprocess.CompletedProcess[str]:
    """Run the daemon's command with --check-config."""
    daemon = Daemon(config, environment=plugins.environment)
    try:
        return subprocess.run(
            [*daemon.command(), "--check-config"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=ROOT,
            env={**os.environ, **plugins.environment},
        )
    finally:
        daemon.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
