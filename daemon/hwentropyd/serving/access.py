"""Who may use what, and how much: `[access]` and `[limits]` applied to a peer.

Pure.  Names of users and groups were looked up when the configuration was read.
"""

import contextlib
import grp
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from hwentropyd.config.principals import Principal
from hwentropyd.config.schema import Access, Config, LimitsConfig, LimitsFor
from hwentropyd.role import Role

from .identity import Peer
from .listeners import GROUP
from .shares import Allowance

#: In this order the first that says something about a figure holds.
_MOST_PRECISE_FIRST: Final = ("user", "unit", "group")


@dataclass(frozen=True, slots=True)
class Rights:
    """What a peer may do, and how much of it."""

    operator: bool
    roles: frozenset[Role]
    fresh: bool
    """Prediction resistance."""
    allowance: Allowance


class Rules:
    """The configuration's rules."""

    def __init__(
        self,
        access: Access,
        limits: LimitsConfig,
        special: Iterable[LimitsFor],
        operators: int | None,
    ) -> None:
        """`operators` is the number of the operators' group, where there is one."""
        self._roles = {Role.ENTROPY: access.entropy, Role.STREAM: access.stream}
        self._fresh = access.prediction_resistance
        self._general = limits
        self._special = sorted(special, key=lambda one: _MOST_PRECISE_FIRST.index(one.who.kind))
        self._operators = operators
        self._own_uid = os.geteuid()

    @classmethod
    def from_config(cls, config: Config) -> "Rules":
        """Those of the configuration, on this machine."""
        operators = None
        with contextlib.suppress(KeyError):
            operators = grp.getgrnam(GROUP).gr_gid
        return cls(config.access, config.limits, config.limits_for, operators)

    def of(self, peer: Peer) -> Rights:
        """What this peer may do; an operator may use everything, as much as anybody."""
        operator = self._is_operator(peer)
        return Rights(
            operator,
            frozenset(
                role for role, who in self._roles.items() if operator or _is_any(peer, who)
            ),
            operator or _is_any(peer, self._fresh),
            self._allowance(peer),
        )

    def _is_operator(self, peer: Peer) -> bool:
        """Root and the daemon's user in the host's own control groups, and the group."""
        if not peer.hosts_own:
            return False
        groups = peer.groups | {peer.gid}
        return peer.uid in {0, self._own_uid} or self._operators in groups

    def _allowance(self, peer: Peer) -> Allowance:
        told = [one.limits for one in self._special if _is(peer, one.who)]
        values: dict[str, int | None] = {}
        for field in fields(Allowance):
            said = (getattr(limits, field.name) for limits in (*told, self._general))
            values[field.name] = next((value for value in said if value is not None), None)
        return Allowance(**values)


def _is_any(peer: Peer, who: Iterable[Principal]) -> bool:
    return any(_is(peer, one) for one in who)


def _is(peer: Peer, who: Principal) -> bool:
    match who.kind:
        case "everybody":
            return True
        case "user":
            return peer.uid == who.number
        case "group":
            return who.number == peer.gid or who.number in peer.groups
        case _:
            return peer.unit == who.name
