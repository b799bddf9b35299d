"""The continuous health tests of one open source: its reads in, findings out.

    sample tests   RCT and APT over the samples, as SP 800-90B 4.4 has them      (streams)
    word tests     the same over 64-bit words, where the source is whitened      (streams)
    lag test       a sample as one of the 16 before, where the source asks for it (lag)
    lane tests     the same from read to read at one place of the read           (lanes)
    repeat test    a block of 128 bits comes again, where the source is whitened (repeats)

All but the first are ours.  What a module's test finds and misses is in its docstring.

Of the findings in one read the graver counts, of these the first in the stream, and
where several meet on one sample, that of the test which stands first above.

The tests are pure: no clock, no I/O, and the key of the repeat test is handed in.
"""

from hwentropy_sources.contract import Claim

from .alarms import Finding, Level
from .cutoffs import WORD_BYTES
from .lag import LagTest
from .lanes import LaneTest
from .repeats import RepeatTest
from .streams import StreamTest, sample_test, word_test


class HealthTests:
    """All health tests of one source, from its opening to its closing."""

    __slots__ = ("_bytes", "_failed", "_lanes", "_repeats", "_streams")

    def __init__(self, claim: Claim, key: bytes) -> None:
        """`key` is `repeats.KEY_BYTES` that nobody knows, drawn anew for each opening."""
        self._streams: list[StreamTest | LagTest] = [sample_test(claim)]
        if claim.whitened and claim.sample_bytes < WORD_BYTES:
            self._streams.append(word_test(claim))
        if claim.lag:
            self._streams.append(LagTest(claim.min_entropy))
        self._lanes = LaneTest(claim)
        self._repeats = RepeatTest(claim, key) if claim.whitened else None
        self._bytes = 0
        self._failed: Finding | None = None

    @property
    def alarm_stands(self) -> bool:
        """Whether a run that reached its cut-off is still going on."""
        return self._lanes.run_stands or any(stream.run_stands for stream in self._streams)

    def feed(self, read: bytes | bytearray) -> Finding | None:
        """Test the next read of the source; None when nothing was found.

        Bytes that do not fill a sample (or word) wait for the next read.

        After a finding the caller discards all of `read`.  The rest of it is
        still tested, so that a stuck source is known as such at once: the first
        permanent finding of a read is returned, otherwise the first intermittent
        one.  A run or window raises each level once.  A permanent finding is
        final; it is returned by every later call.
        """
        if self._failed is not None:
            return self._failed
        found = [(stream.scan(read), stream.unit) for stream in self._streams]
        found.append((self._lanes.scan(read, self._bytes), self._lanes.sample_bytes))
        if self._repeats is not None:
            found.append((self._repeats.scan(read, self._bytes), self._repeats.sample_bytes))
        self._bytes += len(read)
        worst: tuple[int, int, Finding] | None = None
        for finding, unit in found:
            if finding is not None:
                rank = (-finding.level, finding.samples * unit)
                if worst is None or rank < worst[:2]:
                    worst = (*rank, finding)
        if worst is None:
            return None
        finding = worst[2]
        if finding.level is Level.PERMANENT:
            self._failed = finding
        return finding
