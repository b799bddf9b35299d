"""Runs the load clients: compiles the C programs and reads what they print.

The programs go to bench/out/ and are compiled anew when their source is newer.
Without a C compiler the Python client drives the load and there is no floor.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measure import Sample
from bench.service import ROOT, BenchError

HERE: Final = ROOT / "bench"
OUT: Final = HERE / "out"
CFLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
#: Seconds a client may take beyond its measuring time: warm-up and a slow machine.
PATIENCE: Final = 30.0


def compiler() -> str | None:
    """The C compiler: $CC, or cc, gcc or clang on PATH; None when there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


def build(name: str, cc: str) -> Path:
    """Compile bench/NAME.c unless it is up to date; BenchError with what `cc` said."""
    source, binary = HERE / f"{name}.c", OUT / name
    if binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime:
        return binary
    OUT.mkdir(exist_ok=True)
    # Under a name of its own first: another run may be using or making the same.
    fresh = OUT / f"{name}.{os.getpid()}"
    done = subprocess.run(
        [cc, *CFLAGS, "-o", str(fresh), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{cc} cannot compile {source}:\n{done.stderr.strip()}")
    fresh.replace(binary)
    return binary


@dataclass(frozen=True, slots=True)
class Client:
    """A way to make load: the command that does it."""

    name: str
    command: tuple[str, ...]

    def run(
        self,
        target: str,
        *,
        size: int,
        connections: int,
        depth: int,
        seconds: float,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> Sample:
        """Load `target` once; BenchError when the client failed or was answered wrongly.

        `options` are further ones of its command line.
        """
        command = [*self.command, "--size", str(size), "--connections", str(connections)]
        command += ["--depth", str(depth), "--seconds", str(seconds)]
        command += [*options, target]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds + PATIENCE,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired:
            raise BenchError(
                f"the load on {target} did not end; is the server alive?"
            ) from None
        if done.returncode:
            raise BenchError(f"the load on {target} failed: {done.stderr.strip()[-1000:]}")
        return parse_sample(done.stdout)


def parse_sample(printed: str) -> Sample:
    """The line a client printed; BenchError when it is not one."""
    try:
        return Sample(**json.loads(printed))
    except (ValueError, TypeError) as error:
        raise BenchError(
            f"a load client printed something else than a sample: {error}"
        ) from None


def python_client(*, library: bool = False) -> Client:
    """The client in Python; with `library`, through hwentropy.Client."""
    command = (sys.executable, str(HERE / "client.py"))
    return Client("python", (*command, "--library") if library else command)


def c_client(cc: str) -> Client:
    """The client in C."""
    return Client("c", (str(build("client", cc)),))


def choose(*, force_python: bool) -> Client:
    """The client in C where there is a compiler and nothing else is asked for."""
    cc = compiler()
    return c_client(cc) if cc and not force_python else python_client()
