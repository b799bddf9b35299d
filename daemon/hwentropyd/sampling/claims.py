"""What a source claims, as the configuration has it, and what follows for its samples: pure.

What this does not protect against: a claim that is too high, the source's or the
configuration's.
"""

import math
from dataclasses import replace

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim, Description, SourceConfig
from hwentropyd.seeding.credit import DIGEST_BITS, Backing


def configured(description: Description, config: SourceConfig) -> Description:
    """With the group and the min-entropy of the configuration, where it has them."""
    claim = description.claim
    if config.min_entropy is not None:
        claim = replace(
            claim,
            min_entropy=min(config.min_entropy, claim.bits_per_sample),
            provenance="set in the configuration",
        )
    return Description(config.group or description.group, claim, description.facts)


def batch(claim: Claim, min_bits: int) -> int:
    """Samples to draw at a time, for a seed of so many bits."""
    bits = min(min_bits, DIGEST_BITS)
    return min(math.ceil(bits / claim.min_entropy), STARTUP_SAMPLES)


def backing(claim: Claim, opened: float) -> Backing | None:
    """The DRBG behind a source that was opened then; None for a live one."""
    if claim.strength is None:
        return None
    return Backing(claim.strength, claim.renewal_seconds, opened)
