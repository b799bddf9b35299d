"""The lane tests: RCT and APT from read to read, at one place (a *lane*) of the read.

A TPM answers 32 or 64 bytes at a time, a CPU 8.  Where some of these are stuck, no two
equal samples follow each other, and a window of 512 samples, a multiple of every
such length, begins at the same place each time.  A read starts a new reply, so
what is stuck in the reply is stuck at a place of the read.

Of the reads of a source every eighth sample is watched, and compared with the sample
at the same place of the read before (RCT) and of the first read of the watch (APT).
After a watch of 61 reads, or as many as the permanent RCT takes, the next eighth is
watched.  A stuck 64-bit word has one byte in each eighth, so it is found in the
watch that stands.

Every eighth, and not all, since what is watched has to be kept, until the next read and
the end of the watch, and is overwritten then: a seed's samples are not to stay in memory.

Cut-offs are those of the samples, by the claim; a watch's APT has its own for its own
length.  What they do not catch: a place that is stuck less often than the claim lets a
value come; a reply that begins at another place of each read, but for the APT where
the two lengths have much in common; and a source whose reads have less than 8 samples.
"""

from typing import Final

from hwentropy_core.memory import wipe
from hwentropy_sources.contract import Claim

from .alarms import Alarm, Finding, Level
from .cutoffs import LANE_READS, exact_apt_cutoff, rct_cutoff
from .streams import FORMATS

#: One sample in so many is watched: the bytes in a 64-bit word.
LANE_SHARE: Final = 8


class LaneTest:
    """The watched samples of one source; see the module's docstring."""

    __slots__ = (
        "_apt",
        "_counts",
        "_due",
        "_entropy",
        "_first",
        "_last",
        "_offset",
        "_rct",
        "_reads",
        "_runs",
        "_size",
        "_watch",
        "run_stands",
        "sample_bytes",
    )

    def __init__(self, claim: Claim) -> None:
        self.sample_bytes = claim.sample_bytes
        self.run_stands = False
        """Whether a run that reached its cut-off went on in the last read."""
        self._entropy = claim.min_entropy
        self._rct = {level: rct_cutoff(claim.min_entropy, level) for level in Level}
        self._watch = max(LANE_READS, self._rct[Level.PERMANENT])
        self._apt = {
            level: exact_apt_cutoff(claim.min_entropy, self._watch, level) for level in Level
        }
        self._size = 0
        self._offset = 0
        self._reads = 0
        # By lane: the first sample of the watch, the last, how often it came in a row,
        # how many equal the first, and the next cut-off of these.
        self._first = bytearray()
        self._last = bytearray()
        self._runs: list[int] = []
        self._counts: list[int] = []
        self._due: list[int] = []

    def scan(self, read: bytes | bytearray, start: int) -> Finding | None:
        """Test one read, whose first byte is the stream's byte `start`."""
        size, rest = divmod(len(read), self.sample_bytes)
        self.run_stands = False
        if rest or size < LANE_SHARE:
            self._size = 0
            return None
        if size != self._size:
            self._size = size
            self._reads = 0
        elif self._reads == self._watch:
            self._reads = 0
            self._offset = (self._offset + 1) % LANE_SHARE
        every = self._samples(read)[self._offset :: LANE_SHARE]
        # A copy already, where the sampler's bytearray holds single bytes.
        watched = every if isinstance(every, bytearray) else bytearray(every)
        self._reads += 1
        found = None
        if self._reads == 1:
            wipe(self._first)
            self._first = bytearray(watched)
            lanes = len(watched) // self.sample_bytes
            self._runs = [1] * lanes
            self._counts = [1] * lanes
            self._due = [self._apt[Level.INTERMITTENT]] * lanes
        else:
            found = self._compare(watched, start // self.sample_bytes + self._offset + 1)
        wipe(self._last)
        self._last = watched
        return found

    def _compare(self, watched: bytearray, seen: int) -> Finding | None:
        """Compare a read; its first watched sample is the stream's sample `seen`."""
        low, high = self._rct[Level.INTERMITTENT], self._rct[Level.PERMANENT]
        runs, found = self._runs, None
        of_lane = zip(
            self._samples(watched),
            self._samples(self._last),
            self._samples(self._first),
            strict=True,
        )
        for lane, (value, last, first) in enumerate(of_lane):
            alarm = None
            if value != last:
                runs[lane] = 1
            else:
                run = runs[lane] = runs[lane] + 1
                if run >= low:
                    self.run_stands = True
                    if run in {low, high}:
                        level = Level.PERMANENT if run == high else Level.INTERMITTENT
                        alarm = (Alarm.LANE_RCT, level, run, self._rct[level])
            if value == first:
                count = self._counts[lane] = self._counts[lane] + 1
                if count >= self._due[lane] and runs[lane] < low:
                    permanent = count >= self._apt[Level.PERMANENT]
                    level = Level.PERMANENT if permanent else Level.INTERMITTENT
                    alarm = (Alarm.LANE_APT, level, count, self._apt[level])
                    self._due[lane] = self._apt[Level.PERMANENT]
            if alarm is not None and (found is None or alarm[1] > found.level):
                found = Finding(*alarm, seen + lane * LANE_SHARE, self._entropy)
        return found

    def _samples(self, data: bytes | bytearray) -> bytes | bytearray | memoryview:
        if self.sample_bytes == 1:
            return data
        return memoryview(data).cast(FORMATS[self.sample_bytes])
