"""The root DRBG: seeded from the pool, parent of every worker's DRBG.

A reseed is one step: the pool's seed goes in with the old key, every child is
sent a seed of the new generation, and only then does the generation page move.
A child that finds the page moved before its seed arrived waits for the seed.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from hwentropy_core.locked import locked_drbg
from hwentropy_core.page import PageWriter
from hwentropy_core.paths import BOOT_ID

from .pool import Seed

log = logging.getLogger(__name__)

#: Called with the new generation before it is published; sends the children seeds.
BeforePublish = Callable[[int], None]


class Root:
    """Owner of the root key and of the generation page."""

    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        self.page = PageWriter()
        self._drbg, locked = locked_drbg(b"root")
        if not locked:
            log.warning(
                "keys are in memory that may be swapped out: raise the limit on locked "
                "memory (LimitMEMLOCK=, ulimit -l)"
            )
        self._children = 0
        self.reseeds = 0
        """Seeds taken so far, the first one included."""
        try:
            self._boot_id = boot_id.read_text().strip()
        except OSError:
            self._boot_id = "unknown"  # hidden by a sandbox; the rest keeps daemons apart

    @property
    def generation(self) -> int:
        """0 before the first seed; moves with every reseed."""
        return self.page.generation

    @property
    def seeded(self) -> bool:
        """Whether there was a full-strength seed, and since the machine was copied."""
        return self._drbg.reseeds > 0

    def reseed(self, seed: Seed, before_publish: BeforePublish) -> int:
        """Mix a seed in and move the generation; returns the new one."""
        materials = list(seed.materials)
        if not self.seeded:
            materials.append((b"instance", self._nonce().encode()))
        try:
            self._drbg.reseed(materials)
        finally:
            seed.wipe()
        self.reseeds += 1
        generation = self.generation + 1
        before_publish(generation)
        self.page.generation = generation
        return generation

    def child_seed(self, label: bytes, generation: int) -> bytearray:
        """A seed for a child; no two calls ever give the same one."""
        self._children += 1
        return self._drbg.child_seed(b"%s %d" % (label, self._children), generation)

    def forget(self) -> None:
        """The machine was copied: no byte from this state any more, whoever has it.

        The generation moves before there is a seed of it, so children wait for the next.
        """
        self._drbg.erase()
        self.page.generation += 1

    def _nonce(self) -> str:
        """SP 800-90A's nonce (8.6.7): what no other daemon has said or will say.

        Which start of the kernel; in it, which open file the page is, of all that are
        open, and when; and the date, should boot ids repeat.  It holds no entropy.
        """
        page = os.fstat(self.page.fd)
        return (
            f"{self._boot_id} {page.st_dev}:{page.st_ino} {os.getpid()} "
            f"{time.clock_gettime_ns(time.CLOCK_BOOTTIME)} {time.time_ns()}"
        )

    def erase(self) -> None:
        """Forget the root key; for the end of the process."""
        self._drbg.erase()
