"""The environment that tools/prepare makes of a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system


def test_a_folder_named_hwentropy_hides_no_package(tmp_path: Path) -> None:
    """Python that is started beside a clone of that name finds the package."""
    (tmp_path / "hwentropy").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "import hwentropy; print(hwentropy.Client.__name__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("Client\n", 0), done.stderr
