"""The lag test: a fault that makes samples repeat one of the 16 before them.

A predictor says what each sample will be, the sample of `lag` samples ago, before it
sees it; `lag` is the one of 1 to 16 that would have been right most often in this window
so far.  SP 800-90B 6.3.8 estimates min-entropy with such a predictor; here, as in
jitterentropy, it is a continuous test.  Two cut-offs, for each level of alarm 2^-a:

    run      C = ceil(a / H)                      predictions right one after another
    window   C = 1 + critbinom(W, 2^-H, 1 - 2^-a) right predictions of a window of W

Whoever knows all samples so far guesses the next with a chance of at most p = 2^-H: that
is the claim.  The predictor knows no more, so

* C right predictions from a given sample on have a chance of at most p^C <= 2^-a,
* right predictions of a window are at most Binomial(W, p) (coupling sample by sample).

Both bounds hold for samples that depend on each other, as long as H is what is left
given the past; the formulas of RCT and APT need samples that are independent.

What it does not catch: a period above 16 samples, or a dependence other than equality
(a ramp, a generator).  It keeps the last 16 samples in memory, overwritten by later ones.
"""

from functools import cache
from typing import Final

from hwentropy_core.memory import wipe

from .alarms import Alarm, Finding, Level
from .cutoffs import critbinom, rct_cutoff

#: Lags that are tried.  The `jitter` source is back at the same line of memory after 8
#: samples, where the likeliest period is; each lag costs 0.2 us a sample at worst (a
#: source that nearly always gives the same), 0.4 us are all of them on what it gives.
LAGS: Final = 16


def run_cutoff(min_entropy: float, alpha_exponent: int) -> int:
    """Right predictions in a row that are an alarm.

    One less than the samples of the repetition count test: a run of C equal samples
    holds C - 1 that were as the one before.
    """
    return rct_cutoff(min_entropy, alpha_exponent) - 1


def window_cutoff(min_entropy: float, alpha_exponent: int) -> int:
    """Right predictions in a window that are an alarm."""
    return 1 + critbinom(lag_window(min_entropy), min_entropy, alpha_exponent)


@cache
def lag_window(min_entropy: float) -> int:
    """Samples in a window: the least power of two, from 512, that shows half of H missing.

    A source with H / 2 can be predicted right W 2^(-H / 2) times of W.  That is to reach
    the permanent cut-off, hence a window of such a source fails with a chance of a half.
    """
    window = 512
    while 1 + critbinom(window, min_entropy, Level.PERMANENT) > window * 2 ** (
        -min_entropy / 2
    ):
        window *= 2
    return window


class LagTest:
    """The lag test over samples of one byte each, from a source's opening to its closing."""

    __slots__ = (
        "_entropy",
        "_history",
        "_lag",
        "_left",
        "_right",
        "_run",
        "_runs",
        "_scores",
        "_seen",
        "_window",
        "_windows",
    )

    unit: Final = 1
    """Bytes of a sample."""

    def __init__(self, min_entropy: float) -> None:
        self._entropy = min_entropy
        self._window = lag_window(min_entropy)
        self._runs = {level: run_cutoff(min_entropy, level) for level in Level}
        self._windows = {level: window_cutoff(min_entropy, level) for level in Level}
        self._history = bytearray()
        self._lag = 1
        self._scores = [0] * (LAGS + 1)
        self._seen = 0
        self._run = 0
        self._right = 0
        self._left = self._window

    @property
    def run_stands(self) -> bool:
        """Whether right predictions in a row have reached their cut-off and go on."""
        return self._run >= self._runs[Level.INTERMITTENT]

    def scan(self, data: bytes | bytearray) -> Finding | None:
        """Test these samples: the first permanent finding, else the first."""
        # One buffer, so that every lag is an index; `+` of a bytearray makes a new one.
        samples = self._history + data
        start = len(self._history)
        try:
            return self._scan(samples, start)
        finally:
            wipe(self._history)
            self._history = samples[-LAGS:]
            wipe(samples)

    def _scan(self, samples: bytearray, start: int) -> Finding | None:
        found: Finding | None = None
        for index in range(start, len(samples)):
            value = samples[index]
            self._seen += 1
            if index >= self._lag and samples[index - self._lag] == value:
                self._run += 1
                self._right += 1
                finding = self._judge()
                if finding is not None:
                    if finding.level is Level.PERMANENT:
                        return finding
                    found = found or finding
            else:
                self._run = 0
            self._score(samples, index, value)
            self._left -= 1
            if not self._left:
                self._left = self._window
                self._right = 0
                self._scores = [0] * (LAGS + 1)
        return found

    def _score(self, samples: bytearray, index: int, value: int) -> None:
        """Count for each lag whether it was right, and take the best for the next sample."""
        scores = self._scores
        best = scores[self._lag]
        at = samples.rfind(value, max(0, index - LAGS), index)
        while at >= 0:
            lag = index - at
            scores[lag] += 1
            if scores[lag] > best or lag == self._lag:
                self._lag, best = lag, scores[lag]
            at = samples.rfind(value, max(0, index - LAGS), at)

    def _judge(self) -> Finding | None:
        """What a right prediction brought to its cut-off; each count raises each level once."""
        for level in reversed(Level):
            if self._run == self._runs[level]:
                return self._finding(Alarm.LAG_RUN, level, self._run)
            if self._right == self._windows[level]:
                return self._finding(Alarm.LAG, level, self._right)
        return None

    def _finding(self, alarm: Alarm, level: Level, count: int) -> Finding:
        cutoffs = self._runs if alarm is Alarm.LAG_RUN else self._windows
        return Finding(alarm, level, count, cutoffs[level], self._seen, self._entropy)
