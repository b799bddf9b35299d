"""Descriptors enough for thousands of clients in the test's own process."""

import resource
from collections.abc import Generator
from contextlib import contextmanager

import pytest

#: Eight thousand clients, and what the test has beside them.
MANY = 8192


@contextmanager
def many() -> Generator[None]:
    """With so many allowed, or a skip where the hard limit is lower."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < MANY:
        pytest.skip(f"needs {MANY} descriptors, the hard limit is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], MANY), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
