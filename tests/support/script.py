"""Scripts in a Python of their own, which may fork as it has no other threads.

    run_script(TEXT, path)      its standard output; raises when it fails or hangs

`client` and `core` are on its path, its arguments in `sys.argv[1:]`.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Seconds for what takes one or two on an idle machine.
PATIENCE = 120.0


def environment() -> dict[str, str]:
    """Ours, with the packages of the tree."""
    return os.environ | {"PYTHONPATH": f"{ROOT / 'client'}{os.pathsep}{ROOT / 'core'}"}


def run_script(text: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run it to its end; what it prints to standard error comes with the exception."""
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout
