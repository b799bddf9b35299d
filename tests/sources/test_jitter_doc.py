"""docs/jitter.md says what the code computes."""

from hwentropy_core.limits import MIN_SEED_BITS
from hwentropy_sources.health import Level
from hwentropy_sources.health.cutoffs import rct_cutoff
from hwentropy_sources.health.lag import LAGS, lag_window, run_cutoff
from hwentropy_sources.jitter import (
    CLAIM,
    CPU_BURST,
    CPU_SHARE,
    LEAST_STEPS,
    LOOK,
    READS,
    JitterConfig,
)
from support.script import ROOT

TEXT = (ROOT / "docs/jitter.md").read_text()


def test_its_figures_are_the_codes() -> None:
    """Claim, cut-offs, the look and the limit of CPU time."""
    low = Level.INTERMITTENT
    for said in (
        f"**The claim is H = 1/{1 / CLAIM.min_entropy:g}**",
        f"after {rct_cutoff(CLAIM.min_entropy, low)} equal samples",
        f"of up to {LAGS} samples after {run_cutoff(CLAIM.min_entropy, low)} right predictions",
        f"a window of {lag_window(CLAIM.min_entropy):,}",
        f"{MIN_SEED_BITS} bits are {MIN_SEED_BITS / CLAIM.min_entropy:,.0f} samples",
        f"a look at {LOOK:,} deltas",
        f"to {READS[-1]} at most, until the median sample takes {LEAST_STEPS} steps",
        f"at most {CPU_SHARE:.0%} of one CPU, and {CPU_BURST * 1000:g} ms at once".replace(
            "5%", "5 %"
        ),
    ):
        assert said in TEXT, said
    assert READS[0] == 8
    assert TEXT.count("Eight reads") == 1
    assert not JitterConfig().credit
