"""Settings that hold for the whole suite."""

from hypothesis import settings

# No time limit on an example: on a loaded machine it fails tests that are right.
# What a claim says about cost is measured where it is claimed.
settings.register_profile("hwentropy", deadline=None)
settings.load_profile("hwentropy")
