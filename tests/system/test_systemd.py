"""The daemon under a real systemd: socket activation, sandbox, restart, watchdog.

The project is built as a wheel and installed with what it needs into the
container's own Python, as a site would do it; units, sysusers.d and udev rule are
the ones in systemd/.  What this does not show: a TPM (none in the container),
and udevd applying the rule (it does not run there; `udevadm test` reads it).
"""

import json
import re
import shutil
import stat
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support import nspawn
from support.nspawn import Machine, NoContainerError

pytestmark = pytest.mark.system

TREE: Final = Path(__file__).parents[2]
SERVICE: Final = "hwentropyd.service"
SOCKETS: Final = ("hwentropyd.socket", "hwentropyd-control.socket")

#: Seconds from a connection to bytes, and for any other thing to happen that takes
#: a second or two on an idle machine.
DEADLINE: Final = 30.0

#: Where Debian's Python looks for what did not come by apt.
SITE: Final = "usr/local/lib/python{}/dist-packages"

COMMAND: Final = """\
#!/usr/bin/python3
import sys
from {module} import main
sys.exit(main())
"""

#: A client written from the wire format alone: READ of argv[2] bytes, waiting for
#: the seed, after which it prints what came in hexadecimal.
CLIENT: Final = """\
import socket, struct, sys
path, count = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(30)
    s.connect(path)
    f = s.makefile("rb")
    if path.endswith("entropy.sock"):
        s.sendall(struct.pack(">BBHI", 1, 0, 7, count))
        status, flags, tag, length = struct.unpack(">BBHI", f.read(8))
        assert (status, tag, length) == (0, 7, count), (status, tag, length)
    print(f.read(count).hex())
"""


#: Kills the unit's supervisor and says after how many seconds a client has its bytes.
KILL_AND_DRAW: Final = """\
import os, signal, socket, struct, subprocess, sys, time
show = ["systemctl", "show", "--value", "--property=MainPID", sys.argv[1]]
pid = int(subprocess.check_output(show))
began = time.monotonic()
os.kill(pid, signal.SIGKILL)
while True:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect("/run/hwentropy/entropy.sock")
        try:
            s.sendall(struct.pack(">BBHI", 1, 0, 7, 32))
            # One that the old daemon had accepted ends with it.
            if len(s.recv(40, socket.MSG_WAITALL)) == 40:
                break
        except ConnectionError:
            pass
print(time.monotonic() - began)
"""


def install(machine: Machine, work: Path) -> None:
    """Install the project, its dependencies and its units into a root directory."""
    source = work / "source"
    source.mkdir()
    # A copy, because setuptools builds inside the tree.
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(TREE / name, source)
    for name in ("core", "sources", "daemon", "client", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
        shutil.copytree(TREE / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheels = work / "wheels"
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source)])

    site = machine.root / SITE.format(machine.python_version)
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    # fmt: off
    run([
        *pip, "install", "--target", str(site), "--only-binary=:all:",
        "--python-version", machine.python_version,
        *project["dependencies"],
    ])
    # fmt: on
    # Unpacked by hand: pip refuses a wheel whose C extension is for this Python
    # where the container's is another (it then does without that extension).
    (wheel,) = wheels.glob("hwentropy-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for command, entry in project["scripts"].items():
        module = entry.removesuffix(":main")
        script = machine.root / "usr/bin" / command
        script.write_text(COMMAND.format(module=module))
        script.chmod(0o755)

    for pattern, folder in (
        ("hwentropyd*", "etc/systemd/system"),
        ("*.rules", "etc/udev/rules.d"),
    ):
        for file in (TREE / "systemd").glob(pattern):
            shutil.copy(file, machine.root / folder)
    sysusers = machine.root / "etc/sysusers.d"
    sysusers.mkdir(exist_ok=True)
    shutil.copy(TREE / "systemd/hwentropy.sysusers.conf", sysusers / "hwentropy.conf")


def run(command: list[str]) -> None:
    """Run a command on the host; its output is the failure's text."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A running container with everything installed and the units enabled."""
    try:
        nspawn.require()
        with nspawn.machine(tmp_path_factory.mktemp("nspawn")) as made:
            install(made, tmp_path_factory.mktemp("install"))
            made.boot()
            # As pip does for its own Python; the service could not, as it writes no file.
            site = "/" + SITE.format(made.python_version)
            made.run("python3", "-m", "compileall", "-q", "-j", "0", site)
            made.run("systemd-sysusers")
            if Path("/dev/hwrng").exists():
                # What udevd does on a host, by the rule that a test below reads.
                number = Path("/dev/hwrng").stat().st_rdev
                major, minor = number >> 8, number & 0xFF
                made.run("mknod", "-m", "640", "/dev/hwrng", "c", str(major), str(minor))
                made.run("chgrp", "hwentropy", "/dev/hwrng")
            made.run("systemctl", "enable", SERVICE)
            yield made
    except NoContainerError as error:
        pytest.skip(str(error))


@pytest.fixture
def sockets(machine: Machine) -> Machine:
    """The machine with the sockets listening and the service stopped."""
    machine.run("rm", "-rf", f"/run/systemd/system/{SERVICE}.d")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "stop", SERVICE, *SOCKETS)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", *SOCKETS)
    assert machine.show(SERVICE, "ActiveState") == "inactive"
    return machine


