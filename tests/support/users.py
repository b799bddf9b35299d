"""Being somebody else for a moment: what the kernel says of a peer is who it was then."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import pytest

#: Uids that no user of a machine has as a rule; `nobody` is the last one.
ALICE, BOB, NOBODY = 65_432, 65_433, 65_534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")


@contextmanager
def as_user(uid: int) -> Generator[None]:
    """With the effective uid and gid of this user, and no other group; all threads."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
