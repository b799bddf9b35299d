"""What goes into the seed log: starts, seeds with what their sources gave, stops.

    start   version, boot id and process id of a daemon
    seed    generation, cause, groups and credited bits, and of each source what it gave
            since the seed before: samples, alarms by kind, credited bits, its state
    stop    it ended in order

No record holds a sample, a seed or anything that was computed from one.

What this does not protect against: see `hwentropy_core.seed_log`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hwentropy_core import VERSION
from hwentropy_core.paths import BOOT_ID
from hwentropy_core.status import SeedLogStatus, SourceStatus
from hwentropyd.config.schema import SeedLogConfig
from hwentropyd.sampling.sampler import Sampler
from hwentropyd.seeding.availability import Cause
from hwentropyd.seeding.pool import Seed

from .seed_log import SeedLog
from .seed_recorder import Attest, SeedRecorder, SeedWriter

#: Seconds for the last records when the daemon was told to stop: what is left of the
#: second that a stop may take, with 0.85 s for workers and 0.1 s for the last log lines.
STOP_SECONDS: Final = 0.05


class History:
    """Tells the seed log of the service; where none is kept, nobody."""

    def __init__(
        self, config: SeedLogConfig, directory: Path, samplers: Sequence[Sampler]
    ) -> None:
        self._samplers = samplers
        self._before: dict[str, SourceStatus] = {}
        self._recorder: SeedRecorder | None = None
        if config.enabled:
            writer = SeedWriter(
                SeedLog(directory, config.max_bytes), _signer(samplers), config.sign_records
            )
            self._recorder = SeedRecorder(str(directory), writer)

    def start(self) -> None:
        """The daemon begins."""
        if self._recorder is not None:
            self._recorder.start()
            self._recorder.note("start", {**_version(), "boot_id": _boot_id()})

    def note_seed(self, seed: Seed, cause: Cause, generation: int) -> None:
        """A seed went in."""
        if self._recorder is None:
            return
        now = {sampler.name: sampler.status() for sampler in self._samplers}
        fields = seed_fields(seed, cause, generation, self._before, now)
        self._before = now
        self._recorder.note("seed", fields)

    def stop(self) -> None:
        """The daemon ends."""
        if self._recorder is not None:
            self._recorder.note("stop", _version())
            self._recorder.stop(STOP_SECONDS)

    def status(self) -> SeedLogStatus:
        """For `hwentropy status`."""
        if self._recorder is None:
            return SeedLogStatus(directory="", records=0, problem="")
        return self._recorder.status()


def seed_fields(
    seed: Seed,
    cause: Cause,
    generation: int,
    before: Mapping[str, SourceStatus],
    now: Mapping[str, SourceStatus],
) -> dict[str, object]:
    """The record of a seed; `before` is how the sources were at the one before."""
    return {
        "version": VERSION,
        "generation": generation,
        "cause": cause.value,
        "groups": sorted(seed.groups),
        "bits": round(sum(seed.credited.values()), 3),
        "sources": {
            name: {
                "group": source.group,
                "state": source.state,
                "bits": round(seed.credited.get(name, 0.0), 3),
                **_since(before.get(name), source),
            }
            for name, source in now.items()
        },
    }


def _since(before: SourceStatus | None, now: SourceStatus) -> dict[str, object]:
    had = before.alarm_counts if before is not None else {}
    alarms = {kind: count - had.get(kind, 0) for kind, count in now.alarm_counts.items()}
    return {
        "samples": now.samples - (before.samples if before is not None else 0),
        "alarms": {kind: count for kind, count in alarms.items() if count},
    }


def _signer(samplers: Sequence[Sampler]) -> Attest | None:
    """The first TPM's, if there is one."""
    return next((sampler.attest for sampler in samplers if sampler.kind == "tpm2"), None)


def _version() -> dict[str, object]:
    return {"version": VERSION, "pid": os.getpid()}


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