@pytest.fixture
def service(sockets: Machine) -> Machine:
    """The machine with the service running."""
    sockets.run("systemctl", "start", SERVICE)
    return sockets


def draw(machine: Machine, name: str, count: int = 64) -> bytes:
    """Bytes from a data socket inside, as an ordinary user gets them."""
    done = machine.run(
        "python3", "-c", CLIENT, f"/run/hwentropy/{name}", str(count), user="nobody"
    )
    return bytes.fromhex(done.stdout)


def sources(machine: Machine) -> dict[str, dict[str, Any]]:
    """What `hwentropy sources --json` says, by name."""
    # 1 is "degraded": as far as this goes that is an answer too.
    done = machine.run("hwentropy", "sources", "--json", check=False)
    assert done.returncode in {0, 1}, done.stderr
    return {source["name"]: source for source in json.loads(done.stdout)}


def eventually(check: Callable[[], bool], what: str) -> None:
    """Poll until it holds; fail with `what` at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.1)


def processes(machine: Machine) -> list[str]:
    """The pids of the service's processes, as seen inside."""
    group = machine.show(SERVICE, "ControlGroup")
    return machine.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs").stdout.split()


def status_of(machine: Machine, pid: str) -> dict[str, str]:
    """/proc/PID/status as a mapping."""
    lines = machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("name", ["entropy.sock", "stream.sock"])
def test_the_first_connection_starts_it(sockets: Machine, name: str) -> None:
    """A client that connects while nothing runs gets its bytes, fresh ones each time."""
    first = draw(sockets, name)
    second = draw(sockets, name)
    assert len(first) == len(second) == 64
    assert first != second
    eventually(lambda: sockets.show(SERVICE, "ActiveState") == "active", "active")


def test_the_control_socket_starts_it_too(sockets: Machine) -> None:
    """`hwentropy sources` works on a machine where nothing has run yet."""
    assert {"os", "cpu"} <= set(sources(sockets))


def test_modes_and_owners_of_the_sockets(sockets: Machine) -> None:
    """Anyone may connect to the data sockets, only root and the group to control."""
    listing = sockets.run("stat", "-c", "%n %a %U %G", "-L", "/run/hwentropy").stdout
    assert listing.split()[1:] == ["755", "root", "root"]
    modes: dict[str, list[str]] = {}
    for name in ("entropy", "stream", "control"):
        done = sockets.run("stat", "-c", "%F|%a|%U|%G", f"/run/hwentropy/{name}.sock")
        modes[name] = done.stdout.strip().split("|")
    assert modes == {
        "entropy": ["socket", "666", "root", "root"],
        "stream": ["socket", "666", "root", "root"],
        "control": ["socket", "660", "root", "hwentropy"],
    }


