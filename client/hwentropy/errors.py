"""Every exception of the client library.

    HwentropyError                 (hwentropy_core.errors)
    ├── ProtocolError              the daemon sent what the protocol does not allow
    ├── DaemonUnavailable          nobody answers at the socket, or no longer
    ├── NotPermitted               this user may not ask, or may not open the socket
    ├── NotSeeded                  nothing credited yet, and the caller would not wait
    ├── OverQuota                  this user has had its share for now
    ├── FailedClosed               too few sources can be trusted: no bytes rather than bad ones
    ├── RequestRefused             the daemon calls the request too long or malformed
    ├── Timeout                    the client's own timeout; also a TimeoutError
    ├── CheckFailed                a password, token, code or signature is not the right one
    ├── Expired                    it is the right one, but its time is over; also a CheckFailed
    └── ControlError               an error reply on the control socket, by its name

All but ControlError say in one sentence what failed, on what, and what to do.
No message holds a byte that was read.
"""

from collections.abc import Mapping
from typing import Final

from hwentropy_core.errors import HwentropyError, ProtocolError
from hwentropy_core.wire import Status

__all__ = [
    "DEGRADED",
    "NOT_LIVE",
    "CheckFailed",
    "ControlError",
    "DaemonUnavailable",
    "Expired",
    "FailedClosed",
    "HwentropyError",
    "NotPermitted",
    "NotSeeded",
    "OverQuota",
    "ProtocolError",
    "RequestRefused",
    "Timeout",
    "refusal",
]


#: No exception, for the bytes do come: what those are told who draw meanwhile.
DEGRADED: Final = (
    "served while degraded: too few healthy sources, or no new seed for too long; "
    "see `hwentropy status`"
)


#: The same of prediction resistance, and of a reseed that was asked for.
NOT_LIVE: Final = (
    "met by generators alone, whose last reseed may be older than the request: no live "
    "source that is credited is healthy; see `hwentropy sources`"
)


class DaemonUnavailable(HwentropyError):  # noqa: N818 - says the cause, as its fellows do
    """No daemon answers at the socket, or it went away in the middle of a reply."""


class NotPermitted(HwentropyError):  # noqa: N818 - the name of the protocol's status
    """The daemon's policy (status 3) or the socket's mode keeps this user out."""


class NotSeeded(HwentropyError):  # noqa: N818 - the name of the protocol's status
    """Status 1: asked not to block, and the daemon is not seeded yet."""


class OverQuota(HwentropyError):  # noqa: N818 - the name of the protocol's status
    """Status 4: this user has used up its share, also after pauses within the timeout."""


class FailedClosed(HwentropyError):  # noqa: N818 - the name of the protocol's status
    """Status 5: too few sources can be trusted, or give what prediction resistance needs."""


class RequestRefused(HwentropyError):  # noqa: N818 - its fellows' form
    """Status 2 or 6: the daemon does not take the request (an older or newer protocol)."""


class Timeout(HwentropyError, TimeoutError):  # noqa: N818 - as concurrent.futures, queue and zmq
    """The call took longer than the client's `timeout`; its connection was closed."""


class CheckFailed(HwentropyError):  # noqa: N818 - says the cause, as its fellows do
    """What was shown (a password, token, code or signature) is not the right one."""


class Expired(CheckFailed):
    """What was shown was the right one, but its time is over, or has not come."""


class ControlError(HwentropyError):
    """An error reply on the control socket.

    `name` is its full Varlink name, `parameters` what came with it.
    """

    def __init__(self, name: str, parameters: Mapping[str, object]) -> None:
        self.name = name
        self.parameters = parameters
        told = ", ".join(f"{key}: {value!r}" for key, value in parameters.items())
        super().__init__(f"the daemon answers {name}" + (f" ({told})" if told else ""))


_REFUSALS: dict[Status, tuple[type[HwentropyError], str]] = {
    Status.NOT_SEEDED: (
        NotSeeded,
        "the daemon at {path} is not seeded yet; try again later, or wait for it (block=True)",
    ),
    Status.TOO_LONG: (
        RequestRefused,
        "the daemon at {path} finds the request too long; update the older of the two",
    ),
    Status.NOT_PERMITTED: (
        NotPermitted,
        (
            "the daemon at {path} does not permit this to this user; ask its administrator "
            "for [access] in hwentropyd.toml"
        ),
    ),
    Status.OVER_QUOTA: (
        OverQuota,
        "this user is over its quota at {path}; ask for less, or later",
    ),
    Status.FAILED_CLOSED: (
        FailedClosed,
        "the daemon at {path} has no source to trust for this now; see `hwentropy sources`",
    ),
    Status.BAD_REQUEST: (
        RequestRefused,
        "the daemon at {path} does not know the request; update the older of the two",
    ),
}


def refusal(status: Status, path: str) -> HwentropyError:
    """The exception for a reply whose status is not OK."""
    kind, sentence = _REFUSALS[status]
    return kind(sentence.format(path=path))
