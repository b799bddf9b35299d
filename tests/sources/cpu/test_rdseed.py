"""The kinds `rdseed` and `rdrand`, and the C extension behind them.

The extension's retries cannot be brought about on a CPU that works, so it is
built once more here against headers whose instruction fails as often as told.
"""

import importlib.util
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.cpu import rdseed
from hwentropy_sources.cpu.rdseed import CpuInstruction, Rdrand, Rdseed, load_cpurand
from support import needed
from support.compiled import compiles_as_extension

C_SOURCE = Path(rdseed.__file__).with_name("_cpurand.c")
KINDS: list[type[CpuInstruction]] = [Rdseed, Rdrand]

#: Each word is a count; every `FAILURES` tries in a row fail before one succeeds.
FAKE_IMMINTRIN = """
static unsigned long long fake_word;
static int fake_failed;
static int fake_step(unsigned long long *word)
{
    *word = 0;
    if (fake_failed < FAILURES) { fake_failed++; return 0; }
    if (fake_word >= GOOD_WORDS) return 0;
    fake_failed = 0;
    *word = ++fake_word;
    return 1;
}
#define _rdseed64_step fake_step
#define _rdrand64_step fake_step
#define _mm_pause() ((void)0)
"""

FAKE_CPUID = """
#define __get_cpuid(leaf, a, b, c, d) (*(a) = *(b) = *(d) = 0, *(c) = CPUID_C, 1)
#define __get_cpuid_count(leaf, sub, a, b, c, d) (*(a) = *(c) = *(d) = 0, *(b) = CPUID_B, 1)
"""

Build = Callable[..., ModuleType]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Compile the extension for a made-up CPU and load it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_path("include"))
    there = compiler is not None and (headers / "Python.h").exists()
    needed.check("" if there else "no C compiler, or no headers of this Python")
    assert compiler is not None

    def build(
        *,
        failures: int = 0,
        good_words: int = 1 << 30,
        cpuid_b: int = 1 << 18,
        cpuid_c: int = 1 << 30,
        other_machine: bool = False,
    ) -> ModuleType:
        (tmp_path / "immintrin.h").write_text(FAKE_IMMINTRIN)
        (tmp_path / "cpuid.h").write_text(FAKE_CPUID)
        text = C_SOURCE.read_text()
        # With it undefined, or on a machine that is not x86-64, the C library's
        # headers would fail too, so the question itself is replaced.
        text = text.replace("defined(__x86_64__)", "0" if other_machine else "1")
        text = text.replace('__attribute__((target("rdseed"))) ', "")
        text = text.replace('__attribute__((target("rdrnd"))) ', "")
        code = tmp_path / "_cpurand.c"
        code.write_text(text)
        library = tmp_path / "_cpurand.so"
        subprocess.run(
            [
                *(compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
                *(f"-DFAILURES={failures}", f"-DGOOD_WORDS={good_words}ULL"),
                *(f"-DCPUID_B={cpuid_b}U", f"-DCPUID_C={cpuid_c}U"),
                *(f"-I{tmp_path}", f"-I{headers}", str(code), "-o", str(library)),
            ],
            check=True,
        )
        spec = importlib.util.spec_from_file_location("_cpurand", library)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return build


@pytest.fixture
def extension() -> ModuleType:
    """The extension as installed."""
    try:
        return load_cpurand()
    except SourceAbsent as absent:
        pytest.skip(str(absent))


def words(buffer: bytearray) -> list[int]:
    """The little-endian words of a buffer."""
    return [int.from_bytes(buffer[at : at + 8], "little") for at in range(0, len(buffer), 8)]


# ---- the extension -----------------------------------------------------------


def test_it_compiles_without_a_warning() -> None:
    """The real headers, -Wall -Wextra -Werror."""
    compiles_as_extension(C_SOURCE)


@pytest.mark.parametrize("name", ["rdseed", "rdrand"])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 1001])
def test_the_real_instruction_fills_every_size(
    extension: ModuleType, name: str, size: int
) -> None:
    """The buffer is full to its last byte: over 64 reads each byte is once not 0xA5."""
    if not getattr(extension, f"HAS_{name.upper()}"):
        pytest.skip(f"this CPU has no {name.upper()}")
    changed = bytearray(size)
    for _ in range(64):
        buffer = bytearray(b"\xa5" * size)
        getattr(extension, name)(buffer)
        changed = bytearray(
            old | (new ^ 0xA5) for old, new in zip(changed, buffer, strict=True)
        )
    assert all(changed)


