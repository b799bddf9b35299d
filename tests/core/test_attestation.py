"""A TPM's quote: what is read of it, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_core.attestation import Clock, read_quote
from hwentropy_core.errors import ProtocolError
from support.p256 import attested

CLOCK = Clock(123_456, 7, 2)
QUOTE = attested(b"a statement", CLOCK)


def test_the_clock_is_read() -> None:
    """Of a quote of this statement."""
    assert read_quote(QUOTE, b"a statement") == CLOCK


@pytest.mark.parametrize(
    ("quote", "why"),
    [
        (attested(b"another statement", CLOCK), "another statement"),
        (b"\0" + QUOTE[1:], "no quote of a TPM"),
        (QUOTE[:5] + b"\x17" + QUOTE[6:], "no quote of a TPM"),
        (b"", "cut off"),
    ],
)
def test_anything_else_is_refused(quote: bytes, why: str) -> None:
    """Another statement, something that a TPM did not make, another kind of attestation."""
    with pytest.raises(ProtocolError, match=why):
        read_quote(quote, b"a statement")


@given(st.integers(0, len(QUOTE) - 23))
def test_a_quote_cut_off_before_its_clocks_end_is_refused(length: int) -> None:
    """At every byte; what follows the clock is not read."""
    with pytest.raises(ProtocolError):
        read_quote(QUOTE[:length], b"a statement")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(quote: bytes) -> None:
    """Nothing but ProtocolError is raised."""
    with pytest.raises(ProtocolError):
        read_quote(quote, b"a statement")


def test_the_clock_tells_how_long_it_was() -> None:
    """Where the machine ran through, and whether a reading can be the later one."""
    assert Clock(5000, 1, 1).since(Clock(2000, 1, 1)) == 3.0
    assert Clock(5000, 2, 1).since(Clock(2000, 1, 1)) is None
    assert Clock(5000, 1, 2).since(Clock(2000, 1, 1)) is None
    assert Clock(5000, 1, 1).goes_on_from(CLOCK) is False
    assert Clock(200_000, 7, 2).goes_on_from(CLOCK) is True
