"""CPython's own tests of `secrets` and of `random.SystemRandom`, unchanged, on our modules.

They come with the interpreter in the package `test`.  Before they are imported,
`secrets` and `random.SystemRandom` are ours, in a process of its own, with bytes
from a real daemon.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.needed import needs
from support.script import run_python

ROOT = Path(__file__).parents[2]

MISSING = [
    name
    for name in ("test.test_secrets", "test.test_random")
    if not importlib.util.find_spec("test") or not importlib.util.find_spec(name)
]
pytestmark = [
    pytest.mark.process,
    needs(f"this interpreter was built without {' and '.join(MISSING)}" if MISSING else ""),
]

SCRIPT = """
import json, random, sys, unittest
import hwentropy.generator
from hwentropy import secrets as ours
from hwentropy.system_random import SystemRandom

hwentropy.generator.configure(mode=sys.argv[1])
exec(sys.argv[2])
sys.modules["secrets"] = ours
random.SystemRandom = SystemRandom
import test.test_random, test.test_secrets

assert test.test_secrets.secrets is ours
basic = test.test_random.SystemRandom_TestBasicOps
assert type(basic.gen) is SystemRandom
load = unittest.defaultTestLoader
suite = unittest.TestSuite()
suite.addTests(load.loadTestsFromModule(test.test_secrets))
suite.addTests(load.loadTestsFromTestCase(basic))
result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
names = [test.id() for test, _ in result.failures + result.errors]
print(json.dumps({"run": result.testsRun, "skipped": len(result.skipped), "failed": names}))
"""


def run(real_daemon: Daemon, mode: str, first: str = "pass") -> tuple[dict[str, Any], str]:
    """Their tests on our modules after the statement `first`; what came of it, and the log."""
    done = run_python("-c", SCRIPT, mode, first, runtime=real_daemon.directory, timeout=300)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome, done.stderr


@pytest.mark.parametrize("mode", ["lease", "direct"])
def test_cpythons_own_tests_pass(mode: str, real_daemon: Daemon) -> None:
    """All of test_secrets and of SystemRandom_TestBasicOps, none skipped."""
    outcome, log = run(real_daemon, mode)
    assert (outcome["failed"], outcome["skipped"]) == ([], 0), log
    # CPython 3.11 has 13 and 26 of them, later versions more.
    assert outcome["run"] >= 39


def test_cpythons_own_tests_would_notice(real_daemon: Daemon) -> None:
    """With a bound that can be reached and a token too short, the same run fails."""
    broken = "ours.randbelow = lambda n: n; ours.token_bytes = lambda n=None: b'x'"
    outcome, _ = run(real_daemon, "lease", broken)
    # A subtest's name has its parameters behind it.
    failed = {name.partition(" ")[0].rpartition(".")[2] for name in outcome["failed"]}
    assert {"test_randbelow", "test_token_bytes", "test_token_defaults"} <= failed
