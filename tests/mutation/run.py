"""`make mutate`: does a test see each fault that `mutants` can make?

    python tests/mutation/run.py [--seconds N] [--seed TEXT] [MODULE…]

Each mutant runs in a process of its own, forked from one that has loaded the libraries and
none of the project: it imports the changed module in place of the file, and runs the tests
that stand beside it until one fails.  What no test fails for survives.

`accepted.toml` has the survivors that change nothing that could be seen, with the reason.
Any other is an error, and so is one there that the code cannot have any more or that a
test sees.  With `--seconds` it takes mutants in an order that the seed (the commit's hash)
decides, of the modules that the gate has, until the time is over; what is accepted is left
out then.

What it does not see: tests that start daemons, code in C, and faults of two places.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO, Final, NoReturn

import cryptography.hazmat.primitives.ciphers  # noqa: F401 - loaded once, before the forks
import hypothesis
import msgspec  # noqa: F401 - the same
import pytest

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from mutation.mutants import Mutant, mutants  # noqa: E402 - the path above comes first

ACCEPTED: Final = Path(__file__).with_name("accepted.toml")
MODULES: Final = Path(__file__).with_name("modules.toml")

#: CPU seconds for the tests of one mutant: so many times what they take unchanged, and so
#: many more.  One that loops for ever is seen by that.
CPU_TIMES: Final = 5
CPU_MORE: Final = 10
#: For the tests of a module unchanged.
BASE_SECONDS: Final = 600.0
#: Seconds for one that waits for ever: longer than a test waits for a thread (PATIENCE).
WALL_SECONDS: Final = 90
#: Memory for one that collects for ever.
MEMORY_BYTES: Final = 8 << 30

# As in CI: the same examples in every run.  A failure need not be made smaller.
hypothesis.settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


@dataclass(frozen=True, slots=True)
class Module:
    """One that is changed, and the tests that have to see it."""

    name: str
    path: Path
    tests: tuple[str, ...]

    def mutants(self) -> list[Mutant]:
        """All of it; of two that read alike in one function the first."""
        return list(dict.fromkeys(mutants(self.path.read_text())))


class Changed(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Finds one module, and runs other code in its place."""

    def __init__(self, module: Module, code: CodeType) -> None:
        self._module = module
        self._code = code

    def find_spec(
        self, fullname: str, _path: object, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """For this one alone."""
        if fullname != self._module.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._module.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the code."""
        exec(self._code, module.__dict__)  # noqa: S102 - the module's own, but for one fault


def load_modules(*tables: str) -> list[Module]:
    """Of these tables of `modules.toml`."""
    whole = tomllib.loads(MODULES.read_text())
    return [
        Module(".".join(Path(path).with_suffix("").parts[1:]), ROOT / path, tuple(tests))
        for table in tables
        for path, tests in whole[table].items()
    ]


def load_accepted() -> dict[tuple[str, str, str, str], str]:
    """`accepted.toml`: module, function, what was, what it becomes; and why."""
    entries = tomllib.loads(ACCEPTED.read_text()).get("accepted", [])
    return {
        (one["module"], one["function"], one["was"], one["becomes"]): one["why"]
        for one in entries
    }


def key(module: Module, mutant: Mutant) -> tuple[str, str, str, str]:
    """As `load_accepted` has it."""
    return module.name, mutant.function, mutant.was, mutant.becomes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the tests of a module ended."""

    module: Module
    mutant: Mutant | None
    """None: of the module as it is."""
    passed: bool
    cpu_seconds: float
    output: str


class Running:
    """Processes at work, as many as there are processors."""

    def __init__(self) -> None:
        self._most = len(os.sched_getaffinity(0))
        self._by_fd: dict[int, tuple[int, float, Module, Mutant | None, IO[bytes]]] = {}

    def all(
        self, todo: Iterable[tuple[Module, Mutant | None, float]], end: float = math.inf
    ) -> Iterator[Outcome]:
        """Begin each, with so many CPU seconds, until `end`; their outcomes as they come."""
        waiting = iter(todo)
        left = True
        while left or self._by_fd:
            while left and len(self._by_fd) < self._most:
                one = next(waiting, None) if time.monotonic() < end else None
                left = one is not None
                if one is not None:
                    self._add(*one)
            if self._by_fd:
                yield from self._finished()

    def _add(self, module: Module, mutant: Mutant | None, cpu_seconds: float) -> None:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who reads it
        pid = os.fork()
        if not pid:
            _run(module, mutant, cpu_seconds, output.fileno())
        self._by_fd[os.pidfd_open(pid)] = pid, time.monotonic(), module, mutant, output

    def _finished(self) -> Iterator[Outcome]:
        """Those that have ended, or waited too long; waits for one."""
        ready, _, _ = select.select(list(self._by_fd), [], [], 1.0)
        for fd, (pid, began, module, mutant, output) in list(self._by_fd.items()):
            if fd not in ready and time.monotonic() < began + WALL_SECONDS:
                continue
            # With what its tests started; it leads its own group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            os.close(fd)
            del self._by_fd[fd]
            with output:
                output.seek(0)
                text = output.read().decode(errors="replace")
            passed = status == 0
            yield Outcome(module, mutant, passed, used.ru_utime + used.ru_stime, text)


def _run(module: Module, mutant: Mutant | None, cpu_seconds: float, output: int) -> NoReturn:
    """In a process of its own: run the tests, and end with pytest's code."""
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        os.setsid()
        limit = math.ceil(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(output, 1)
        os.dup2(output, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(module, mutant.compiled(str(module.path))))
        arguments = ["-q", "-x", "-m", "not process and not system", "--tb=short"]
        arguments += ["--hypothesis-profile=mutation", "-p", "no:cacheprovider"]
        # They are loaded before the fork.
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:xdist"]
        code = int(pytest.main([*arguments, *module.tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def limits_of(modules: list[Module], running: Running) -> dict[str, float]:
    """CPU seconds for a mutant of each, whose tests have to pass while it is unchanged."""
    limits: dict[str, float] = {}
    for one in running.all((module, None, BASE_SECONDS) for module in modules):
        if not one.passed:
            sys.exit(f"{one.output}\nthe tests of {one.module.name} fail as it is")
        limits[one.module.name] = CPU_MORE + CPU_TIMES * one.cpu_seconds
    return limits


def commit() -> str:
    """The hash of the commit; another text where there is none."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()
    return "no commit"


def main() -> int:
    """0 where what survived is accepted, and all that is accepted survives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0, help="0: all of them")
    parser.add_argument("--seed", default=commit(), help="decides the order with --seconds")
    parser.add_argument("modules", nargs="*", help="whose names contain this")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds if given.seconds else math.inf
    os.chdir(ROOT)

    modules = [
        one
        for one in load_modules(*(["gate"] if given.seconds else ["gate", "ungated"]))
        if not given.modules or any(part in one.name for part in given.modules)
    ]
    accepted = load_accepted()
    todo = [(module, mutant) for module in modules for mutant in module.mutants()]
    known = {key(module, mutant) for module, mutant in todo}
    names = {module.name for module in modules}
    errors = [
        f"accepted, but the code cannot have it: {' | '.join(one)}"
        for one in accepted
        if one[0] in names and one not in known
    ]
    everything = len(todo)
    if given.seconds:
        todo = [one for one in todo if key(*one) not in accepted]
        random.Random(given.seed).shuffle(todo)
        print(f"a sample of {everything} mutants, as the seed {given.seed} has it")
    running = Running()
    limits = limits_of(modules, running)
    killed, survived, excused = Counter[str](), Counter[str](), Counter[str]()
    for one in running.all(((*pair, limits[pair[0].name]) for pair in todo), end):
        assert one.mutant is not None
        name = one.module.name
        why = accepted.get(key(one.module, one.mutant))
        if not one.passed:
            killed[name] += 1
            if why is not None:
                errors.append(f"accepted, but a test sees it: {name}: {one.mutant}")
        elif why is not None:
            excused[name] += 1
        else:
            survived[name] += 1
            print(f"SURVIVED {name}: {one.mutant}", flush=True)
    for name in (module.name for module in modules):
        total = killed[name] + excused[name] + survived[name]
        print(
            f"{name}: {killed[name]} of {total} killed, {excused[name]} accepted, "
            f"{survived[name]} survived"
        )
    print(
        f"{killed.total()} killed, {excused.total()} accepted, {survived.total()} survived, "
        f"of {everything}"
    )
    for error in errors:
        print(error)
    return int(bool(errors or survived))


if __name__ == "__main__":
    sys.exit(main())
