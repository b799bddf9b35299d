"""The C client's known-answer tests: right here, and they find what computes wrongly."""

from collections.abc import Iterator

import pytest

from support.compiled import PROGRAMS, Compiler, Probe

pytestmark = pytest.mark.process


@pytest.fixture(scope="module", params=[(), ("-DHWENTROPY_PORTABLE",)], ids=["", "portable"])
def program(request: pytest.FixtureRequest, compiler: Compiler) -> Iterator[Probe]:
    """known_answers.c with the processor's vectors, and without."""
    with Probe(compiler(PROGRAMS / "known_answers.c", *request.param)) as probe:
        yield probe


def test_a_machine_that_computes_rightly_gets_a_client(program: Probe) -> None:
    """HWENTROPY_OK."""
    assert program.ask("nothing").startswith("0 1 ")


@pytest.mark.parametrize("wrong", ["cipher", "hash"])
def test_one_that_computes_wrongly_gets_none(wrong: str, program: Probe) -> None:
    """HWENTROPY_WRONG, with what to do; and once it is right again, a client."""
    answer = program.ask(wrong)
    assert answer.startswith("23 0 a known-answer test failed; nothing is asked of the daemon")
    assert answer.endswith("test the hardware, compile anew")
    assert program.ask("nothing").startswith("0 1 ")
