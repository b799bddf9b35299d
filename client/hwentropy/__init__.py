"""Random bytes from the hwentropy daemon.

    import hwentropy

    with hwentropy.Client() as client:
        key = client.read(32)

Names are loaded when they are first used, so that importing the package costs
next to nothing and the blocking client never loads asyncio.  docs/client.md
tells the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .aio.client import AsyncClient
    from .blocking.client import Client
    from .control import Control
    from .errors import (
        ControlError,
        DaemonUnavailable,
        FailedClosed,
        HwentropyError,
        NotPermitted,
        NotSeeded,
        OverQuota,
        ProtocolError,
        RequestRefused,
        Timeout,
    )
    from .exchange import Info

__all__ = [
    "AsyncClient",
    "Client",
    "Control",
    "ControlError",
    "DaemonUnavailable",
    "FailedClosed",
    "HwentropyError",
    "Info",
    "NotPermitted",
    "NotSeeded",
    "OverQuota",
    "ProtocolError",
    "RequestRefused",
    "Timeout",
]

_ELSEWHERE: Final = {
    "AsyncClient": ".aio.client",
    "Client": ".blocking.client",
    "Control": ".control",
    "Info": ".exchange",
}


def __getattr__(name: str) -> object:
    """Load an exported name (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ELSEWHERE.get(name, ".errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *__all__})
