"""`make run`: the daemon in the foreground, with a software TPM if asked for.

Without `--swtpm` this process becomes the daemon, so that Ctrl-C reaches it
directly.  With it, swtpm and the daemon are its children: Ctrl-C and SIGTERM are
handed on to the daemon, swtpm stops after it, and its state is removed.  Whoever
kills make or this process, even with SIGKILL, stops both (PR_SET_PDEATHSIG);
only the state directory below /tmp then stays behind.
"""

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

#: prctl(2): the signal a process gets when its parent dies; kept across execve.
PR_SET_PDEATHSIG: Final = 1

#: Seconds for swtpm to make its socket; it takes 0.05 s here, and a hundred times
#: that leaves room for a slow machine.
SWTPM_DEADLINE: Final = 5.0

#: Seconds for swtpm to end after SIGTERM before it is killed.
SWTPM_STOP: Final = 2.0

SYSTEM_CONFIG: Final = Path("/etc/hwentropy/hwentropyd.toml")
RUNTIME_VARIABLE: Final = "HWENTROPY_RUNTIME_DIR"

_libc = ctypes.CDLL(None, use_errno=True)


def say(sentence: str) -> None:
    """Print one line for the user, in the voice of tools/prepare."""
    print(f"hwentropy: {sentence}", file=sys.stderr, flush=True)


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process `number` when `parent`, its parent, dies."""
    _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    # It may have died before the call.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def on_stop(action: Callable[[int], None]) -> None:
    """Call `action` with the number of each signal that asks to stop."""

    def handler(number: int, _frame: FrameType | None) -> None:
        action(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def runtime_directory(chosen: str | None) -> list[str]:
    """The daemon's option for its socket directory, where one must be named."""
    if chosen:
        return ["--runtime-dir", chosen]
    login = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    if os.geteuid() == 0 or os.environ.get(RUNTIME_VARIABLE) or os.access(login, os.W_OK):
        return []
    # `su` and cron give no login session, so there is no directory of its own.
    directory = Path.home() / ".cache" / "hwentropy" / "run"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    say(
        f"no {login}, which a login session would have: the sockets go to {directory}; "
        f"for clients: export {RUNTIME_VARIABLE}={directory}"
    )
    return ["--runtime-dir", str(directory)]


def start_swtpm(state: Path) -> subprocess.Popen[bytes]:
    """Start a software TPM 2.0 whose command socket is `state/sock`."""
    program = shutil.which("swtpm")
    if program is None:
        sys.exit("hwentropy: no swtpm on this machine; as root: apt-get install swtpm")
    parent = os.getpid()
    # fmt: off
    arguments = [
        program, "socket", "--tpm2", "--tpmstate", f"dir={state}",
        "--server", f"type=unixio,path={state}/sock",
        # libtss2 looks for the control socket at exactly this name.
        "--ctrl", f"type=unixio,path={state}/sock.ctrl",
        "--flags", "not-need-init,startup-clear",
    ]
    # fmt: on
    with (state / "swtpm.log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C must not take it from under the daemon.
            start_new_session=True,
            # Single-threaded, and prctl allocates nothing.
            preexec_fn=lambda: die_with_parent(signal.SIGKILL, parent),  # noqa: PLW1509
        )
    deadline = time.monotonic() + SWTPM_DEADLINE
    while not (state / "sock").is_socket():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            reason = (state / "swtpm.log").read_text(errors="replace").strip()
            sys.exit(f"hwentropy: swtpm did not start: {reason or 'it said nothing'}")
        time.sleep(0.02)
    return process


def stop_swtpm(process: subprocess.Popen[bytes]) -> None:
    """Stop it, and kill it where it does not stop (a test may have frozen it)."""
    process.terminate()
    try:
        process.wait(SWTPM_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def refused(daemon: str, config: Path) -> int:
    """The daemon's exit status for a configuration it does not take, told with its words.

    Asked of the file itself: of the copy it would name a file that nobody knows.
    """
    asked = [daemon, "--check-config", "--config", str(config)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
    return done.returncode


def configure_swtpm(state: Path, base: Path | None) -> Path:
    """A copy of the configuration with a drop-in that adds the software TPM.

    It is the `tpm2` source, or one named `swtpm` beside it where the machine has
    a TPM of its own.
    """
    config = state / "hwentropyd.toml"
    dropins = state / "hwentropyd.toml.d"
    dropins.mkdir()
    config.touch()
    if base is not None:
        shutil.copyfile(base, config)
        for dropin in sorted(base.with_name(base.name + ".d").glob("*.toml")):
            shutil.copyfile(dropin, dropins / dropin.name)
    real = any(Path("/sys/class/tpmrm").glob("tpmrm*"))
    table = '[sources.swtpm]\nkind = "tpm2"' if real else "[sources.tpm2]"
    (dropins / "zz-swtpm.toml").write_text(f'{table}\ntcti = "swtpm:path={state}/sock"\n')
    return config


def run_with_swtpm(daemon: list[str], config: Path | None) -> int:
    """Run swtpm and the daemon until the daemon ends; its exit status."""
    # Until the daemon runs, a signal just ends this process, by way of `finally`.
    on_stop(lambda number: sys.exit(128 + number))
    if config is not None and (status := refused(daemon[0], config)):
        return status
    # Not below the tree: a Unix socket's path has at most 107 bytes.
    state = Path(tempfile.mkdtemp(prefix="hwentropy-swtpm-"))
    try:
        swtpm = start_swtpm(state)
        try:
            say(f"a software TPM answers at {state}/sock; it is for trying things out")
            return run_daemon([*daemon, "--config", str(configure_swtpm(state, config))])
        finally:
            stop_swtpm(swtpm)
    finally:
        shutil.rmtree(state)


def run_daemon(command: list[str]) -> int:
    """Run the daemon, hand signals on to it, and wait for it; its exit status."""
    parent = os.getpid()
    process = subprocess.Popen(
        command,
        # Its own group, so that a terminal's Ctrl-C reaches it once, from here.
        process_group=0,
        # Single-threaded, and prctl allocates nothing.
        preexec_fn=lambda: die_with_parent(signal.SIGTERM, parent),  # noqa: PLW1509
    )

    on_stop(process.send_signal)
    status = process.wait()
    return 128 - status if status < 0 else status


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description="Run the daemon in the foreground.")
    parser.add_argument("--swtpm", action="store_true", help="with a software TPM")
    parser.add_argument("--config", metavar="FILE", type=Path)
    parser.add_argument("--runtime-dir", metavar="DIR", help="where the sockets go")
    options = parser.parse_args()

    die_with_parent(signal.SIGTERM, os.getppid())
    # The one beside this interpreter: `make run VENV=...` means that one.
    daemon = [str(Path(sys.executable).with_name("hwentropyd"))]
    daemon += runtime_directory(options.runtime_dir)
    if options.swtpm:
        config = options.config or (SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None)
        sys.exit(run_with_swtpm(daemon, config))
    if options.config:
        daemon += ["--config", str(options.config)]
    os.execv(daemon[0], daemon)  # noqa: S606  # the point of it: no process between


if __name__ == "__main__":
    main()
