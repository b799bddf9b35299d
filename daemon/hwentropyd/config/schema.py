"""The keys of the configuration: their types, limits and defaults, in this one place.

`config/hwentropyd.toml` documents them, and a test holds the two together; the keys of
a source's table are its kind's own (`hwentropy_sources.contract.SourceConfig`).
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hwentropy_sources.contract import Description, SourceConfig
from hwentropyd.seeding import credit
from hwentropyd.seeding.availability import AvailabilityPolicy
from hwentropyd.seeding.credit import SeedPolicy
from hwentropyd.seeding.seeder import SeederPolicy

from .principals import Principal


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[pool]`: what makes a seed, and when a new one is due."""

    # 320 = 256 + 64: SP 800-90C's margin, see hwentropy_core.limits.
    min_bits: Annotated[int, Meta(ge=320, le=2048)] = 320
    min_groups: Annotated[int, Meta(ge=1, le=16)] = 1
    reseed_seconds: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    reseed_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    poll_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    degraded_seconds: Annotated[float, Meta(ge=0, le=604800)] = 3600.0
    degraded_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 1 << 30


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: who serves, and how many at once."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    max_connections: Annotated[int, Meta(ge=1, le=65536)] = 4096
    lease_seconds: Annotated[int, Meta(ge=1, le=86400)] = 300
    lease_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    prediction_resistance_seconds: Annotated[float, Meta(ge=0.1, le=600)] = 10.0


class UserLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits.users.NAME]`, `[limits.units.NAME]`, `[limits.groups.NAME]`: of one user."""

    connections: Annotated[int, Meta(ge=1, le=65536)] | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] | None = None
    bytes_per_second: Annotated[int, Meta(ge=1, le=1 << 40)] | None = None
    leases_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] | None = None
    fresh_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] | None = None


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: what each user may have; without a figure its fair share."""

    unread_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] | None = None
    connections: Annotated[int, Meta(ge=1, le=65536)] | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] | None = None
    bytes_per_second: Annotated[int, Meta(ge=1, le=1 << 40)] | None = None
    # One for each of its connections at the default max_connections.  At some 40 us
    # each (docs/bench.md) a sixth of a worker.
    leases_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] = 4096
    # A question to the supervisor and its answer, some 100 us: a tenth of its CPU.
    fresh_per_second: Annotated[int, Meta(ge=1, le=1 << 30)] = 1000


class SeedLogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[seed_log]`: the record of what each seed was made of."""

    enabled: bool = True
    # A reseed a minute takes 0.8 MB a day: 80 days.  The least holds eight of the longest
    # records.
    max_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 64 << 20
    # An hour at the default reseed_seconds.
    sign_records: Annotated[int, Meta(ge=1, le=1 << 20)] = 60


class AccessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[access]`: who may use what."""

    entropy: tuple[str, ...] = ("*",)
    stream: tuple[str, ...] = ("*",)
    prediction_resistance: tuple[str, ...] = ("*",)


class Access(msgspec.Struct, frozen=True):
    """`[access]`, names looked up."""

    entropy: tuple[Principal, ...]
    stream: tuple[Principal, ...]
    prediction_resistance: tuple[Principal, ...]


class LimitsFor(msgspec.Struct, frozen=True):
    """The limits of one user, unit or group."""

    who: Principal
    limits: UserLimits


class SourceSetup(msgspec.Struct, frozen=True):
    """One `[sources.<name>]` table."""

    name: str
    kind: str
    config: SourceConfig
    """The keys that all tables have; of a kind of ours, its own too."""
    table: dict[str, Any]
    """As it was written."""
    description: Description
    """What the source says of itself before it is opened."""

    @property
    def group(self) -> str:
        """Its group; where it says its kind, as it has to be opened to know, its name."""
        group = self.config.group or self.description.group
        return self.name if group == self.kind else group


class Config(msgspec.Struct, frozen=True):
    """All of it."""

    pool: PoolConfig
    server: ServerConfig
    limits: LimitsConfig
    limits_for: tuple[LimitsFor, ...]
    access: Access
    seed_log: SeedLogConfig
    sources: tuple[SourceSetup, ...]
    """The enabled ones, built-in defaults first."""
    files: tuple[Path, ...] = ()

    def seeder_policy(self) -> SeederPolicy:
        """What the seeder needs of it."""
        pool = self.pool
        return SeederPolicy(
            SeedPolicy(pool.min_bits, pool.min_groups),
            AvailabilityPolicy(
                reseed_seconds=pool.reseed_seconds,
                reseed_bytes=pool.reseed_bytes,
                degraded_seconds=pool.degraded_seconds,
                degraded_bytes=pool.degraded_bytes,
            ),
            self.server.prediction_resistance_seconds,
        )

    @property
    def unread_bytes(self) -> int:
        """Memory for unread replies: as configured, else enough for every connection.

        24 KiB each: a small buffer (serving/shares.py) and a fifth for larger ones; and
        64 MiB, 250 connections at full speed, where there are few.
        """
        return self.limits.unread_bytes or max(
            64 << 20, 24 * 1024 * self.server.max_connections
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What can be meant and hardly is, a sentence each."""
        policy = self.seeder_policy().seed
        holds = credit.holdings(
            (setup.group, setup.description.claim.strength)
            for setup in self.sources
            if setup.config.credit
        )
        whose = "the enabled sources that are credited"
        least, can = policy.min_groups, credit.left(holds, policy.min_groups)
        if len(holds) < least:
            what = f"min_groups asks for {least} and {whose} are of {len(holds)}"
        elif can < credit.least_held(policy):
            without = f", without the best {least - 1} of their groups," if least > 1 else ""
            what = (
                f"min_bits asks for {policy.min_bits} and {whose}{without} can hold {can:.0f}"
            )
        else:
            return ()
        return (f"pool.{what}: there will be no seed, and nothing is served",)
