"""C and C++ programs of the tests: compiled once a run, and spoken to in lines.

    build = Compiler(directory)                  a directory that all workers of a run share
    probe = Probe(build(CPP / "probe.c"))
    assert probe.ask("fill 16").startswith("ok ")

Every warning is an error.  The sanitizers for addresses and undefined behaviour
are on where the compiler has them.
"""

import fcntl
import hashlib
import os
import select
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support import needed

ROOT: Final = Path(__file__).parents[2]
#: The headers under test.
HEADERS: Final = ROOT / "client" / "c"
#: The tests' own programs.
PROGRAMS: Final = ROOT / "tests" / "client" / "c"

#: Why tests that compile are skipped; None: they are not.
MISSING: Final = (
    None
    if shutil.which("g++") and shutil.which("gcc")
    else "no C and C++ compiler (gcc, g++) on this machine"
)

_WARNINGS: Final = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
_LANGUAGES: Final = {".c": ["gcc", "-std=c99"], ".cpp": ["g++", "-std=c++17"]}
_SANITIZERS: Final = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

#: Seconds for any one answer, on a machine that runs seven other test suites.
PATIENCE: Final = 120


def compiles_as_extension(source: Path) -> None:
    """A C extension compiles with the headers of this Python, and without a warning."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    headers = Path(sysconfig.get_path("include"))
    there = compiler is not None and (headers / "Python.h").exists()
    needed.check("" if there else "no C compiler, or no headers of this Python")
    assert compiler is not None
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fsyntax-only"]
    subprocess.run([compiler, *flags, f"-isystem{headers}", str(source)], check=True)


class Compiler:
    """Compiles into a directory; what is there already is not compiled again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._sanitizers = _SANITIZERS
        trial = directory / "trial.c"
        trial.write_text("int main(void) { return 0; }\n")
        if not self._works(trial):
            self._sanitizers = []

    def __call__(self, source: Path, *flags: str) -> Path:
        """The program made of one source file; fails with what the compiler says."""
        command = [
            *(*_LANGUAGES[source.suffix], "-O1", "-g", *_WARNINGS, *self._sanitizers),
            *("-pthread", f"-I{HEADERS}", *flags, str(source)),
        ]
        name = hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
        program = self._directory / f"{source.stem}-{name}"
        with (self._directory / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                made = program.with_suffix(".new")
                done = subprocess.run(
                    [*command, "-o", str(made)],
                    capture_output=True,
                    text=True,
                    check=False,
                    env=os.environ | {"LC_ALL": "C"},
                )
                assert done.returncode == 0, done.stderr
                assert not done.stderr
                made.rename(program)
        return program

    def _works(self, source: Path) -> bool:
        try:
            program = self(source)
        except AssertionError:
            return False
        return subprocess.run([program], capture_output=True, check=False).returncode == 0


class Probe:
    """A program that answers each line with a line."""

    def __init__(self, program: Path, environment: Mapping[str, str] | None = None) -> None:
        self.program = program
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, line: str) -> str:
        """The answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, f"no answer to {line!r} in {PATIENCE} s"
        answer = self._process.stdout.readline().rstrip("\n")
        if not answer:
            _, errors = self._process.communicate(timeout=PATIENCE)
            raise AssertionError(f"it ended with {self._process.returncode}: {errors}")
        assert not answer.startswith("broken"), answer
        return answer

    def close(self) -> None:
        """End it; it has to end well and to have had nothing to complain about."""
        _, errors = self._process.communicate(timeout=PATIENCE)
        assert (self._process.returncode, errors) == (0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._process.kill()
            self._process.communicate()


class Native(Probe):
    """A probe of tests/client/c as a client: what it draws, and how it fails."""

    def open(
        self,
        path: Path | str | None,
        mode: str = "direct",
        *,
        timeout_ms: int = 60_000,
        block: bool = True,
    ) -> None:
        """Make a client; one that was there is closed."""
        number = ("lease", "direct", "prediction_resistant").index(mode)
        where = "-" if path is None else path
        assert self.ask(f"open {number} {timeout_ms} {int(block)} {where}").startswith("ok")

    def draw(self, size: int) -> bytes:
        """`size` bytes."""
        answer = self.ask(f"fill {size}")
        assert answer.startswith("ok "), answer
        data = bytes.fromhex(answer[3:])
        assert len(data) == size
        return data

    def refused(self, size: int) -> tuple[str, str]:
        """A draw that has to fail: the exception's name, and its message."""
        answer = self.ask(f"fill {size}")
        assert answer.startswith("error "), answer[:40]
        _, kind, message = answer.split(" ", 2)
        return kind, message

    def pair(self, command: str) -> tuple[bytes, bytes]:
        """What a command gives for a child and its parent."""
        _, child, parent = self.ask(command).split(" ")
        return bytes.fromhex(child), bytes.fromhex(parent)
