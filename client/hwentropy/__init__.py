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
    from .apikeys import find_api_keys, generate_api_key, parse_api_key
    from .blocking.client import Client
    from .control import Control
    from .errors import (
        CheckFailed,
        ControlError,
        DaemonUnavailable,
        Expired,
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
    from .hashing import check_password, generate_salt, hash_password, needs_rehash
    from .otp import OneTimeCodes, generate_otp_secret
    from .passphrases import generate_passphrase
    from .passwords import generate_password
    from .pins import generate_pin
    from .session import Session
    from .signed_tokens import SignedTokens, generate_signing_key
    from .tempfiles import secure_temporary_file
    from .token_service import InvalidToken, TokenService, TokenStoreError
    from .webhooks import Webhook, generate_webhook_secret

__all__ = [
    "AsyncClient",
    "CheckFailed",
    "Client",
    "Control",
    "ControlError",
    "DaemonUnavailable",
    "Expired",
    "FailedClosed",
    "HwentropyError",
    "Info",
    "InvalidToken",
    "NotPermitted",
    "NotSeeded",
    "OneTimeCodes",
    "OverQuota",
    "ProtocolError",
    "RequestRefused",
    "Session",
    "SignedTokens",
    "Timeout",
    "TokenService",
    "TokenStoreError",
    "Webhook",
    "check_password",
    "find_api_keys",
    "generate_api_key",
    "generate_otp_secret",
    "generate_passphrase",
    "generate_password",
    "generate_pin",
    "generate_salt",
    "generate_signing_key",
    "generate_webhook_secret",
    "hash_password",
    "needs_rehash",
    "parse_api_key",
    "secure_temporary_file",
]

_ELSEWHERE: Final = {
    "AsyncClient": ".aio.client",
    "Client": ".blocking.client",
    "Control": ".control",
    "Info": ".exchange",
    "InvalidToken": ".token_service",
    "OneTimeCodes": ".otp",
    "Session": ".session",
    "SignedTokens": ".signed_tokens",
    "TokenService": ".token_service",
    "TokenStoreError": ".token_service",
    "Webhook": ".webhooks",
    "check_password": ".hashing",
    "find_api_keys": ".apikeys",
    "generate_api_key": ".apikeys",
    "generate_otp_secret": ".otp",
    "generate_passphrase": ".passphrases",
    "generate_password": ".passwords",
    "generate_pin": ".pins",
    "generate_salt": ".hashing",
    "generate_signing_key": ".signed_tokens",
    "generate_webhook_secret": ".webhooks",
    "hash_password": ".hashing",
    "needs_rehash": ".hashing",
    "parse_api_key": ".apikeys",
    "secure_temporary_file": ".tempfiles",
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
