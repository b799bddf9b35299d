"""The rates of one user, as a worker holds its connections to them.

Shared by the user's connections in this worker.  What was refused is counted, for the
supervisor to fetch.  What this does not protect against: a user whose connections are in
several workers has the rate of leases in each of them; requests and bytes are exact,
since a user with such a limit is given to one worker only.  Where the limits of one user's
processes differ, by their groups, those of its first connection here hold for all.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from hwentropy_core.limits import MAX_READ
from hwentropyd.channel import Assign
from hwentropyd.token_bucket import TokenBucket

#: Users remembered here that have no connection any more, so that connecting anew
#: fills no bucket: more than the supervisor remembers (serving/shares.py).
REMEMBERED: Final = 1024


class Quota:
    """What one user may still have; called from any thread."""

    def __init__(self, assigned: Assign, clock: Callable[[], float]) -> None:
        """`clock` in seconds."""
        now = clock()
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = _bucket(assigned.requests_per_second, now)
        self._bytes = _bucket(assigned.bytes_per_second, now)
        self._leases = _bucket(assigned.leases_per_second, now)
        self.measured = assigned.requests_per_second > 0 or assigned.bytes_per_second > 0
        """Whether every request has to be counted."""
        # A tenth of a second's, so that a paced stream flows and does not come in gushes.
        rate = assigned.bytes_per_second
        self.stream_bytes = min(MAX_READ, max(1, rate // 10)) if rate else MAX_READ
        """What a stream gives at a time."""
        self.over_quota = 0
        self.not_permitted = 0

    def admit_read(self, length: int) -> bool:
        """Whether a READ of so many bytes is within the rates; counts it, or its refusal."""
        return not self.measured or self._admit(self._bytes, length)

    def admit_lease(self) -> bool:
        """The same of a LEASE."""
        return self._admit(self._leases, 1)

    def admit_stream(self) -> bool:
        """Whether a stream may give its next `stream_bytes` now; counts them."""
        if self._bytes is None:
            return True
        with self._lock:
            return self._bytes.take(self.stream_bytes, self._clock())

    def take_refused(self) -> tuple[int, int]:
        """Requests over quota and not permitted since this was last called."""
        with self._lock:
            refused = self.over_quota, self.not_permitted
            self.over_quota = self.not_permitted = 0
            return refused

    def refuse_permission(self) -> None:
        """Count a request that the user may not make."""
        with self._lock:
            self.not_permitted += 1

    def _admit(self, bucket: TokenBucket | None, amount: int) -> bool:
        with self._lock:
            now = self._clock()
            if self._requests is not None and not self._requests.take(1, now):
                self.over_quota += 1
                return False
            if bucket is not None and not bucket.take(amount, now):
                self.over_quota += 1
                return False
            return True


class Quotas:
    """Those of all users; called by one thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_user: OrderedDict[int, Quota] = OrderedDict()

    def of(self, assigned: Assign) -> Quota:
        """The quota of the user whose connection this is."""
        quota = self._by_user.get(assigned.user)
        if quota is None:
            quota = self._by_user[assigned.user] = Quota(assigned, self._clock)
            if len(self._by_user) > REMEMBERED:
                self._by_user.popitem(last=False)
        self._by_user.move_to_end(assigned.user)
        return quota

    def take_refused(self) -> list[tuple[int, int, int]]:
        """User, requests over quota, requests not permitted: of whom there are new ones."""
        taken = ((user, *quota.take_refused()) for user, quota in self._by_user.items())
        return [one for one in taken if one[1] or one[2]]


def _bucket(rate: int, now: float) -> TokenBucket | None:
    return TokenBucket(rate, now) if rate else None
