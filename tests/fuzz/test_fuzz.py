"""Parsers that meet a peer, under inputs that nobody thought of; `make fuzz` goes on longer.

A finding is kept below build/fuzz and shown with the command that repeats it.
"""

import time
from collections.abc import Iterator
from random import Random

import pytest

from fuzz.client import CLIENT_SEEDS, CompiledClient
from fuzz.findings import keep
from fuzz.mutate import mutate
from fuzz.targets import SEEDS, TARGETS, WORDS, Target
from support import compiled, needed
from support.compiled import Compiler

pytestmark = pytest.mark.process

#: A minute for all of them together.
SECONDS = 60 / (len(TARGETS) + 1)

#: Inputs between two looks at the clock.
BATCH = 100


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompiledClient]:
    """The C client in a process, with the sanitizers."""
    needed.check(compiled.MISSING)
    with CompiledClient(Compiler(tmp_path_factory.mktemp("compiled"))) as one:
        yield one


def fuzz(name: str, target: Target, seeds: list[bytes], words: list[bytes]) -> None:
    """The seeds themselves, and what can be made of them until the time is over."""
    # In CI the same inputs in every run, as far as the time goes.
    seed = 1 if needed.IN_CI else time.time_ns()
    rng = Random(seed)
    inputs = list(seeds)
    deadline = time.monotonic() + SECONDS
    while True:
        for data in inputs:
            try:
                target(data)
            except Exception as error:  # noqa: BLE001 - that is a finding
                pytest.fail(f"{error!r}: {keep(name, data)}")
        if time.monotonic() >= deadline:
            return
        inputs = [mutate(rng.choice(seeds), seeds, words, rng) for _ in range(BATCH)]


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_surprises_a_parser(name: str) -> None:
    """Parsed, or refused with its own error, and the same fed whole and byte by byte."""
    fuzz(name, TARGETS[name], SEEDS[name], WORDS.get(name, []))


def test_no_reply_surprises_the_c_client(client: CompiledClient) -> None:
    """All bytes or none, and nothing that the sanitizers complain of."""
    fuzz("client", client, CLIENT_SEEDS, [])
