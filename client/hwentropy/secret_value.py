"""A secret made for people, together with its entropy.

The entropy is that of the choice among all values that could have come out,
log2(how many), when each is as likely as the next.  It says nothing of what
becomes of the value afterwards.
"""

from typing import NamedTuple


class Generated(NamedTuple):
    """A password, passphrase or PIN: `value, bits = generate_password()`.

    Its repr and its str leave the value out, so that a log or a traceback does
    not show it by accident; `value` is the plain string.
    """

    value: str
    entropy_bits: float
    """log2 of the number of equally likely values."""

    def __repr__(self) -> str:
        return f"Generated(value=<hidden>, entropy_bits={self.entropy_bits:.1f})"
