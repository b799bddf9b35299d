"""A Debian with a real systemd as PID 1, in a container, in about a second.

`base_root()` makes a root directory with debootstrap once (about a minute) and
keeps it under `$XDG_CACHE_HOME/hwentropy`; each `Machine` boots a copy of it.
Commands run inside with nsenter, so neither a login nor D-Bus on the host is
needed.  udevd does not run inside a container: device nodes are made by hand.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"
PACKAGES: Final = "systemd,systemd-sysv,dbus,udev,python3"

#: Seconds for systemd inside to have started everything; it takes 0.8 s alone on
#: two cores, and sixty times that is for a machine busy with other tests.
BOOT_DEADLINE: Final = 50.0

#: Seconds for one command inside; the longest waits for a unit's start (90 s).
COMMAND_DEADLINE: Final = 120.0

LANDLOCK: Final = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"

_TOOLS: Final = ("debootstrap", "systemd-nspawn", "nsenter")

_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class NoContainerError(Exception):
    """This machine cannot run a container; the message says why."""


def require() -> None:
    """Raise NoContainerError with the reason where no container can run."""
    if os.geteuid() != 0:
        raise NoContainerError("a container with systemd needs root")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoContainerError(
            f"no {', '.join(missing)} on this machine (make test installs it)"
        )
    if not _KEYRING.exists():
        raise NoContainerError("no Debian archive keys; install debian-archive-keyring")


def base_root() -> Path:
    """The cached root directory, made first where it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwentropy"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / SUITE
    with (cache / f"{SUITE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            # Renamed when it is whole: an interrupted debootstrap is begun again.
            unfinished = cache / f"{SUITE}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            made = subprocess.run(
                [
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={PACKAGES}",
                    SUITE,
                    unfinished,
                ],
                check=False,
                capture_output=True,
                text=True,
            )
            if made.returncode != 0:
                raise NoContainerError(
                    f"debootstrap failed: {made.stdout[-500:]}{made.stderr[-500:]}"
                )
            unfinished.rename(root)
    return root


class Machine:
    """A container that boots a copy of the base root; see `booted`."""

    def __init__(self, directory: Path) -> None:
        """`directory` is an empty one of the caller's, for the root and the log."""
        self.root = directory / "root"
        self.log = directory / "nspawn.log"
        # cp keeps owners, modes and hard links, and shares blocks where it can.
        subprocess.run(["cp", "-a", "--reflink=auto", base_root(), self.root], check=True)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @property
    def python_version(self) -> str:
        """The version of its /usr/bin/python3, as in `3.11`."""
        return (self.root / "usr/bin/python3").readlink().name.removeprefix("python")

    def boot(self, *options: str) -> None:
        """Start it with these further nspawn options; back when systemd is up."""
        # fmt: off
        command = [
            "systemd-nspawn", "-q", "-D", str(self.root), f"--machine=hwentropy-{os.getpid()}",
            "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no",
            # Without these two and the variable below DeviceAllow= is not enforced, silently;
            # and nspawn of systemd 252 does not let Landlock through.
            "--capability=all", f"--system-call-filter=bpf {LANDLOCK}",
            *options, "-b",
        ]
        # fmt: on
        with self.log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                command,
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + BOOT_DEADLINE
        while not self._is_up(self._nspawn):
            if self._nspawn.poll() is not None:
                raise NoContainerError(
                    f"the container did not start: {self.log.read_text()[-800:]}"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise NoContainerError(
                    f"systemd did not come up in {BOOT_DEADLINE:.0f} s: "
                    f"{self.log.read_text()[-800:]}"
                )
            time.sleep(0.05)

    def _is_up(self, nspawn: subprocess.Popen[bytes]) -> bool:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if not children:
            return False
        self._leader = int(children[0])
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        # Degraded: some unit of the container's own failed, which is not our business.
        return state in {"running", "degraded"}

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: str | None = None,
        user: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root or as `user`; its output as text."""
        prefix: Sequence[str] = ["nsenter", "-t", str(self._leader), "-a", "--"]
        if user is not None:
            prefix = [*prefix, "runuser", "-u", user, "--"]
        done = subprocess.run(
            [*prefix, *command],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=COMMAND_DEADLINE,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} gave {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` gives it."""
        return self.run(
            "systemctl", "show", "--value", f"--property={name}", unit
        ).stdout.strip()

    def stop(self) -> None:
        """End it at once; nothing in it is worth an orderly shutdown."""
        if self._nspawn is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # PID 1 of the namespace: the kernel kills everything with it.
            if self._leader:
                os.kill(self._leader, 9)
        self._nspawn.kill()
        self._nspawn.wait()
        self._nspawn = None


@contextlib.contextmanager
def machine(directory: Path) -> Generator[Machine]:
    """A Machine, not booted yet, that is stopped and removed at the end."""
    made = Machine(directory)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.root)
