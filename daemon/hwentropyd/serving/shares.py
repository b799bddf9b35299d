"""Each user its share: the accounts that everything charges, in one place.

The rule (after dbus-broker's accounts, util/user.c): what a user may hold is

    (free + its own) / (users that hold something + 1)

so that a user alone gets half, the next one a sixth, the k-th T / (k (k + 1)): T / (k + 1)
stays free however they come and go, and one thing each even where that is less than one.
Part of everything is kept for operators alone.

Pure: values in, decisions out; the clock comes in.  What it does not protect against:
somebody with hundreds of users, or services, of their own.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from hwentropy_core.status import UserStatus
from hwentropyd.token_bucket import TokenBucket

from .identity import ShareKey

#: A quarter of a user's share of the reply memory goes to connections with a large buffer,
#: the rest to as many as it may have with a small one.
LARGE_PART: Final = 4

#: Users remembered that have no connection any more, for their counts: some days' of a
#: busy host, at half a KiB each.
REMEMBERED: Final = 256

#: Users in a status: at 200 bytes each, an eighth of the largest control message.
SHOWN: Final = 128

#: Seconds between two log lines about one user.
LOG_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class SendBuffer:
    """The kernel's buffer for the unread replies of one connection."""

    size: int
    """SO_SNDBUF, which the kernel doubles."""
    charge: int
    """Bytes that it can hold at most, with the message that overfills it."""


#: The kernel's own default (net.core.wmem_default): full speed in bulk.  Measured on
#: Linux 6.18: 245,504 bytes when full.
LARGE: Final = SendBuffer(106_496, 256 * 1024)

