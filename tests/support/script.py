"""Programs of Python in a process of their own: scripts, commands, the blocks of a document.

    run_script(TEXT, path)                    what it prints; raises when it fails or hangs
    run_python("-m", "hwentropy", "get", …)   how it ended, and what it printed
    run_block(block, daemon.directory, tmp_path)   a document's example, which has to be quiet

`client`, `core` and the tests' own `support` are on its path.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
_PATH: Final = os.pathsep.join(str(ROOT / part) for part in ("client", "core", "tests"))

#: Seconds for what takes one or two on an idle machine.
PATIENCE: Final = 120.0


def environment(runtime: Path | None = None, **more: str) -> dict[str, str]:
    """Ours, with the packages of the tree, and the daemon that serves in `runtime`."""
    served = {} if runtime is None else {"HWENTROPY_RUNTIME_DIR": str(runtime)}
    return os.environ | {"PYTHONPATH": _PATH} | served | more


def run_python(
    *arguments: str, runtime: Path | None = None, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run Python to its end; `options` are those of subprocess.run."""
    given: dict[str, Any] = {
        "env": environment(runtime),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": PATIENCE,
    }
    check = options.pop("check", False)
    return subprocess.run([sys.executable, *arguments], check=check, **(given | options))


def run_script(text: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run it to its end; what it prints to standard error comes with the exception.

    In a Python of its own, which may fork as it has no other threads.
    """
    done = run_python("-c", text, *arguments, cwd=cwd)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout


def blocks(page: str, language: str = "python") -> list[str]:
    """The code blocks of a page below docs/."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_block(block: str, runtime: Path, cwd: Path) -> str:
    """Run a block by itself; it must warn of nothing and say nothing on standard error."""
    done = run_python("-W", "error", "-c", block, runtime=runtime, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
