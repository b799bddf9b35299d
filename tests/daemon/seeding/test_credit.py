"""What samples count for in a seed: caps, groups that are left, and when that suffices."""

import itertools
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.seeding import credit
from hwentropyd.seeding.availability import GRACE_SECONDS
from hwentropyd.seeding.credit import SeedPolicy

GROUPS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 3000))
POLICIES = st.builds(SeedPolicy, st.integers(320, 2048), st.integers(1, 16))

#: What groups can hold: the kernel, a TPM and RDRAND as DRBGs, RDSEED live.
KERNEL = {"kernel": 256.0}
TPM = {"tpm": 256.0}
RDRAND = {"rdrand": 128.0}
RDSEED = {"rdseed": math.inf}


@given(GROUPS, POLICIES)
def test_sufficient_without_any_min_groups_less_one_groups(
    bits: dict[str, float], policy: SeedPolicy
) -> None:
    """Full strength is left whichever groups, one fewer than min_groups, an attacker knows."""
    live = dict.fromkeys(bits, math.inf)
    known = sorted(bits.values(), reverse=True)[: policy.min_groups - 1]
    makes_it = credit.sufficient(policy, bits, live, patient=False)
    assert makes_it == (math.fsum(bits.values()) - math.fsum(known) >= policy.min_bits)


@pytest.mark.parametrize("min_groups", range(1, 17))
def test_never_sufficient_with_fewer_groups_than_asked_for(min_groups: int) -> None:
    """However much each of them gives; and sufficient with one more."""
    policy = SeedPolicy(min_bits=320, min_groups=min_groups)
    few = {f"g{number}": 1e6 for number in range(min_groups - 1)}
    for holds in (dict.fromkeys(few, math.inf), few):
        assert not credit.sufficient(policy, few, holds, patient=False)
        assert credit.shortage(policy, holds) == (
            f"{min_groups - 1} healthy credited groups of sources, "
            f"min_groups asks for {min_groups}"
        )
    assert credit.sufficient(policy, {**few, "last": 320.0}, {}, patient=False)


def test_the_kernel_alone_is_sufficient_with_all_it_holds() -> None:
    """By default; 255 of its 256 bits are not."""
    policy = SeedPolicy()
    assert not credit.shortage(policy, KERNEL)
    assert credit.sufficient(policy, {"kernel": 256.0}, KERNEL, patient=True)
    assert not credit.sufficient(policy, {"kernel": 255.0}, KERNEL, patient=False)


@pytest.mark.parametrize("min_bits", [321, 2048])
def test_a_larger_min_bits_than_the_sources_hold_waits_and_says_so(min_bits: int) -> None:
    """The kernel alone is worth 256 bits, whatever is asked for."""
    policy = SeedPolicy(min_bits)
    assert not credit.sufficient(policy, {"kernel": 256.0}, KERNEL, patient=False)
    assert credit.shortage(policy, KERNEL) == (
        f"min_bits asks for {min_bits} bits; the healthy sources can hold 256"
    )
    assert not credit.shortage(policy, KERNEL | RDSEED)


@pytest.mark.parametrize(
    ("holds", "min_groups", "can"),
    [
        (RDRAND, 1, "the healthy sources can hold 128"),
        (KERNEL | RDRAND, 2, "the healthy sources without the best 1 can hold 128"),
        (KERNEL | TPM | RDRAND, 3, "the healthy sources without the best 2 can hold 128"),
    ],
)
def test_less_than_the_generators_strength_never_makes_a_seed(
    holds: Mapping[str, float], min_groups: int, can: str
) -> None:
    """128 bits of RDRAND are no seed, alone or as what is left."""
    policy = SeedPolicy(min_groups=min_groups)
    assert credit.shortage(policy, holds) == f"min_bits asks for 320 bits; {can}"
    assert not credit.sufficient(policy, holds, holds, patient=False)


@pytest.mark.parametrize("slow", [TPM, RDSEED], ids=["drbg", "live"])
def test_the_kernel_waits_a_moment_for_who_can_give_the_rest(slow: dict[str, float]) -> None:
    """And is as good afterwards as it is alone; less than all it holds is not."""
    policy, holds = SeedPolicy(), KERNEL | slow
    bits = {"kernel": 256.0, next(iter(slow)): 10.0}
    assert not credit.sufficient(policy, bits, holds, patient=True)
    assert credit.sufficient(policy, bits, holds, patient=False)
    bits["kernel"] = 250.0
    assert not credit.sufficient(policy, bits, holds, patient=False)
    bits[next(iter(slow))] = 70.0
    assert credit.sufficient(policy, bits, holds, patient=True)


