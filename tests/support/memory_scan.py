"""Reads the memory of live processes and says where a known secret is in it.

    twin = generator_of(pid, b"worker")          gives what that process will give next
    found = scan([pid], {"a seed": seed})        {"a seed": ["12 [heap] 55d0..."]}
    assert_gone([pid], {"a seed": seed})         polls: a buffer is overwritten after its use

Every mapping that can be read is, by /proc/PID/mem, but for those of files that the
process cannot write to.  A secret counts as found where any PIECE bytes of it are, from
an offset that STEP divides: an allocator that writes its own words over the beginning
of freed memory does not hide the rest.

Needs CAP_SYS_PTRACE, since the daemon's processes are not dumpable (`MISSING`).  What
it does not see: registers, pages that were swapped out and came back elsewhere, the
kernel's buffers, and what is not there any more by the time it looks.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwentropy_core.limits import BLOCK_BYTES, KEY_BYTES
from support.drbg_reference import ReferenceDrbg

#: Why a test that scans is skipped; None: it is not.
MISSING: Final = None if os.geteuid() == 0 else "only root reads the memory of other processes"

#: By chance any 16 bytes are somewhere in 100 MB with a probability of 2^-101.
PIECE: Final = 16
STEP: Final = 8
#: Pieces of a long output that are looked for: evenly spread.
MOST_PIECES: Final = 16

#: Seconds until a wipe that follows an answer has to be over, on a busy machine.
PATIENCE: Final = 20.0

_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")

#: Ours: locked, wiped on fork, in no core dump (proc(5), VmFlags).
_LOCKED: Final = {"lo", "wf", "dd"}


@dataclass(frozen=True, slots=True)
class Region:
    """One mapping of a process."""

    start: int
    end: int
    name: str
    flags: frozenset[str]

    @property
    def kept(self) -> bool:
        """Whether it is memory for secrets: gone in a fork, and in no core dump."""
        return {"wf", "dd"} <= self.flags

    @property
    def locked(self) -> bool:
        """Whether it is that of `hwentropy_core.locked`."""
        return self.flags >= _LOCKED


def regions(pid: int) -> list[Region]:
    """What of a process can be read."""
    found: list[Region] = []
    span: tuple[int, int, str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.fullmatch(line):
            start, end, rights, name = mapping.groups()
            readable = rights.startswith("rw") or (rights[0] == "r" and not name)
            span = (int(start, 16), int(end, 16), name) if readable else None
        elif span is not None and line.startswith("VmFlags:"):
            found.append(Region(*span, frozenset(line.split()[1:])))
    return found


def read(pid: int, region: Region) -> bytes:
    """The bytes of a mapping; fewer, or none, where it has changed meanwhile."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        try:
            memory.seek(region.start)
            return memory.read(region.end - region.start) or b""
        except OSError:
            return b""  # unmapped since, or memory of a device


def generator_of(pid: int, purpose: bytes) -> ReferenceDrbg:
    """A copy of the one locked generator of a process, which gives the same from here on.

    Where all that it gave since its last reseed was of KEY_BYTES each.
    """
    [region] = [one for one in regions(pid) if one.locked]
    memory = read(pid, region)
    copy = ReferenceDrbg(purpose)
    copy.key = memory[:KEY_BYTES]
    # What was given out is zeros; so may be the first of what was not.
    rest = memory[-BLOCK_BYTES:].lstrip(b"\0")
    copy.rest = bytes(-len(rest) % KEY_BYTES) + rest
    return copy


def pieces(secret: bytes) -> list[bytes]:
    """What of a secret is looked for."""
    every = [secret[at : at + PIECE] for at in range(0, len(secret) - PIECE + 1, STEP)]
    assert every, "too short to be told from chance"
    assert all(len(set(one)) > PIECE // 2 for one in every), "no random bytes"
    return every[:: max(1, len(every) // MOST_PIECES)]


def scan(
    pids: Iterable[int], secrets: Mapping[str, bytes], *, kept: bool = False
) -> dict[str, list[str]]:
    """Where each secret is, by its name; without those that are nowhere.

    With `kept` memory for secrets is looked at too, which is where the living ones are.
    """
    wanted = {name: pieces(secret) for name, secret in secrets.items()}
    found: dict[str, list[str]] = {}
    for pid in pids:
        for region in regions(pid):
            if region.kept and not kept:
                continue
            memory = read(pid, region)
            for name, parts in wanted.items():
                at = max(map(memory.find, parts))
                if at >= 0:
                    place = f"{pid} {region.name or 'anonymous'} {region.start + at:#x}"
                    found.setdefault(name, []).append(place)
    return found


def assert_gone(
    pids: Iterable[int], secrets: Mapping[str, bytes], *, kept: bool = False
) -> None:
    """Fail with the places where a secret still is after PATIENCE seconds."""
    pids = list(pids)
    give_up = time.monotonic() + PATIENCE
    left: Mapping[str, bytes] = secrets
    while found := scan(pids, left, kept=kept):
        assert time.monotonic() < give_up, f"not erased: {found}"
        left = {name: secrets[name] for name in found}
        time.sleep(0.05)
