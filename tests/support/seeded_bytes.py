"""The client's byte supply, replaced by a seeded generator: pure logic, no daemon."""

import random
import sys

import pytest


class SeededBytes:
    """Gives bytes of a seeded generator and counts them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.given = 0

    def random_bytes(self, n: int) -> bytes:
        """As `hwentropy.generator.random_bytes`."""
        self.given += n
        return self._random.randbytes(n)

    def take(self, n: int) -> None:
        """As `hwentropy.generator.take` when it has nothing at hand."""
        assert n >= 0


def supply(monkeypatch: pytest.MonkeyPatch, source: SeededBytes) -> None:
    """Have every loaded module of the client draw from `source`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("hwentropy."):
            for function in ("random_bytes", "take"):
                if function in vars(module):
                    monkeypatch.setattr(module, function, getattr(source, function))
