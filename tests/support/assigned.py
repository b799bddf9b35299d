"""The message that gives a worker a connection, of an ordinary user without limits."""

from hwentropyd.channel import Assign
from hwentropyd.role import Role


def assigned(
    number: int = 1,
    role: Role = Role.ENTROPY,
    *,
    user: int = 1,
    may_have_fresh: bool = True,
    requests_per_second: int = 0,
    bytes_per_second: int = 0,
    leases_per_second: int = 0,
) -> Assign:
    """One of user 1,000."""
    return Assign(
        number,
        role,
        user,
        1000,
        1000,
        4711,
        may_have_fresh,
        requests_per_second,
        bytes_per_second,
        leases_per_second,
    )
