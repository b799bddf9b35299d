"""Keeps the seed log from the event loop, which never waits for a disk or a TPM.

    loop     note(kind, fields)  -->  bounded queue
    thread   SeedWriter: append, say what was lost, have the head signed, sync

A record that cannot be written (a full disk, a full queue) is counted, and the count is
the first that is written once it can be: the log never passes over what it lacks.

What this does not protect against: records that wait in the queue when the daemon is
killed.  A log that has no `stop` before the next `start` shows that it was.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from hwentropy_core.attestation import Attestation
from hwentropy_core.paths import STATE_ENVIRONMENT_VARIABLE
from hwentropy_core.seed_log import SeedLogError
from hwentropy_core.status import SeedLogStatus, iso_time

from .seed_log import SeedLog

log = logging.getLogger(__name__)

#: Records that wait to be written: a minute of the four reseeds a second that fresh
#: requests can cause (seeder.FRESH_SECONDS), longer than a TPM or a disk hangs.
QUEUE_RECORDS: Final = 240

#: Seconds from one signature to the next: making the key and signing take a slow TPM about
#: a second, which is then 2 % of its time.
SIGN_SECONDS: Final = 60.0

#: Seconds for a signature; records wait meanwhile, since it is of the record before it.
SIGN_PATIENCE: Final = 10.0

#: Called with a statement and with what takes the answer, from any thread.
Attest = Callable[[bytes, Callable[[Attestation | None, str], None]], None]

Fields = Mapping[str, object]


class SeedWriter:
    """Writes records; for one thread.  Knows of no queue."""

    def __init__(
        self,
        seed_log: SeedLog,
        attest: Attest | None,
        sign_records: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`attest` signs statements; a signature is due after `sign_records` records."""
        self._log = seed_log
        self._attest = attest
        self._sign_records = sign_records
        self._monotonic = monotonic
        self._lost = 0
        self._why_lost = ""
        self._unsigned = 0
        self._next_signature = 0.0
        self.problem = ""
        """Why the last record was not written, or not signed; or nothing."""

    def open(self) -> None:
        """Begin.  Raises OSError, SeedLogError."""
        self._log.open()
        if self._log.head.records:
            # How many of them are signed stands in the log alone: as if none were, and with
            # the time that a TPM takes until it can be asked.
            self._unsigned = self._log.head.records
            self._next_signature = self._monotonic() + SIGN_SECONDS
        if self._log.mended:
            log.warning(
                "the seed log is not as it was left: %s; see `hwentropy history --verify`",
                self._log.mended,
            )
            self.write("mended", {**stamp(), "reason": self._log.mended})

    @property
    def records(self) -> int:
        """So many there were so far."""
        return self._log.head.records

    def lose(self, count: int, reason: str) -> None:
        """So many records will not come."""
        self._lost += count
        self._why_lost = reason
        self._tell(reason)

    def write(self, kind: str, fields: Fields) -> None:
        """Write one record, after what has to be said of lost ones; then sign if it is due."""
        try:
            if self._lost:
                gap = {"lost": self._lost, "reason": self._why_lost}
                self._log.append("gap", {**stamp(), **gap})
                self._lost = 0
            self._log.append(kind, fields)
            self._log.sync()
        except (OSError, ValueError) as error:
            self.lose(1, _why(error))
            return
        self._unsigned += 1
        self.problem = ""
        self._sign_if_due()

    def close(self) -> None:
        """Let go of the files."""
        self._log.close()

    def _sign_if_due(self) -> None:
        now = self._monotonic()
        if (
            self._attest is None
            or self._unsigned < self._sign_records
            or now < self._next_signature
        ):
            return
        self._next_signature = now + SIGN_SECONDS
        attestation, why = _wait_for(self._attest, self._log.head.statement())
        if attestation is None:
            self._tell(f"it is not signed: {why}")
            return
        signature = {
            "key": attestation.key.hex(),
            "attested": attestation.attested.hex(),
            "signature": attestation.signature.hex(),
        }
        try:
            self._log.append("signature", {**stamp(), **signature})
        except (OSError, ValueError) as error:  # what signed may say anything, at any length
            self._tell(_why(error))
        else:
            self._unsigned = 0

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("the seed log: %s", problem)
        self.problem = problem


def stamp() -> dict[str, object]:
    """When a record's event was."""
    return {"time": iso_time(time.time())}


def _why(error: Exception) -> str:
    """The error in words: the system's own, where it has some."""
    return getattr(error, "strerror", None) or str(error)


def _wait_for(attest: Attest, statement: bytes) -> tuple[Attestation | None, str]:
    """What `attest` answers, if it does in time."""
    answered: queue.SimpleQueue[tuple[Attestation | None, str]] = queue.SimpleQueue()
    attest(statement, lambda attestation, why: answered.put((attestation, why)))
    try:
        return answered.get(timeout=SIGN_PATIENCE)
    except queue.Empty:
        return None, f"the TPM did not answer within {SIGN_PATIENCE:g} s"


class SeedRecorder:
    """See the module's docstring."""

    def __init__(self, directory: str, writer: SeedWriter) -> None:
        """`directory` is where the log is, for the status."""
        self._directory = directory
        self._writer = writer
        self._queue: queue.Queue[tuple[str, Fields] | int | None] = queue.Queue(QUEUE_RECORDS)
        """Records; how many of them were dropped here; None for the end."""
        self._dropped = 0
        self._unopened = ""
        self._thread = threading.Thread(target=self._run, name="seed-log", daemon=True)

    def start(self) -> None:
        """Begin to write; before this, records wait in the queue."""
        self._thread.start()

    def note(self, kind: str, fields: Fields) -> None:
        """Have a record written, with the time as of now.  Waits for nothing."""
        try:
            if self._dropped:
                self._queue.put_nowait(self._dropped)
                self._dropped = 0
            self._queue.put_nowait((kind, {**stamp(), **fields}))
        except queue.Full:
            self._dropped += 1

    def stop(self, seconds: float) -> None:
        """Write what waits, in so many seconds at most."""
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=seconds)
        self._thread.join(max(0.0, until - time.monotonic()))

    def status(self) -> SeedLogStatus:
        """For `hwentropy status`."""
        problem = self._unopened or self._writer.problem
        return SeedLogStatus(
            directory=self._directory, records=self._writer.records, problem=problem
        )

    def _run(self) -> None:
        try:
            self._writer.open()
        except (OSError, SeedLogError) as error:
            reason = _why(error)
            self._unopened = f"cannot be written to ({reason})"
            log.warning(
                "the seed log in %s cannot be written to (%s): there is no history of seeds; "
                "make it writable, or name another directory by %s",
                self._directory,
                reason,
                STATE_ENVIRONMENT_VARIABLE,
            )
            return
        while (record := self._queue.get()) is not None:
            if isinstance(record, int):
                self._writer.lose(record, "more came than could be written")
            else:
                self._writer.write(*record)
        self._writer.close()
