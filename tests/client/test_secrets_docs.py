"""Every block of docs/secrets-or-random.md, run against a real daemon."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwentropy import secrets
from support import needed
from support.daemon import Daemon

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "secrets-or-random.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_run(block: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Each block runs by itself, its assertions hold, and nothing is on standard error."""
    if "hwentropy.numpy" in block:
        needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
    if "default_rng" in block:
        why = "the C extension was not built"
        needed.module("hwentropy._bitgen", why)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env=os.environ
        | {
            "HWENTROPY_RUNTIME_DIR": str(real_daemon.directory),
            "PYTHONPATH": f"{ROOT / 'client'}:{ROOT / 'core'}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_name_is_explained() -> None:
    """The page names everything that hwentropy.secrets exports."""
    for name in secrets.__all__:
        assert re.search(rf"`{name}\b", PAGE), name


def test_numpy_goes_on_when_a_callback_raises() -> None:
    """Why no callback of our BitGenerator may fail: no error comes out, no randomness."""
    needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
    script = """
import ctypes
import numpy
kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)
class BitGen(ctypes.Structure):  # numpy/random/bitgen.h
    _fields_ = [
        ("state", ctypes.c_void_p), ("next_uint64", ctypes.c_void_p),
        ("next_uint32", ctypes.c_void_p), ("next_double", kind), ("next_raw", ctypes.c_void_p),
    ]
def raises(_):
    raise RuntimeError("no bytes")
callback = kind(raises)
bits = numpy.random.PCG64()
ctypes.cast(bits.ctypes.bit_generator, ctypes.POINTER(BitGen)).contents.next_double = callback
print(numpy.random.Generator(bits).random(2).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    # Zero, or on CPython 3.13 whatever lay in memory: twice the same, near 0.
    first, second = json.loads(done.stdout)
    assert first == second
    assert abs(first) < 1e-300
    assert "no bytes" in done.stderr
