"""Users who come, take all they get, and go: each has its share whatever the others do."""

import random

from hwentropyd.serving.identity import ShareKey
from hwentropyd.serving.shares import SMALL, Admission, Allowance, Shares

OPERATOR = ShareKey(0, "")


class Crowd:
    """Some users and an operator on one service; `step` has one of them do something."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._connections = chance.choice((16, 64, 256))
        self._unread = chance.choice((1, 4, 64)) << 20
        self._shares = Shares(self._connections, self._unread)
        self._held: dict[ShareKey, list[Admission]] = {}
        self._keys = [ShareKey(uid, "") for uid in range(1, chance.choice((3, 20)))]

    def step(self) -> None:
        """Somebody connects once or as often as it may, or hangs up."""
        key = self._chance.choice(self._keys)
        if self._chance.random() < 0.4:
            self._hang_up(key, self._chance.choice((1, 10_000)))
        else:
            self._connect(key, self._chance.choice((1, 10_000)))
        if self._chance.random() < 0.2:
            admitted = self._admit(OPERATOR, operator=True)
            assert admitted, "the operator is shut out"
            self._hang_up(OPERATOR, 1)
        self._check()

    def end(self) -> None:
        """All hang up: nothing is left charged, and a user alone gets half of it again."""
        for key in self._keys:
            self._hang_up(key, 10_000)
        key = self._keys[0]
        self._connect(key, 10_000)
        alone = Shares(self._connections, self._unread)
        most = 0
        while alone.admit(key, Allowance(), operator=False):
            most += 1
        assert len(self._held[key]) == most, "something stayed charged"

    def _connect(self, key: ShareKey, times: int) -> None:
        others = sum(bool(held) for one, held in self._held.items() if one != key)
        for number in range(times):
            if not self._admit(key, operator=False):
                # The k-th user has T / (k (k + 1)), of what the reserve leaves (31 / 32).
                room = min(self._connections, self._unread // SMALL.charge) * 31 // 32
                due = room // ((others + 1) * (others + 2))
                assert number or self._held.get(key) or not due, "shut out"
                return

    def _admit(self, key: ShareKey, *, operator: bool) -> bool:
        admission = self._shares.admit(key, Allowance(), operator=operator)
        if admission is not None:
            self._held.setdefault(key, []).append(admission)
        return admission is not None

    def _hang_up(self, key: ShareKey, times: int) -> None:
        held = self._held.get(key, [])
        for _ in range(min(times, len(held))):
            self._shares.release(held.pop(self._chance.randrange(len(held))))

    def _check(self) -> None:
        held = [one for each in self._held.values() for one in each]
        assert len(held) <= self._connections, "more connections than there are"
        assert sum(one.buffer.charge for one in held) <= self._unread, (
            "more memory than there is"
        )