@pytest.mark.parametrize("target", [b"read-only", "text", 8, None])
def test_only_a_writable_buffer_is_taken(extension: ModuleType, target: object) -> None:
    """Anything else is a TypeError or BufferError, not a crash."""
    if not extension.HAS_RDRAND:
        pytest.skip("this CPU has no RDRAND")
    with pytest.raises((TypeError, BufferError)):
        extension.rdrand(target)


@pytest.mark.parametrize(("name", "tries"), [("rdseed", 1000), ("rdrand", 10)])
def test_each_word_has_its_tries(build: Build, name: str, tries: int) -> None:
    """One failure less than the limit before every word, and all words come in order."""
    buffer = bytearray(24)
    getattr(build(failures=tries - 1), name)(buffer)
    assert words(buffer) == [1, 2, 3]


@pytest.mark.parametrize(("name", "tries"), [("rdseed", 1000), ("rdrand", 10)])
def test_one_failure_more_raises(build: Build, name: str, tries: int) -> None:
    """At the limit it raises and names the instruction and the limit."""
    with pytest.raises(OSError, match=f"{name.upper()} gave no word in {tries} tries"):
        getattr(build(failures=tries), name)(bytearray(8))


@pytest.mark.parametrize("name", ["rdseed", "rdrand"])
def test_what_was_drawn_before_a_failure_is_overwritten(build: Build, name: str) -> None:
    """Three good words and then none: no partial result stays behind."""
    buffer = bytearray(b"\xff" * 40)
    with pytest.raises(OSError, match="gave no word"):
        getattr(build(good_words=3), name)(buffer)
    assert buffer == bytes(24) + b"\xff" * 16


def test_the_last_bytes_are_part_of_a_word(build: Build) -> None:
    """11 bytes take two words and no byte past the end."""
    buffer = bytearray(b"\xff" * 16)
    build().rdseed(memoryview(buffer)[:11])
    assert buffer == b"\x01" + bytes(7) + b"\x02\x00\x00" + b"\xff" * 5


def test_cpuid_decides_for_each_instruction(build: Build) -> None:
    """Leaf 1 ECX bit 30 is RDRAND, leaf 7 EBX bit 18 RDSEED, and one is not the other."""
    only_rdrand = build(cpuid_b=0xFFFFFFFF ^ (1 << 18))
    assert (only_rdrand.HAS_RDRAND, only_rdrand.HAS_RDSEED) == (True, False)
    with pytest.raises(OSError, match="this CPU has no RDSEED instruction"):
        only_rdrand.rdseed(bytearray(8))
    only_rdrand.rdrand(bytearray(8))


def test_without_rdrand_there_is_none(build: Build) -> None:
    """The other way round."""
    only_rdseed = build(cpuid_c=0xFFFFFFFF ^ (1 << 30))
    assert (only_rdseed.HAS_RDRAND, only_rdseed.HAS_RDSEED) == (False, True)
    with pytest.raises(OSError, match="this CPU has no RDRAND instruction"):
        only_rdseed.rdrand(bytearray(8))


def test_on_another_machine_it_builds_and_has_neither(build: Build) -> None:
    """Not x86-64: the module loads and says no."""
    other = build(other_machine=True)
    assert (other.HAS_RDRAND, other.HAS_RDSEED) == (False, False)
    with pytest.raises(OSError, match="no RDSEED"):
        other.rdseed(bytearray(8))


# ---- the sources -------------------------------------------------------------


def fake_extension(**given: object) -> Callable[[], ModuleType]:
    """A loader of an extension on a CPU that has both instructions."""

    def fail(buffer: bytearray) -> None:
        raise AssertionError("the wrong instruction was asked")

    module = SimpleNamespace(HAS_RDSEED=True, HAS_RDRAND=True, rdseed=fail, rdrand=fail)
    vars(module).update(given)
    return lambda: module  # type: ignore[return-value]  # a module as far as it is used


