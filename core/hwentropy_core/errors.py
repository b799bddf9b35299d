"""The root of every exception that hwentropy raises on purpose.

    HwentropyError
    └── ProtocolError      the peer sent what the protocol does not allow

The client library adds its own branches below `HwentropyError` (see
`hwentropy.errors`), the sources theirs (see `hwentropy_sources.contract`).
No message ever holds entropy, keys or output bytes.
"""


class HwentropyError(Exception):
    """Something hwentropy was asked for could not be done; the message says what to do."""


class ProtocolError(HwentropyError):
    """The peer sent what the protocol does not allow; the connection is of no more use."""
