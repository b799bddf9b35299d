"""The service's guarantees, through ten thousand hours of what can go wrong.

SIMULATION_SEED=base-17 make test-unit TESTS=tests/simulation    one run again
SIMULATION_HOURS=1000000 make test-unit TESTS=tests/simulation   other runs, and more
"""

import itertools
import os
import secrets

import pytest

from simulation.world import World, repeatable

#: Hours in all, by default those of the same seeds each time.
HOURS = float(os.environ.get("SIMULATION_HOURS", "10000"))
BASE = secrets.token_hex(4) if "SIMULATION_HOURS" in os.environ else "base"
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_the_guarantees_hold_through_faults_of_every_kind(part: int) -> None:
    """Sources that break, a supervisor that stands still, suspends, copies, floods."""
    if one := os.environ.get("SIMULATION_SEED"):
        if part == 0:
            World(one).run()
        return
    hours, reseeds, clones, answered, live, refused = 0.0, 0, 0, 0, 0, 0
    for number in itertools.count(part, PARTS):
        seed = f"{BASE}-{number}"
        with repeatable(seed):
            world = World(seed)
            world.run()
        hours += world.hours
        reseeds += world.oracle.reseeds
        clones += world.oracle.clones
        answered += world.oracle.answered
        live += world.oracle.answered_live
        refused += world.oracle.refused
        if hours >= HOURS / PARTS:
            break
    # It is not that nothing happened.
    assert reseeds > 100
    assert clones > 20
    assert answered - live > 100
    assert live > 100
    assert refused > 10
