"""What a test needs of the machine: missing, it is a skip with its reason, in CI a failure.

    pytestmark = needs(missing_swtpm())               a reason, or "" where nothing is missing
    np = needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
    needed.check("" if shutil.which("cc") else "no C compiler")

For what can be installed.  What a machine cannot be made to have (root, a CPU
instruction, a device) is an ordinary `skipif`, in CI too.
"""

import importlib
import os
from typing import Any, Final

import pytest

#: Whether this is the gate (`.ci/run`), which must not pass by skipping.
IN_CI: Final = os.environ.get("CI", "") not in {"", "0", "false"}


def needs(missing: str | None) -> pytest.MarkDecorator:
    """A mark; `missing` says what is missing, empty or None: nothing is."""
    return pytest.mark.needs(missing or "")


def check(missing: str | None) -> None:
    """The same, in a test, a fixture or at the top of a module."""
    if not missing:
        return
    if IN_CI:
        pytest.fail(f"{missing}; in CI nothing may be missing", pytrace=False)
    pytest.skip(missing, allow_module_level=True)


def module(name: str, missing: str) -> Any:
    """The module of this name; `missing` says what is missing where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        check(missing)
        raise
