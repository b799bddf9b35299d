"""The headers against a real daemon: <random>, forks, restarts, the examples, the documents."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropy import Client
from support.compiled import HEADERS, PATIENCE, PROGRAMS, ROOT, Compiler, Native
from support.daemon import Daemon

pytestmark = pytest.mark.process

DOCUMENT = (ROOT / "docs" / "cpp.md").read_text()
BLOCKS = re.findall(r"^```(cpp|c)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
EXAMPLES = sorted((HEADERS / "examples").iterdir())


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    """A hwentropyd of our own."""
    with Daemon() as daemon:
        yield daemon


def run(program: Path, daemon: Daemon, *arguments: str) -> str:
    """What a program prints; it has to end well."""
    done = subprocess.run(
        [program, *arguments],
        env=os.environ | {"HWENTROPY_RUNTIME_DIR": str(daemon.directory)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize("mode", ["lease", "direct", "prediction_resistant"])
def test_every_mode_draws(mode: str, served: Daemon, native: Native) -> None:
    """The length asked for, never the same twice, no long run of zeros in it."""
    native.open(served.entropy, mode)
    for size in (32, 1025, 3 << 20):
        first, second = native.draw(size), native.draw(size)
        assert first != second
        assert bytes(16) not in first + second


def test_three_languages_draw_from_one_daemon(served: Daemon, compiler: Compiler) -> None:
    """C, C++ and Python at once, by lease and directly: 3,000 strings, none twice."""
    seen: list[bytes] = []
    with Client(served.entropy, timeout=PATIENCE) as python:
        for source in ("probe.c", "probe.cpp"):
            with Native(compiler(PROGRAMS / source)) as native:
                for mode in ("lease", "direct"):
                    native.open(served.entropy, mode)
                    data = bytes.fromhex(native.ask("threads 4 2400")[3:])
                    seen += (data[at : at + 16] for at in range(0, len(data), 16))
        seen += (python.read(16) for _ in range(600))
    assert len(seen) == len(set(seen)) == 3000


def test_a_reseed_and_a_restart_end_the_lease(native: Native) -> None:
    """The epoch of a real page: a reseed moves it; after a restart there is a new lease."""
    with Daemon() as daemon:
        native.open(daemon.entropy, "lease")
        native.draw(32)
        before = daemon.generation()
        daemon.call("Reseed")
        assert daemon.generation() > before
        native.draw(32)
        daemon.stop()
        native.draw(32)  # inside the limits
        native.ask("advance 86401")  # the longest lease that a daemon can be set to
        assert native.refused(32)[0] == "daemon_unavailable"
        daemon.start()
        daemon.wait_until_settled()
        native.draw(32)
        daemon.check_log()


def test_a_killed_daemon_ends_no_lease_early(native: Native) -> None:
    """kill -9 in the middle: the page it left is whole, and draws go on."""
    with Daemon() as daemon:
        native.open(daemon.entropy, "lease")
        native.draw(32)
        daemon.kill()
        native.draw(32)
        native.ask("advance 86401")
        assert native.refused(32)[0] == "daemon_unavailable"


def test_random_device_serves_all_of_random(served: Daemon, compiler: Compiler) -> None:
    """Every distribution's mean, std::shuffle's orders, and what the type promises."""
    assert run(compiler(PROGRAMS / "distributions.cpp"), served) == ""


def test_no_forked_process_repeats_another(served: Daemon, compiler: Compiler) -> None:
    """300 children and as many grandchildren, with the parent drawing in between."""
    lines = run(compiler(PROGRAMS / "forks.cpp"), served, "300").split()
    assert len(lines) == len(set(lines)) == 1 + 300 * 4


def test_headers_in_two_translation_units(
    served: Daemon, compiler: Compiler, tmp_path: Path
) -> None:
    """One program of two files that include it links, and both share one generator."""
    other = tmp_path / "other.cpp"
    other.write_text(
        '#include "hwentropy.hpp"\n'
        "const void *other() { return &hwentropy::generator::shared(); }\n"
    )
    main = tmp_path / "main.cpp"
    main.write_text(
        '#include "hwentropy.hpp"\n'
        "const void *other();\n"
        "int main() { return other() != &hwentropy::generator::shared()"
        " || hwentropy::bytes<8>() == hwentropy::bytes<8>(); }\n"
    )
    assert run(compiler(main, str(other)), served) == ""


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_c_header_in_later_standards(standard: str, served: Daemon, compiler: Compiler) -> None:
    """Strict ISO modes, where nothing beyond the standard is shown unasked."""
    key = run(compiler(HEADERS / "examples" / "key.c", f"-std={standard}"), served)
    assert re.fullmatch(r"[0-9a-f]{64}\n", key)


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("optimised", ["-O0", "-O3"])
def test_cpp_header_in_later_standards(
    standard: str, optimised: str, served: Daemon, compiler: Compiler
) -> None:
    """And the optimiser's warnings, which differ by level."""
    program = compiler(HEADERS / "examples" / "cards.cpp", f"-std={standard}", optimised)
    assert len(run(program, served).split()) == 13


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run_and_fail_well(
    example: Path, served: Daemon, compiler: Compiler, tmp_path: Path
) -> None:
    """Something printed with a daemon; without one, exit code 1 and the remedy."""
    program = compiler(example)
    assert run(program, served)
    done = subprocess.run(
        [program],
        env=os.environ | {"HWENTROPY_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "no daemon answers at" in done.stderr


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_documents_examples_run(
    number: int, served: Daemon, compiler: Compiler, tmp_path: Path
) -> None:
    """Every block of docs/cpp.md is a program that compiles and ends with 0."""
    language, code = BLOCKS[number]
    source = tmp_path / f"block.{language}"
    source.write_text(code)
    run(compiler(source), served)


def test_the_document_names_everything() -> None:
    """Each exception, status and option is in docs/cpp.md."""
    header = (HEADERS / "hwentropy.hpp").read_text()
    names = re.findall(r"^class (\w+) : public error", header, re.MULTILINE)
    base = (HEADERS / "hwentropy" / "base.h").read_text()
    names += re.findall(r"^    (HWENTROPY_\w+) = [1-9]", base, re.MULTILINE)
    assert len(names) == 8 + 14
    for name in names:
        assert f"`{name}`" in DOCUMENT, name
