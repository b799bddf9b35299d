"""Every block of docs/secrets-or-random.md, run against a real daemon."""

import json
import re
from pathlib import Path

import pytest

from hwentropy import secrets
from support import needed
from support.daemon import Daemon
from support.script import blocks, run_block, run_python

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "secrets-or-random.md").read_text()


@pytest.mark.parametrize("block", blocks("secrets-or-random.md"))
def test_blocks_run(block: str, real_daemon: Daemon, tmp_path: Path) -> None:
    """Each block runs by itself, its assertions hold, and nothing is on standard error."""
    if "hwentropy.numpy" in block:
        needed.module("numpy", "NumPy is not installed (the extra `numpy`)")
    if "default_rng" in block:
        why = "the C extension was not built"
        needed.module("hwentropy._bitgen", why)
    run_block(block, real_daemon.directory, tmp_path)


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
    done = run_python("-c", script, check=True)
    # Zero, or on CPython 3.13 whatever lay in memory: twice the same, near 0.
    first, second = json.loads(done.stdout)
    assert first == second
    assert abs(first) < 1e-300
    assert "no bytes" in done.stderr