#: A third of that speed.  Measured: 18,432 bytes when full.
SMALL: Final = SendBuffer(8_192, 20 * 1024)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one user may have, where that is not a fair share; None: no limit of its own."""

    connections: int | None = None
    """At most so many, in place of the fair share."""
    requests_per_second: int | None = None
    bytes_per_second: int | None = None
    leases_per_second: int | None = None
    fresh_per_second: int | None = None
    """Requests with prediction resistance."""

    @property
    def rates(self) -> tuple[str, ...]:
        """The keys of the rates that its workers hold it to."""
        names = ("requests_per_second", "bytes_per_second", "leases_per_second")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def pinned(self) -> bool:
        """Whether one worker has to see all its requests, to count them."""
        return self.requests_per_second is not None or self.bytes_per_second is not None


class Budget:
    """One thing that is held and given back, shared by all."""

    def __init__(self, total: int) -> None:
        """A thirty-second part of `total`, at least one, is the operators' reserve."""
        reserve = max(1, total // 32) if total > 1 else 0
        self._general = _Part(total - reserve)
        self._reserve = _Part(reserve)

    def charge(
        self, user: int, amount: int, *, operator: bool, most: int | None = None, part: int = 1
    ) -> bool:
        """Charge a user; False, and nothing is charged, where that is not its due.

        `most` is the operator's word in place of the fair share; `part` asks for no more
        than that part of it (a third with 3).
        """
        if self._general.charge(user, amount, most, part):
            return True
        return operator and self._reserve.charge(user, amount, None, part)

    def release(self, user: int, amount: int) -> None:
        """Take back what was charged; the operators' reserve fills first."""
        rest = amount - self._reserve.release(user, amount)
        self._general.release(user, rest)

    def held(self, user: int) -> int:
        """What a user holds."""
        return self._general.held.get(user, 0) + self._reserve.held.get(user, 0)

    @property
    def free(self) -> int:
        """What nobody holds, without the reserve."""
        return self._general.free


class _Part:
    def __init__(self, total: int) -> None:
        self.free = total
        self.held: dict[int, int] = {}

    def charge(self, user: int, amount: int, most: int | None, part: int) -> bool:
        own = self.held.get(user, 0)
        users = len(self.held) + (not own)
        due = (self.free + own) // (users + 1) // part
        if most is not None:
            due = most
        elif part == 1 and not own:
            due = max(due, amount)
        if amount > self.free or own + amount > due:
            return False
        self.free -= amount
        self.held[user] = own + amount
        return True

    def release(self, user: int, amount: int) -> int:
        """Returns how much of it was held here."""
        own = self.held.get(user, 0)
        back = min(own, amount)
        self.free += back
        if back == own:
            self.held.pop(user, None)
        else:
            self.held[user] = own - back
        return back


@dataclass(slots=True)
class _User:
    number: int
    operator: bool
    connections: int = 0
    refused: int = 0
    over_quota: int = 0
    not_permitted: int = 0
    unsaid: int = 0
    said_at: float | None = None
    fresh: TokenBucket | None = None
    rates: tuple[str, ...] = ()
    """The keys of its rates that workers hold it to, as of its last connection."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A connection that was let in: hold it, and give it back with `Shares.release`."""

    key: ShareKey
    user: int
    """The user's number, for as long as it has a connection."""
    allowance: Allowance
    buffer: SendBuffer


@dataclass(slots=True)
class Shares:
    """The accounts of all users."""

    connections: int
    """At a time, of all users together."""
    unread_bytes: int
    """Memory for replies that were not read yet, of all users together."""
    _users: "OrderedDict[ShareKey, _User]" = field(default_factory=OrderedDict, init=False)
    _next: int = field(default=1, init=False)
    _connections: Budget = field(init=False)
    _unread: Budget = field(init=False)

    def __post_init__(self) -> None:
        self._connections = Budget(self.connections)
        self._unread = Budget(self.unread_bytes)

    def admit(self, key: ShareKey, allowance: Allowance, *, operator: bool) -> Admission | None:
        """Let a connection in, or not: then it is counted as refused."""
        user = self._user(key, operator=operator)
        user.rates = allowance.rates
        if not self._connections.charge(
            user.number, 1, operator=operator, most=allowance.connections
        ):
            user.refused += 1
            return None
        for buffer, part in ((LARGE, LARGE_PART), (SMALL, 1)):
            if self._unread.charge(user.number, buffer.charge, operator=operator, part=part):
                user.connections += 1
                return Admission(key, user.number, allowance, buffer)
        self._connections.release(user.number, 1)
        user.refused += 1
        return None

    def release(self, admission: Admission) -> None:
        """A connection is over."""
        self._connections.release(admission.user, 1)
        self._unread.release(admission.user, admission.buffer.charge)
        user = self._users[admission.key]
        user.connections -= 1

    def admit_fresh(self, admission: Admission, now: float) -> bool:
        """Whether a request with prediction resistance is within the user's rate."""
        rate = admission.allowance.fresh_per_second
        user = self._users[admission.key]
        if rate is None:
            return True
        if user.fresh is None or user.fresh.rate != rate:
            user.fresh = TokenBucket(rate, now)
        if user.fresh.take(1, now):
            return True
        user.over_quota += 1
        return False

    def note_not_permitted(self, key: ShareKey) -> None:
        """A connection that the configuration does not permit."""
        self._user(key, operator=False).not_permitted += 1

    def note_refused(self, user: int, over_quota: int, not_permitted: int) -> ShareKey | None:
        """Requests that a worker refused a user; whose they were, if that is still known."""
        key = next((key for key, one in self._users.items() if one.number == user), None)
        if key is not None:
            self._users[key].over_quota += over_quota
            self._users[key].not_permitted += not_permitted
        return key

    def rates(self, key: ShareKey) -> tuple[str, ...]:
        """The keys of the rates by which workers refuse this user's requests."""
        user = self._users.get(key)
        return user.rates if user else ()

    def to_say(self, key: ShareKey, what: str, now: float) -> str | None:
        """A log line about something refused to a user; None where one was said lately."""
        user = self._users.get(key)
        if user is None:
            return None
        user.unsaid += 1
        if user.said_at is not None and now - user.said_at < LOG_SECONDS:
            return None
        count, user.unsaid, user.said_at = user.unsaid, 0, now
        again = f" ({count} times since the last such line)" if count > 1 else ""
        return f"{key}: {what}{again}; see `hwentropy status --json`"

    def status(self) -> list[UserStatus]:
        """The users with connections or refusals, those with most of them first."""
        shown = sorted(
            self._users.items(),
            key=lambda one: (-one[1].connections, -_refused(one[1]), one[1].number),
        )
        return [
            UserStatus(
                uid=key.uid,
                cgroup=key.group,
                operator=user.operator,
                connections=user.connections,
                unread_bytes=self._unread.held(user.number),
                refused_connections=user.refused,
                over_quota=user.over_quota,
                not_permitted=user.not_permitted,
            )
            for key, user in shown[:SHOWN]
        ]

    def _user(self, key: ShareKey, *, operator: bool) -> _User:
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = _User(self._next, operator)
            self._next += 1
            self._forget()
        self._users.move_to_end(key)
        user.operator |= operator
        return user

    def _forget(self) -> None:
        """Drop those without a connection that are longest unseen, above REMEMBERED."""
        over = len(self._users) - REMEMBERED
        if over <= 0:
            return
        newest = next(reversed(self._users))
        idle = [
            key for key, one in self._users.items() if not one.connections and key != newest
        ]
        for key in idle[:over]:
            del self._users[key]


def _refused(user: _User) -> int:
    return user.refused + user.over_quota + user.not_permitted
