"""What is shown of a source: its status, and how a test of it ended."""

import math
from dataclasses import dataclass

from hwentropy_core.status import SourceStatus, iso_time
from hwentropy_sources.contract import Description
from hwentropy_sources.health.monitor import SourceMonitor


@dataclass(frozen=True, slots=True)
class TestResult:
    """How an on-demand health test (SP 800-90B 4.3 item 6) ended."""

    ran: bool
    """False: the source was not in a state to be tested."""
    passed: bool
    samples: int
    reason: str


def status_of(
    name: str,
    kind: str,
    description: Description,
    monitor: SourceMonitor,
    *,
    credited: bool,
    credited_bits: float,
) -> SourceStatus:
    """What `hwentropy sources` shows of it; `credited_bits` in seeds so far."""
    again = monitor.tried_again_at
    return SourceStatus(
        name=name,
        kind=kind,
        group=description.group,
        state=monitor.state.value,
        reason=monitor.reason,
        remedy=monitor.remedy,
        since=iso_time(monitor.since),
        samples=monitor.samples,
        alarms=monitor.alarms.total(),
        alarm_counts={alarm.value: n for alarm, n in monitor.alarms.items()},
        credited_bits=math.floor(credited_bits),
        credit=credited,
        min_entropy=description.claim.min_entropy,
        bits_per_sample=description.claim.bits_per_sample,
        provenance=description.claim.provenance,
        facts=dict(description.facts),
        strength=description.claim.strength,
        renewal=description.claim.renewal,
        live=description.claim.live,
        tried_again=None if again is None else iso_time(again),
    )
