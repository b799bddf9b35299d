"""What a worker is told first; apart, so that the supervisor imports nothing else of it."""

import msgspec


class WorkerSettings(msgspec.Struct, frozen=True):
    """The page's descriptor comes with them."""

    lease_bytes: int
    lease_seconds: int
