"""docs/assurance: what its pages say of the code is so, and what they say of each other."""

import math
import re
from pathlib import Path
from typing import Final

import pytest

from hwentropy.lease.drbg import PIECE_BYTES
from hwentropy_core.limits import BLOCK_BYTES, KEY_BYTES, MAX_READ, MIN_SEED_BITS, SMALL_BYTES
from hwentropy_sources import hwrng, jitter
from hwentropy_sources.contract import Claim
from hwentropy_sources.cpu.rdseed import RDRAND_CLAIM, RDSEED_CLAIM
from hwentropy_sources.kernel.getrandom import KERNEL_CLAIM
from hwentropy_sources.registry import BUILT_IN
from hwentropy_sources.replay import Replay
from hwentropy_sources.tpm2.source import CLAIM as TPM_CLAIM
from hwentropyd.config.schema import PoolConfig
from hwentropyd.seeding.credit import DIGEST_BITS, FULL_STRENGTH

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ROOT / "docs" / "assurance"
STATISTICS: Final = PAGES / "statistics"

CLAIMS: Final[dict[str, Claim]] = {
    "os": KERNEL_CLAIM,
    "cpu": KERNEL_CLAIM,
    "rdseed": RDSEED_CLAIM,
    "rdrand": RDRAND_CLAIM,
    "tpm2": TPM_CLAIM,
    "jitter": jitter.CLAIM,
}


def page(name: str) -> str:
    """A page, on one line."""
    return " ".join((PAGES / name).read_text().split())


def rows(name: str) -> dict[str, list[str]]:
    """The rows of a page's tables, by their first cell without its backticks."""
    found = re.findall(r"^\| (.+) \|$", (PAGES / name).read_text(), re.MULTILINE)
    cells = [row.split(" | ") for row in found]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_there_is_a_row_and_a_section_for_every_source() -> None:
    """None is left out, and none is made up."""
    text = (PAGES / "sources.md").read_text()
    sections = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert sections == set(BUILT_IN)
    assert set(BUILT_IN) <= rows("sources.md").keys()


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_source_is_worth_what_its_row_says(kind: str) -> None:
    """H, what stands behind it, and whether it was conditioned."""
    _, conditioned, claimed, holds, _ = rows("sources.md")[kind]
    claim = CLAIMS[kind]
    figure = "1/16" if claim.min_entropy == 1 / 16 else f"{claim.min_entropy:g}"
    assert claimed.startswith(f"{figure} of {claim.bits_per_sample} bits")
    assert holds == ("live" if claim.strength is None else f"{claim.strength} bits")
    assert conditioned == ("yes" if claim.whitened else "no")


def test_a_hwrng_is_worth_what_its_row_says() -> None:
    """Between the least and the most."""
    _, _, claimed, holds, _ = rows("sources.md")["hwrng"]
    assert claimed == f"{hwrng.LEAST_BITS:g} to {hwrng.MOST_BITS:g} of 8 bits"
    assert holds == f"live, or {hwrng.GENERATOR_STRENGTH} bits"


def test_a_recording_is_worth_nothing() -> None:
    """As its row says."""
    assert rows("sources.md")["replay"][2:4] == ["never credited", "nothing"]
    assert not Replay.credited


def test_the_proofs_sizes_are_those_of_the_code() -> None:
    """Keystreams in blocks of 64 bytes, digests, the draws that share a refill, seeds."""
    text = page("proof.md")
    assert f"b is {BLOCK_BYTES // 64} blocks for a refill" in text
    assert f"2^{math.log2(MAX_READ / 64):g} for a reply of 1 MiB" in text
    assert f"2^{math.log2(PIECE_BYTES / 64):g} for a piece of 16 MiB" in text
    assert f"of {DIGEST_BITS} bits" in text
    assert f"the other {BLOCK_BYTES - KEY_BYTES:,}" in text
    assert (BLOCK_BYTES - KEY_BYTES) // SMALL_BYTES == 3
    assert "At least three draws share a refill" in text
    assert f"h is {MIN_SEED_BITS} as a rule, and {FULL_STRENGTH} where" in text