def test_with_two_groups_of_generators_either_may_be_known() -> None:
    """The kernel and a TPM, min_groups = 2: each holds a seed's strength."""
    policy, holds = SeedPolicy(min_groups=2), KERNEL | TPM
    assert not credit.shortage(policy, holds)
    assert credit.sufficient(policy, holds, holds, patient=True)
    assert not credit.sufficient(policy, {**KERNEL, "tpm": 250.0}, holds, patient=False)


def test_with_two_groups_the_noise_may_be_known_and_the_kernel_is_left() -> None:
    """min_groups = 2: a seed of the live one, and all that the kernel holds."""
    policy, holds = SeedPolicy(min_groups=2), KERNEL | RDSEED
    assert not credit.shortage(policy, holds)
    assert credit.sufficient(policy, {**KERNEL, "rdseed": 320.0}, holds, patient=True)
    assert not credit.sufficient(policy, {**KERNEL, "rdseed": 319.0}, holds, patient=False)
    assert not credit.sufficient(policy, {"rdseed": 1e6}, holds, patient=False)


@pytest.mark.parametrize(
    ("bits", "holds", "there"),
    [
        ({"kernel": 256.0}, KERNEL, True),
        ({"kernel": 256.0}, KERNEL | TPM, False),
        ({"kernel": 256.0, "tpm": 255.0}, KERNEL | TPM, False),
        ({"kernel": 256.0, "tpm": 256.0}, KERNEL | TPM, True),
        ({"kernel": 256.0, "rdrand": 128.0}, KERNEL | RDRAND, True),
        ({"kernel": 256.0, "rdseed": 256.0}, KERNEL | RDSEED | TPM, True),
    ],
)
def test_two_groups_carry_a_seed_with_its_strength_or_all_they_hold(
    bits: dict[str, float],
    holds: dict[str, float],
    there: bool,  # noqa: FBT001 (a table)
) -> None:
    """Where there are two; a third does not matter."""
    assert credit.on_two_groups(bits, holds) is there


@given(GROUPS, GROUPS, POLICIES, st.booleans())
def test_what_can_never_make_a_seed_never_does(
    bits: dict[str, float],
    holds: dict[str, float],
    policy: SeedPolicy,
    patient: bool,  # noqa: FBT001 (given)
) -> None:
    """Where there is a shortage no credits within what is held are sufficient."""
    held = {group: min(bits.get(group, 0.0), most) for group, most in holds.items()}
    if credit.shortage(policy, holds):
        assert not credit.sufficient(policy, held, holds, patient=patient)


@pytest.mark.parametrize(
    ("min_groups", "bits"), [(0, 111), (1, 111), (2, 11), (3, 1), (4, 0), (5, 0)]
)
def test_what_is_left_is_without_the_largest_groups(min_groups: int, bits: float) -> None:
    """An attacker knows those that bring the most; in whatever order they are named."""
    for order in itertools.permutations({"a": 1.0, "b": 10.0, "c": 100.0}.items()):
        assert credit.left(dict(order), min_groups) == bits


def test_a_group_holds_what_its_best_source_holds() -> None:
    """A generator may hold nothing, and noise has no end."""
    assert credit.holdings([("a", 0), ("b", 128), ("b", 256), ("b", 128)]) == {
        "a": 0,
        "b": 256,
    }
    assert credit.holdings([("c", None), ("c", 256)]) == {"c": math.inf}


def test_who_waits_for_a_group_serves_on_meanwhile() -> None:
    """Where the service is over, what is left of its grace is as long again."""
    assert 2 * credit.GROUP_SECONDS <= GRACE_SECONDS


def test_it_waits_for_groups_that_can_just_make_it() -> None:
    """The kernel's 256 bits and 64 of another generator are the 320 that are asked for."""
    policy, holds = SeedPolicy(), {"kernel": 256.0, "other": 64.0}
    assert not credit.sufficient(policy, KERNEL, holds, patient=True)
    assert credit.sufficient(policy, KERNEL, holds, patient=False)
