"""Session tokens and API keys: issued, checked, revoked, and kept as keyed hashes only.

    from hwentropy.token_service import TokenService

    with TokenService("tokens.db") as service:
        issued = service.create_session("alice", scopes={"read"})
        record = service.validate(issued.token, scopes={"read"})
        service.revoke(record.id)

service   what a program calls: the rules, the clock, the randomness
records   what is known of a token
storage   what a store must do
sqlite    the store that comes with it: one SQLite database, shared by processes
keys      the key of the hashes and the file it is kept in
errors    InvalidToken, TokenStoreError

docs/token-service.md tells the rest, and what it does not protect against.
"""

from .errors import InvalidToken, TokenStoreError
from .records import Issued, Kind, Reason, TokenRecord
from .service import TokenService
from .sqlite import SQLiteStorage
from .storage import Storage

__all__ = [
    "InvalidToken",
    "Issued",
    "Kind",
    "Reason",
    "SQLiteStorage",
    "Storage",
    "TokenRecord",
    "TokenService",
    "TokenStoreError",
]