def test_the_proofs_figures_follow_from_its_formulas() -> None:
    """Each term of the theorem, with the numbers that the page puts in."""
    draws, reseeds, workers, leases, evaluations = 2**40, 2**20, 64, 2**30, 2**128
    numbers = f"2^40 draws, 2^20 reseeds (two years at one a minute), {workers} workers, 2^30"
    assert numbers in page("proof.md")
    assert 2 < reseeds / (60 * 24 * 365) * 1.01 < 2.1
    children = reseeds * workers + leases
    keys = draws + draws / 3 + reseeds + children
    inputs = reseeds + 2 * children
    # 64 digests of each of 64 sources a seed, two evaluations each and two for the key;
    # four for each child.
    own = reseeds * 2 * (64 * 64 + 1) + 4 * children
    assert keys < 2**41
    assert inputs < 2**32
    assert own < 2**36
    told = {
        "keystreams: U below 2^41 keys": keys * evaluations / 2**256,
        "secret inputs of HKDF: R + 2 C below 2^32": inputs * evaluations / 2**256,
        f"recoveries at h = {MIN_SEED_BITS}": reseeds * evaluations / 2**MIN_SEED_BITS,
        f"recoveries at h = {FULL_STRENGTH}, the kernel alone": (
            reseeds * evaluations / 2**FULL_STRENGTH
        ),
        "answers alike, m below 2^36": (evaluations + own) ** 2 / 2**512,
        "ε_K, the kernel's output, G times": reseeds * evaluations / 2**256,
    }
    table = rows("proof.md")
    for term, bound in told.items():
        exponent = int(table[term][0].removeprefix("2^"))
        assert exponent - 1 < math.log2(bound) <= exponent, term
    assert "To have a chance of one half takes 2^214 trials." in page("proof.md")
    assert math.log2(2**256 / 2 / 2**41) == 214
    assert "has a chance of 2^-175 at most (U² / 2^257)" in page("proof.md")
    assert math.log2(2**82 / 2**257) == -175
    assert "2^-33 at h = 320" in page("proof.md")
    assert -(MIN_SEED_BITS - FULL_STRENGTH) / 2 - 1 == -33


def test_the_limits_beside_the_standards_are_the_codes() -> None:
    """Seconds and bytes of a seed, and of a request."""
    text = page("construction.md")
    default = PoolConfig()
    assert (default.reseed_seconds, default.reseed_bytes) == (60, 1 << 30)
    assert "a seed serves 60 s or 1 GiB unless configured" in text
    assert (default.degraded_seconds, default.degraded_bytes) == (3600, 1 << 30)
    assert "`degraded` serves an hour or 1 GiB more" in text
    # Limits of SP 800-90A are in bits.
    assert f"a request 1 MiB, {8 * MAX_READ // 2**19} times as much as theirs" in text
    assert f"every 1 GiB (2^{math.log2(8 * default.reseed_bytes):g} bits)" in text
    shipped = (ROOT / "config" / "hwentropyd.toml").read_text()
    least = re.search(r"from (\d+) to \d+ \(1 MiB to 1 TiB\)\.\n[^=]*reseed_bytes =", shipped)
    assert least
    assert f"below 1 MiB (2^{math.log2(8 * int(least[1])):g} bits)" in text


@pytest.mark.parametrize(
    ("what", "files"),
    [
        ("generator", ["core/hwentropy_core/drbg.py", "core/hwentropy_core/_hkdf.c"]),
        (
            "tests of the standard",
            [f"sources/hwentropy_sources/health/{name}.py" for name in ("cutoffs", "streams")],
        ),
        ("all health tests", ["sources/hwentropy_sources/health/*.py"]),
    ],
)
def test_what_can_be_read_in_one_sitting_is_no_longer_than_told(
    what: str, files: list[str]
) -> None:
    """In lines, up to the next hundred."""
    lines = sum(
        len(path.read_text().splitlines()) for name in files for path in ROOT.glob(name)
    )
    told = int(rows("README.md")[what][1].replace(",", ""))
    assert told - 100 < lines <= told