def test_ready_means_serving(sockets: Machine) -> None:
    """`systemctl start` returns when it is seeded: a client that will not wait gets bytes."""
    sockets.run("systemctl", "start", SERVICE)
    # Flag 1: do not block.
    client = CLIENT.replace('">BBHI", 1, 0, 7', '">BBHI", 1, 1, 7')
    assert client != CLIENT
    done = sockets.run("python3", "-c", client, "/run/hwentropy/entropy.sock", "32")
    assert len(bytes.fromhex(done.stdout)) == 32


def test_status_says_in_words_how_it_is(service: Machine) -> None:
    """`systemctl status` shows the daemon's own line."""
    eventually(lambda: bool(service.show(SERVICE, "StatusText")), "a status text")
    shown = service.run("systemctl", "status", SERVICE).stdout
    assert f'Status: "{service.show(SERVICE, "StatusText")}"' in shown


def test_restart_keeps_the_sockets(service: Machine) -> None:
    """A restart leaves the socket files alone, and who connects during it is served."""
    inodes = ("stat", "-c", "%i", "/run/hwentropy/entropy.sock", "/run/hwentropy/control.sock")
    before = service.run(*inodes).stdout
    pid = service.show(SERVICE, "MainPID")
    service.run("systemctl", "restart", "--no-block", SERVICE)
    assert len(draw(service, "entropy.sock")) == 64
    eventually(lambda: service.show(SERVICE, "SubState") == "running", "running again")
    assert service.show(SERVICE, "MainPID") != pid
    assert service.run(*inodes).stdout == before
    assert draw(service, "stream.sock") != draw(service, "stream.sock")


def test_a_killed_daemon_serves_again_within_a_second(service: Machine) -> None:
    """kill -9 of the supervisor: from then to the bytes of a client, the best of three.

    The best, as the bound is the unit's and the daemon's, not the machine's of the day.
    """
    took = []
    for number in range(1, 4):
        took.append(float(service.run("python3", "-c", KILL_AND_DRAW, SERVICE).stdout))
        eventually(
            lambda: service.show(SERVICE, "SubState") == "running", f"up after kill {number}"
        )
    assert service.show(SERVICE, "NRestarts") == "3"
    assert min(took) < 1.0, took


def test_stop_is_clean_and_quick(service: Machine) -> None:
    """SIGTERM ends it with success and leaves no process, no socket file of its own."""
    service.run("systemctl", "stop", SERVICE)
    # Within TimeoutStopSec (5 s), which would end it with another result.
    assert service.show(SERVICE, "Result") == "success"
    assert service.show(SERVICE, "ExecMainStatus") == "0"
    listing = service.run("ls", "-A", "/run/hwentropy").stdout.split()
    assert sorted(listing) == ["control.sock", "entropy.sock", "stream.sock"]


def test_watchdog_replaces_a_frozen_daemon(sockets: Machine) -> None:
    """A stopped supervisor is killed by the watchdog and a new one serves."""
    # The unit's own 30 s work the same way; the test does not wait for them.
    dropin = "[Service]\nWatchdogSec=2\nRestartSec=0\n"
    folder = f"/run/systemd/system/{SERVICE}.d"
    sockets.run("mkdir", "-p", folder)
    sockets.run("tee", f"{folder}/watchdog.conf", stdin=dropin)
    sockets.run("systemctl", "daemon-reload")
    sockets.run("systemctl", "start", SERVICE)
    before = processes(sockets)
    seen: set[str] = set()

    def has_given_signs_of_life() -> bool:
        seen.add(sockets.show(SERVICE, "WatchdogTimestampMonotonic"))
        return len(seen) >= 3

    eventually(has_given_signs_of_life, "two pings of the watchdog")
    assert sockets.show(SERVICE, "NRestarts") == "0"

    sockets.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", SERVICE)
    eventually(lambda: sockets.show(SERVICE, "NRestarts") == "1", "a restart")
    eventually(lambda: sockets.show(SERVICE, "SubState") == "running", "running again")
    journal = sockets.run("journalctl", "-u", SERVICE, "-o", "cat", "--no-pager").stdout
    assert "Watchdog timeout (limit 2s)!" in journal
    assert not set(before) & set(processes(sockets)), "a process of the frozen daemon lives on"
    assert len(draw(sockets, "entropy.sock")) == 64


