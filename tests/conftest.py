"""Settings that hold for the whole suite."""

import signal

from hypothesis import settings

# No time limit on an example: on a loaded machine it fails tests that are right.
# What a claim says about cost is measured where it is claimed.
settings.register_profile("hwentropy", deadline=None)
settings.load_profile("hwentropy")

# A shell that starts pytest in the background has it ignore SIGINT, and so would
# every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
