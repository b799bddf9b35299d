"""What a source claims, as the configuration has it."""

import pytest

from hwentropy_sources.contract import STARTUP_SAMPLES, Claim, Description, SourceConfig
from hwentropyd.config.schema import PoolConfig
from hwentropyd.sampling.claims import backing, batch, configured
from hwentropyd.seeding.credit import DIGEST_BITS, Backing

SAID = Description("its own", Claim(8, 4.0, "its word", whitened=True, strength=256), {})


@pytest.mark.parametrize(("entropy", "samples"), [(8, 40), (4, 80), (1, 320)])
def test_a_poll_takes_what_makes_a_seed(entropy: float, samples: int) -> None:
    """As config/hwentropyd.toml says beside `poll_seconds`."""
    claim = Claim(8, entropy, "a test", whitened=True)
    assert batch(claim, PoolConfig().min_bits) == samples


def test_a_batch_is_bounded() -> None:
    """By what a digest of the pool holds, and by the startup test's samples."""
    assert batch(Claim(8, 8.0, "a test", whitened=True), 2048) == DIGEST_BITS // 8
    assert batch(Claim(8, 1 / 32, "a test", whitened=True), 320) == STARTUP_SAMPLES


def test_without_a_word_of_the_configuration_it_is_the_sources() -> None:
    """Group and claim."""
    assert configured(SAID, SourceConfig()) == SAID


def test_the_configuration_sets_group_and_entropy_and_nothing_else() -> None:
    """At most a sample's bits; what stands behind the source stays."""
    config = SourceConfig(group="host", min_entropy=9.0)
    got = configured(SAID, config)
    assert (got.group, got.claim.min_entropy, got.claim.strength) == ("host", 8.0, 256)
    assert got.claim.provenance == "set in the configuration"


def test_a_live_source_has_nothing_behind_it() -> None:
    """And a generator what it holds, since it was opened."""
    assert backing(Claim(8, 4.0, "a test", whitened=True), 7.0) is None
    assert backing(SAID.claim, 7.0) == Backing(256, None, 7.0)
