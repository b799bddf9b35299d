"""Settings of the property tests in this folder."""

from hypothesis import settings

# No time limit on an example: on a loaded machine it fails tests that are right.
# What a claim says about cost is measured where it is claimed.
settings.register_profile("core", deadline=None)
settings.load_profile("core")
