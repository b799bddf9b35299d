"""The unit files, as systemd's own checkers see them; nothing is started."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.needed import needs

SYSTEMD: Final = Path(__file__).parents[2] / "systemd"

#: The most exposure allowed, in tenths, as `systemd-analyze security` rates it.
EXPOSURE: Final = 15

pytestmark = needs(
    "" if shutil.which("systemd-analyze") else "systemd-analyze is not installed"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units in a directory of their own, with a program that exists."""
    for unit in SYSTEMD.glob("hwentropyd*"):
        text = unit.read_text()
        assert unit.suffix != ".service" or "ExecStart=/usr/bin/hwentropyd\n" in text
        (tmp_path / unit.name).write_text(text.replace("/usr/bin/hwentropyd", "/usr/bin/true"))
    return tmp_path


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on the units."""
    return subprocess.run(
        ["systemd-analyze", *arguments],
        cwd=units,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{units}:"},
        capture_output=True,
        text=True,
        check=False,
    )


VERIFY: Final = ("verify", "--recursive-errors=no", "--man=no")
NAMES: Final = ("hwentropyd.service", "hwentropyd.socket", "hwentropyd-control.socket")


@pytest.mark.parametrize("name", NAMES)
def test_verify_has_nothing_to_say(units: Path, name: str) -> None:
    """Every key of every unit is known to systemd and has a value it accepts."""
    done = analyze(units, *VERIFY, f"./{name}")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verify_would_notice_a_wrong_key(units: Path) -> None:
    """The check above can fail: a misspelt key is an error to it."""
    service = units / "hwentropyd.service"
    service.write_text(service.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    done = analyze(units, *VERIFY, "./hwentropyd.service")
    assert done.returncode != 0
    assert "NoNewPrivilege" in done.stderr


def test_the_pause_before_a_restart_grows_where_systemd_knows_how(units: Path) -> None:
    """The drop-in's keys are right from systemd 254 on; an older one names just them."""
    version = re.match(r"systemd (\d+)", analyze(units, "--version").stdout)
    assert version
    folder = units / "hwentropyd.service.d"
    folder.mkdir()
    (units / "hwentropyd-restart.conf").rename(folder / "restart.conf")
    done = analyze(units, *VERIFY, "./hwentropyd.service")
    unknown = set(re.findall(r"Unknown key (?:name )?'(\w+)'", done.stderr))
    if int(version[1]) < 254:
        assert unknown == {"RestartSteps", "RestartMaxDelaySec"}
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_the_kernels_log_is_opened_where_systemd_knows_how(units: Path) -> None:
    """The drop-in's key is right from systemd 253 on; an older one names just that."""
    version = re.match(r"systemd (\d+)", analyze(units, "--version").stdout)
    assert version
    folder = units / "hwentropyd.service.d"
    folder.mkdir()
    (units / "hwentropyd-kernel-log.conf").rename(folder / "kernel-log.conf")
    done = analyze(units, *VERIFY, "./hwentropyd.service")
    unknown = set(re.findall(r"Unknown key (?:name )?'(\w+)'", done.stderr))
    if int(version[1]) < 253:
        assert unknown == {"OpenFile"}
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_what_an_older_systemd_takes_for_it_is_rated_as_documented(units: Path) -> None:
    """The drop-in that docs/systemd.md gives: right, and 1.5."""
    text = (SYSTEMD.parent / "docs/systemd.md").read_text()
    dropin = re.search(r"```ini\n(.*?CAP_SYSLOG.*?)```", text, re.DOTALL)
    assert dropin
    folder = units / "hwentropyd.service.d"
    folder.mkdir()
    (folder / "kernel-log.conf").write_text(dropin[1])
    assert analyze(units, *VERIFY, "./hwentropyd.service").stderr == ""
    rated = analyze(units, "security", "--offline=true", "./hwentropyd.service").stdout
    assert "Overall exposure level for hwentropyd.service: 1.5" in rated


def test_exposure_is_at_most_one_and_a_half(units: Path) -> None:
    """systemd rates the sandbox at 1.5 of 10 or better."""
    done = analyze(
        units, "security", "--offline=true", f"--threshold={EXPOSURE}", "./hwentropyd.service"
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
    assert re.search(r"Overall exposure level for hwentropyd.service: \d\.\d", done.stdout)


def test_all_units_come_together() -> None:
    """Enabling any unit enables every socket, so that no interface is forgotten."""
    sockets = {name for name in NAMES if name.endswith(".socket")}
    for name in NAMES:
        also = re.findall(r"^Also=(.*)$", (SYSTEMD / name).read_text(), re.MULTILINE)
        assert set(" ".join(also).split()) | {name} >= sockets, name