def test_every_process_is_sandboxed(service: Machine) -> None:
    """Supervisor and workers run as hwentropy with no capability, filtered, no core file."""
    uid = service.run("id", "-u", "hwentropy").stdout.strip()
    main = service.show(SERVICE, "MainPID")
    pids = processes(service)
    assert main in pids
    assert len(pids) >= 2, "no worker"
    for pid in pids:
        status = status_of(service, pid)
        assert set(status["Uid"].split()) == {uid}
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {
            "0" * 16
        }
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"  # a filter, see proc(5)
        limits = service.run("cat", f"/proc/{pid}/limits").stdout
        assert re.search(r"Max core file size +0 +0 ", limits)
    # The limit itself is in a control group only where the host's memory is on cgroup v2.
    assert service.show(SERVICE, "MemorySwapMax") == "0"


def test_the_processes_confine_themselves_in_the_sandbox(service: Machine) -> None:
    """The unit lets them have filters, Landlock and locked memory: nothing is missing."""
    journal = service.run("journalctl", "-u", SERVICE, "-o", "cat", "--no-pager").stdout
    assert "source os is healthy" in journal
    for lack in ("not filtered", "not confined", "LimitMEMLOCK"):
        assert lack not in journal


def test_the_file_system_is_read_only(service: Machine) -> None:
    """In the daemon's own mount namespace not even root can write below /, /etc or /var."""
    pid = service.show(SERVICE, "MainPID")
    for folder in ("/", "/etc", "/usr", "/var", "/run/hwentropy"):
        done = service.run(
            "nsenter", "-t", pid, "-m", "--", "touch", f"{folder}/x", check=False
        )
        assert "Read-only file system" in done.stderr, folder


def test_the_network_is_out_of_reach(service: Machine) -> None:
    """In the daemon's own network namespace there is nothing but a loopback that is down."""
    pid = service.show(SERVICE, "MainPID")
    done = service.run("nsenter", "-t", pid, "-n", "--", "cat", "/proc/net/dev")
    names = re.findall(r"^ *(\w+):", done.stdout, re.MULTILINE)
    assert names == ["lo"]


def test_user_has_the_group_of_the_tpm(machine: Machine) -> None:
    """sysusers.d makes the user and puts it into the group that owns the TPM."""
    groups = machine.run("id", "-Gn", "hwentropy").stdout.split()
    assert sorted(groups) == ["hwentropy", "tss"]


@pytest.mark.skipif(not Path("/dev/hwrng").exists(), reason="no /dev/hwrng on this machine")
def test_hwrng_is_read_by_group_and_device_rule(service: Machine) -> None:
    """The hardware generator is opened without privilege and passes its startup test."""
    eventually(
        lambda: sources(service)["hwrng"]["state"] == "healthy",
        f"hwrng healthy: {sources(service)['hwrng']}",
    )


@pytest.mark.skipif(
    not Path("/sys/class/misc/hw_random").exists(), reason="no hw_random on this machine"
)
def test_udev_rule_gives_hwrng_to_the_group(machine: Machine) -> None:
    """udev reads the rule and would give /dev/hwrng to group hwentropy, mode 0640."""
    done = machine.run("udevadm", "test", "/sys/class/misc/hw_random", check=False)
    output = done.stdout + done.stderr
    gid = machine.run("getent", "group", "hwentropy").stdout.split(":")[2]
    assert "70-hwentropy.rules" in output
    assert re.search(rf"70-hwentropy.rules:\d+ (GROUP {gid}|MODE 0640)", output), output[-2000:]


def test_modes_of_the_installed_files() -> None:
    """No unit is executable or writable by others: systemd would warn at each start."""
    for file in (TREE / "systemd").iterdir():
        assert not stat.S_IMODE(file.stat().st_mode) & 0o133, file
