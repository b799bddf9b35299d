"""What a socket is for: the one word that listener, acceptor and worker agree on."""

from enum import StrEnum


class Role(StrEnum):
    """The role of a listening socket and of each connection to it.

    The value is the socket's name (systemd's FileDescriptorName).
    """

    ENTROPY = "entropy"
    """Speaks the native protocol."""
    STREAM = "stream"
    """Gives bytes without being asked."""
    CONTROL = "control"
    """Varlink, for operators."""
