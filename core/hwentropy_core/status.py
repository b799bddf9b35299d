"""The status of the service, of its sources and of its workers: one type each.

The daemon fills them in, the control socket carries them as the JSON objects of their
fields, and the client reads them back; `org.hwentropy.Control.varlink` describes the same
fields, in this order and under these names.

A field that comes later has a default: a client of a later version then still reads what
a daemon of an earlier one says.  Nothing here may ever hold entropy or a key.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One noise source."""

    name: str
    kind: str
    group: str
    """Independence group: sources of one group are credited once."""
    state: str
    """`absent`, `starting`, `healthy`, `suspect` or `failed`."""
    reason: str
    """Why it is not healthy, or nothing."""
    remedy: str
    """What an operator can do about it, or nothing."""
    since: str
    """When it came into this state, ISO 8601 in UTC."""
    samples: int
    """Samples tested since the daemon started."""
    alarms: int
    """Alarms since the daemon started."""
    alarm_counts: dict[str, int]
    """How many of which kind."""
    credited_bits: int
    """Min-entropy it brought to seeds so far: of a DRBG what it holds, once a renewal."""
    credit: bool
    """False: mixed in, never credited."""
    min_entropy: float
    """Claimed bits of min-entropy per sample."""
    bits_per_sample: int
    provenance: str
    """Where the claim comes from."""
    facts: dict[str, str]
    """What else an operator may want to know of it: device, vendor, CPU flags."""
    strength: int | None = None
    """Bits that the DRBG behind it holds, and gives a seed at most; None: not a DRBG."""
    renewal: str = ""
    """What renews the state of that DRBG."""
    live: bool = False
    """Whether its samples are of the noise itself, with no DRBG behind it."""
    tried_again: str | None = None
    """When one that failed, or was not found, is opened again, ISO 8601 in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One serving process."""

    pid: int
    connections: int
    """Open now."""
    requests: int
    """Answered since it started."""
    bytes: int
    """Handed out since it started."""
    serving: bool = True
    """Whether it takes connections: it is ready, and answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserStatus:
    """One user: what it has of the service, and what it was refused."""

    uid: int | None
    """None for a container, whatever the uids of its processes."""
    cgroup: str
    """The control group of a service or container; empty for a login."""
    operator: bool
    """Whether the reserve is open to it."""
    connections: int
    """Open now."""
    unread_bytes: int
    """Memory set aside for replies that it has not read."""
    refused_connections: int
    """Refused, since its share was in use."""
    over_quota: int
    """Requests above its rates."""
    not_permitted: int
    """Connections and requests that the configuration does not permit it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatus:
    """What a seed takes."""

    min_bits: int
    """Credited bits."""
    min_groups: int
    """Healthy, credited groups of sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedLogStatus:
    """The record of what seeds were made of, see `hwentropy history`."""

    directory: str
    """Where it is, or nothing where none is kept."""
    records: int
    """So many there were so far."""
    problem: str
    """Why the last one was not written or not signed, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The whole service."""

    state: str
    """`starting`, `ok`, `degraded` or `failed`."""
    reason: str
    """Why it is not `ok`, or nothing."""
    generation: int
    """0 before the first seed."""
    seeded_at: str | None
    """When the last seed went in, ISO 8601 in UTC; None before the first."""
    reseeds: int
    """Seeds so far, the first one included."""
    version: str
    pid: int
    uptime_seconds: float
    workers: list[WorkerStatus]
    sources: list[SourceStatus]
    policy: PolicyStatus
    seed_log: SeedLogStatus
    sockets: list[str]
    """The paths that it listens on."""
    users: list[UserStatus] = field(default_factory=list)
    """Those with connections or refusals, 128 at most, the largest first."""
    clones: int = 0
    """Signs that this machine runs from a copied memory; each ended every seed and lease."""
    clone_signs: dict[str, str] = field(default_factory=dict)
    """What such a sign is looked for in: `watched`, or why it is not."""
    seed_groups: list[str] = field(default_factory=list)
    """The groups with credit in the seed in force."""
    seed_bits: int = 0
    """Bits that it was credited with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseeded:
    """A reseed that was asked for."""

    generation: int
    """The new one."""
    live: bool = False
    """Whether live sources made it; else generators alone, as none of those was healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """The outcome of an on-demand health test."""

    passed: bool
    samples: int
    """Samples that were tested: 1,024 when it passed."""
    reason: str
    """Why it did not pass, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The outcome of known-answer tests in the daemon's processes."""

    passed: list[int]
    """Process ids: the supervisor's, and those of the workers."""
    tests: list[str]
    """What was tested in the supervisor; a worker has no health tests."""


def iso_time(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
