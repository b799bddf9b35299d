"""How soon faults are found: the tables of docs/health.md are what tools/detection.py runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "detection.py"


def load_tool() -> ModuleType:
    """tools/detection.py as a module."""
    spec = importlib.util.spec_from_file_location("detection_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
        del sys.modules[spec.name]
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Its module."""
    return load_tool()


#: Rows that take less than a second each.
QUICK = ["stuck", "two values in turn", "a period of 511 bytes", "each read given twice"]


@pytest.mark.parametrize("fault", [*QUICK, "three words of four of a reply of 32 bytes stuck"])
def test_a_quick_row_is_as_in_the_document(tool: ModuleType, fault: str) -> None:
    """Where all whitened claims find it, its cells are those of the two tables."""
    document = tool.in_document().splitlines()
    lines = [line for line in document if line.startswith(f"| {fault} |")]
    cells = [[one.strip() for one in line.strip("|").split("|")][1:] for line in lines]
    assert len(cells) == 2
    for column, (entropy, whitened) in enumerate(tool.CLAIMS):
        if whitened:
            found = tool.cell(fault, entropy, whitened=True)
            assert tool.shown(found) == (cells[0][column], cells[1][column])


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        # Periods: their own length, and 32 reads of 320 samples for the extra block.
        ("a period of 511 bytes", 511 + 33 * 320),
        ("a period of 4,088 bytes", 4088 + 33 * 320),
        ("three words of four of a reply of 32 bytes stuck", 2 * 320),
        ("each read given twice", 2 * 320),
    ],
)
@pytest.mark.parametrize("entropy", [8.0, 4.0, 2.0, 1.0])
def test_what_conditioning_hides_is_found_whatever_h_is(
    tool: ModuleType, fault: str, most: int, entropy: float
) -> None:
    """In the worst of all runs, and the source has failed by then."""
    found = tool.cell(fault, entropy, whitened=True)
    assert found.failed[1] <= most


def test_a_cipher_under_a_known_key_is_not_found(tool: ModuleType) -> None:
    """The tests do not claim to: good pseudo-random bytes pass."""
    found = tool.detect("a cipher whose key is known", 4.0, whitened=True, run=0)
    assert found == ("", 0, 0)


def test_another_table_in_the_document_is_noticed(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--check is 1 if a figure differs, --write mends it, and leaves the rest alone."""
    monkeypatch.setattr(tool, "FAULTS", {"stuck": tool.FAULTS["stuck"]})
    document = tmp_path / "health.md"
    document.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n")
    monkeypatch.setattr(tool, "DOCUMENT", document)
    assert tool.main(["--check"]) == 1
    assert tool.main(["--write"]) == 0
    assert tool.main(["--check"]) == 0
    text = document.read_text()
    assert text.startswith(f"before\n{tool.BEGIN}\nSamples from a fault's first one")
    assert text.endswith(f"|\n{tool.END}\nafter\n")
    document.write_text(text.replace("40 `rct`", "39 `rct`"))
    assert tool.main(["--check"]) == 1


@pytest.mark.process
def test_the_document_has_the_tables_that_come_out() -> None:
    """Every fault at every claim, in half a minute."""
    done = subprocess.run(
        [sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
