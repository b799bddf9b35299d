"""A generator in locked memory: where its key is, and that it is the same generator."""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hwentropy_core import locked
from hwentropy_core.drbg import Drbg
from hwentropy_core.limits import BLOCK_BYTES

ROOT = Path(__file__).parents[2]


def flags_at(address: int, smaps: str) -> tuple[int, set[str]]:
    """Locked kB and VmFlags (proc(5)) of the mapping that an address lies in."""
    kilobytes, inside = 0, False
    for line in smaps.splitlines():
        field, *values = line.split()
        if "-" in field and not field.endswith(":"):
            start, end = (int(bound, 16) for bound in field.split("-"))
            inside = start <= address < end
        elif inside and field == "Locked:":
            kilobytes = int(values[0])
        elif inside and field == "VmFlags:":
            return kilobytes, set(values)
    raise AssertionError("nothing is mapped there")


def test_the_memory_is_locked_not_dumped_and_wiped_on_fork() -> None:
    """The kernel says so of the pages that key and block are in."""
    drbg, is_locked = locked.locked_drbg(b"test")
    if not is_locked:
        pytest.skip(f"RLIMIT_MEMLOCK is {resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]}")
    smaps = Path("/proc/self/smaps").read_text()
    for part in (drbg._key, drbg._block):
        address = ctypes.addressof(ctypes.c_char.from_buffer(part))
        kilobytes, flags = flags_at(address, smaps)
        assert kilobytes >= BLOCK_BYTES // 1024
        assert {"lo", "dd", "wf"} <= flags


def test_it_gives_what_the_same_generator_elsewhere_gives() -> None:
    """Small, large and after a reseed."""
    here, _ = locked.locked_drbg(b"test")
    there = Drbg(b"test")
    for seed in (b"first", b"second"):
        for drbg in (here, there):
            drbg.reseed([(b"label", seed)])
        for size in (1, 32, 1000, 5000):
            assert here.read(size) == there.read(size)


#: Gives up every right to locked memory, as an ordinary user with a limit of 0.
UNLOCKED = """
import logging, os, resource
from hwentropyd.seeding.root import Root
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)
Root()
"""


def test_where_nothing_may_be_locked_the_daemon_says_so() -> None:
    """It goes on, with one line that names the limit."""
    done = subprocess.run(
        [sys.executable, "-c", UNLOCKED],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/core:{ROOT}/sources:{ROOT}/daemon"},
    )
    assert "LimitMEMLOCK" in done.stderr
    assert len(done.stderr.splitlines()) == 1
