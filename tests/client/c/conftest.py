"""What the tests of the C and C++ headers share: the compiler and the two probes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import compiled
from support.compiled import PROGRAMS, Compiler, Native
from support.needed import needs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a compiler none of these tests can run: skipped, with the reason."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(needs(compiled.MISSING))


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Compiler:
    """One for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return Compiler((base if worker_id == "master" else base.parent) / "compiled")


@pytest.fixture(params=["probe.c", "probe.cpp"])
def native(request: pytest.FixtureRequest, compiler: Compiler) -> Iterator[Native]:
    """A process that draws through the C header, and one through the C++ header."""
    with Native(compiler(PROGRAMS / request.param)) as probe:
        yield probe


@pytest.fixture
def native_c(compiler: Compiler) -> Iterator[Native]:
    """The C one, whose client can be looked into."""
    with Native(compiler(PROGRAMS / "probe.c")) as probe:
        yield probe