@pytest.fixture
def cpuinfo(tmp_path: Path) -> Path:
    """A kernel that uses both instructions."""
    path = tmp_path / "cpuinfo"
    path.write_text("flags\t: rdrand rdseed\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_real_source_reads(kind: type[CpuInstruction]) -> None:
    """On this CPU, or skipped with the source's own reason."""
    source = kind()
    try:
        source.open()
    except SourceAbsent as absent:
        pytest.skip(str(absent))
    assert len(source.read(1024, 5.0)) == 1024
    assert len(set(source.read(1024, 5.0))) > 200
    source.close()


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_the_vendors_claim_is_claimed(kind: type[CpuInstruction]) -> None:
    """H = 4 of 8 in the instructions' own group, and the figure's origin."""
    description = kind().describe()
    assert description.group == "cpu-instruction"
    assert (description.claim.bits_per_sample, description.claim.min_entropy) == (8, 4.0)
    assert "no independent measurement" in description.claim.provenance


def test_rdseed_is_noise_and_rdrand_a_generator() -> None:
    """RDRAND's is of 128 bits, and the provenance of its figure is its own."""
    seed, generator = Rdseed().describe().claim, Rdrand().describe().claim
    assert (seed.strength, seed.live) == (None, True)
    assert (generator.strength, generator.live) == (128, False)
    assert "DRBG" in generator.provenance
    assert "DRBG" not in seed.provenance


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_asks_its_own_instruction(kind: type[CpuInstruction], cpuinfo: Path) -> None:
    """rdseed never draws from RDRAND, nor the other way round."""

    def fill(buffer: bytearray) -> None:
        buffer[:] = b"\x07" * len(buffer)

    given = {kind.kind: fill}
    source = kind(cpuinfo=cpuinfo, load=fake_extension(**given))
    source.open()
    assert source.read(5, 1.0) == b"\x07" * 5
    assert source.describe().facts["instruction"] == kind.kind.upper()


@pytest.mark.parametrize("kind", KINDS)
def test_an_exhausted_instruction_is_an_error(
    kind: type[CpuInstruction], cpuinfo: Path
) -> None:
    """Exhaustion reaches the sampler as SourceError with a remedy; nothing else is tried."""

    def dry(buffer: bytearray) -> None:
        raise OSError("gave no word in N tries")

    source = kind(cpuinfo=cpuinfo, load=fake_extension(**{kind.kind: dry}))
    source.open()
    with pytest.raises(SourceError, match="gave no word") as raised:
        source.read(8, 1.0)
    assert not isinstance(raised.value, SourceAbsent)
    assert raised.value.remedy


@pytest.mark.parametrize("kind", KINDS)
def test_a_cpu_without_it_is_absent(kind: type[CpuInstruction], cpuinfo: Path) -> None:
    """The reason names the instruction."""
    load = fake_extension(**{f"HAS_{kind.kind.upper()}": False})
    with pytest.raises(SourceAbsent, match=f"no {kind.kind.upper()} instruction"):
        kind(cpuinfo=cpuinfo, load=load).open()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_kernel_switched_off_is_not_used(
    kind: type[CpuInstruction], cpuinfo: Path
) -> None:
    """CPUID offers it, the kernel does not use it: absent, as on a known broken CPU."""
    cpuinfo.write_text("flags\t: fpu\n")
    with pytest.raises(SourceAbsent, match="the kernel does not use") as raised:
        kind(cpuinfo=cpuinfo, load=fake_extension()).open()
    assert "microcode" in raised.value.remedy


def test_without_cpuinfo_cpuid_decides(tmp_path: Path) -> None:
    """A sandbox that hides /proc/cpuinfo takes a fact away, not the source."""
    source = Rdseed(cpuinfo=tmp_path / "missing", load=fake_extension())
    source.open()
    assert source.describe().facts["kernel"].startswith("unknown")


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (ModuleNotFoundError("No module named x"), "was not built", "C compiler"),
        (ImportError("undefined symbol: y"), "does not load: undefined symbol: y", "reinstall"),
    ],
)
def test_a_missing_extension_gives_the_remedy(
    mocker: MockerFixture, error: ImportError, reason: str, remedy: str
) -> None:
    """Not built and not loadable are absent, each with what to do."""
    mocker.patch("hwentropy_sources.extension.import_module", side_effect=error)
    with pytest.raises(SourceAbsent, match=reason) as raised:
        Rdseed().open()
    assert remedy in raised.value.remedy