@pytest.mark.parametrize("path", sorted(PAGES.rglob("*.md")), ids=lambda path: path.name)
def test_what_a_page_names_is_there(path: Path) -> None:
    """Tests and tools by their paths; and no page claims what nobody gave."""
    text = path.read_text()
    folders = "conformance|core|sources|tests|tools"
    for named in re.findall(rf"`(?:python )?((?:{folders})/[^`\s]*)", text):
        assert (ROOT / named).exists(), named
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    assert "certified" not in text
    assert "FIPS" not in text


@pytest.mark.parametrize(("file", "column"), [("rngtest.txt", 0), ("rngtest-kernel.txt", 1)])
def test_what_rngtest_found_is_what_its_output_says(file: str, column: int) -> None:
    """Every row of its table, and the blocks add up."""
    output = (STATISTICS / file).read_text()
    found = {
        name.lower(): int(number)
        for name, number in re.findall(
            r"^rngtest: FIPS .*?([A-Z][\w ]+|[sf]\w+): (\d+)$", output, re.MULTILINE
        )
    }
    table = {
        name: cells[column]
        for name, cells in rows("statistics/README.md").items()
        if len(cells) == 3
    }
    assert int(table["failed"]) == found["failures"]
    assert int(table["blocks"]) == found["failures"] + found["successes"]
    for test in ("monobit", "poker", "runs", "long run", "continuous run"):
        assert int(table[test]) == found[test]
    assert "bits received from input: 8589934592" in output


def outcomes(file: str) -> list[tuple[str, str]]:
    """The tests of an output of dieharder, and what it made of each p-value."""
    output = (STATISTICS / file).read_text()
    return re.findall(r"^ *(\w+)\|.*\| +(PASSED|WEAK|FAILED) *$", output, re.MULTILINE)


@pytest.mark.parametrize("file", ["dieharder.txt", "dieharder-file.txt", "dieharder-fresh.txt"])
def test_what_dieharder_found_is_what_its_output_says(file: str) -> None:
    """How many p-values, and how many passed, were weak, failed."""
    found = [outcome for _, outcome in outcomes(file)]
    _, total, *counts = rows("statistics/README.md")[f"[{file}]({file})"]
    assert int(total) == len(found) > 0
    assert [int(count) for count in counts] == [
        found.count(outcome) for outcome in ("PASSED", "WEAK", "FAILED")
    ]


def test_every_test_of_dieharder_has_its_output() -> None:
    """All 31 that `-a` runs, and the lags of the lagged sum but those that the page names."""
    files = sorted(STATISTICS.glob("dieharder*.txt"))
    assert len({name for path in files for name, _ in outcomes(path.name)}) == 31
    lags = re.findall(r"rgb_lagged_sum\| +(\d+)\|", "".join(map(Path.read_text, files)))
    missing = re.findall(r"Lags (\d+) to (\d+) were not run", page("statistics/README.md"))
    assert {int(lag) for lag in lags} == set(range(33)).difference(
        *(range(int(first), int(last) + 1) for first, last in missing)
    )


def test_what_failed_passed_on_fresh_bytes() -> None:
    """No test stands as WEAK or FAILED that was not run again and passed."""
    lines = {
        path.name: re.findall(
            r"^ *(\w+\| +\d+)\|.*\| +(PASSED|WEAK|FAILED) *$", path.read_text(), re.MULTILINE
        )
        for path in STATISTICS.glob("dieharder*.txt")
    }
    fresh = dict(lines["dieharder-fresh.txt"])
    for name, found in lines.items():
        for test, outcome in found:
            assert outcome == "PASSED" or fresh.get(test) == "PASSED", (name, test)
