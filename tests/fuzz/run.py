"""`make fuzz`: every target at once, guided by coverage, until the time is over or Ctrl-C.

    python tests/fuzz/run.py [--seconds N]       all of them; N = 0: until Ctrl-C
    python tests/fuzz/run.py TARGET FILE…        these inputs only, to repeat a finding

Python's targets run under atheris, the C client under clang's libFuzzer.  The corpus of
each grows in build/fuzz/<target>/corpus from run to run; a finding is a file
`crash-…` beside it.
"""

import argparse
import importlib.util
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("core", "sources", "daemon", "client", "tests")]

from fuzz.findings import BUILD  # noqa: E402 - the paths above come first

#: What atheris watches: our parsers and the TOML parser, not the libraries in C.
WATCHED: Final = ["hwentropy_core", "hwentropyd", "hwentropy", "tomllib"]

#: Seconds for one input, after which it counts as a hang.
HANG_SECONDS: Final = 10

C_CLIENT: Final = "client"

CLANG: Final = ["clang", "-g", "-O1", "-fsanitize=fuzzer,address,undefined"]


def run_all(seconds: int) -> int:
    """Every target in a process of its own; 0 where none found anything."""
    from fuzz.client import CLIENT_SEEDS  # noqa: PLC0415 - not in a target's own process
    from fuzz.targets import SEEDS  # noqa: PLC0415

    running: dict[str, subprocess.Popen[bytes]] = {}
    if program := compiled_client():
        running[C_CLIENT] = start(C_CLIENT, CLIENT_SEEDS, [program], seconds)
    else:
        print("without the C client: no clang with libFuzzer (Debian: clang, libclang-rt-dev)")
    if importlib.util.find_spec("atheris"):
        for name, seeds in SEEDS.items():
            command = [sys.executable, __file__, name, "--guided"]
            running[name] = start(name, seeds, command, seconds)
    else:
        print("without Python's targets: atheris is not installed")
    if not running:
        return 1
    failed = []
    try:
        for name, process in running.items():
            if process.wait():
                failed.append(name)
    except KeyboardInterrupt:
        for name, process in running.items():
            # libFuzzer ends a run that is interrupted with 72 and says so.
            if process.wait() not in {0, 72, -signal.SIGINT}:
                failed.append(name)
    for name in running:
        print(summary(name, failed=name in failed))
    return 1 if failed else 0


def compiled_client() -> str:
    """The C client for libFuzzer; empty where it cannot be compiled."""
    program = BUILD / C_CLIENT / "program"
    program.parent.mkdir(parents=True, exist_ok=True)
    source = str(Path(__file__).with_name("client.c"))
    headers = f"-I{ROOT / 'client' / 'c'}"
    if not shutil.which("clang"):
        return ""
    done = subprocess.run([*CLANG, headers, source, "-o", str(program)], check=False)
    return "" if done.returncode else str(program)


def start(
    name: str, seeds: list[bytes], command: list[str], seconds: int
) -> "subprocess.Popen[bytes]":
    """One target, from its corpus and its seeds, its output in a file."""
    home = BUILD / name
    (home / "corpus").mkdir(parents=True, exist_ok=True)
    (home / "seeds").mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (home / "seeds" / str(number)).write_bytes(data)
    options = [f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", "-max_len=16384"]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [
                *(*command, *options, f"-artifact_prefix={home}/"),
                *(str(home / "corpus"), str(home / "seeds")),
            ],
            stdout=log,
            stderr=log,
        )


def summary(name: str, *, failed: bool) -> str:
    """One line: what was run, and where to look."""
    home = BUILD / name
    last = [line for line in (home / "log").read_text(errors="replace").splitlines() if line]
    done = next((line for line in reversed(last) if line.startswith(("Done", "#"))), "")
    corpus = sum(1 for _ in (home / "corpus").iterdir())
    if failed:
        return f"{name}: FOUND SOMETHING, see {(home / 'log').relative_to(ROOT)}"
    return f"{name}: nothing found, {corpus} inputs kept; {done}"


def run_guided(name: str, options: list[str]) -> None:
    """One of Python's targets under atheris; does not return."""
    import atheris  # noqa: PLC0415 - nobody else needs it

    with atheris.instrument_imports(include=WATCHED):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - watched
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def repeat(name: str, files: list[str]) -> None:
    """These inputs once; raises what they make the parser raise."""
    from fuzz.client import CompiledClient  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415
    from support.compiled import Compiler  # noqa: PLC0415

    inputs = [Path(file).read_bytes() for file in files]
    if name == C_CLIENT:
        with (
            tempfile.TemporaryDirectory() as directory,
            CompiledClient(Compiler(Path(directory))) as client,
        ):
            for data in inputs:
                client(data)
    else:
        for data in inputs:
            TARGETS[name](data)


def main() -> int:
    """The exit code: 1 where something was found."""
    parser = argparse.ArgumentParser(description="Fuzz every parser that meets a peer.")
    parser.add_argument("target", nargs="?", help="a target's name, with FILEs to repeat")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--seconds", type=int, default=0, help="0 (default): until Ctrl-C")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    options, others = parser.parse_known_args()
    if options.guided:
        run_guided(options.target, [*others, *options.files])
    elif options.target:
        repeat(options.target, options.files)
    else:
        began = time.monotonic()
        code = run_all(options.seconds)
        print(f"{time.monotonic() - began:.0f} s")
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
