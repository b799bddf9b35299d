"""The devices of another machine: umockdev's /sys and /dev, under the real libudev."""

import shutil
import subprocess
import sys
from pathlib import Path

from support import needed


def run_with_devices(devices: str, script: str, directory: Path) -> str:
    """What a Python script prints that sees these devices (umockdev-run's format) alone."""
    runner = shutil.which("umockdev-run")
    needed.check("" if runner else "umockdev-run is not installed (Debian: umockdev)")
    assert runner is not None
    machine = directory / "machine.umockdev"
    machine.write_text(devices)
    return subprocess.run(
        [runner, "--device", str(machine), "--", sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    ).stdout
