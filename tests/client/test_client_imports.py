"""What importing the library costs."""

from pathlib import Path

import pytest

import hwentropy
from support.script import run_python

ROOT = Path(__file__).parents[2]
HEAVY = {"asyncio", "click", "rich", "msgspec", "cryptography", "json"}


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(run_python("-S", "-c", script, check=True).stdout.split())


@pytest.mark.parametrize(
    "statement", ["import hwentropy", "import hwentropy; hwentropy.Client('/nowhere')"]
)
def test_the_blocking_client_loads_nothing_heavy(statement: str) -> None:
    """Neither the package nor the blocking client imports asyncio, click, rich and the like."""
    loaded = modules_after(statement)
    assert "hwentropy" in loaded
    assert not loaded & HEAVY


def test_importing_the_package_loads_nothing_of_ours() -> None:
    """Names are loaded when they are used."""
    loaded = modules_after("import hwentropy")
    assert {m for m in loaded if m.startswith("hwentropy")} == {"hwentropy"}


def test_every_exported_name_is_there() -> None:
    """`__all__` and what can be got agree, and anything else is an AttributeError."""
    for name in hwentropy.__all__:
        assert getattr(hwentropy, name).__name__ == name
    assert set(hwentropy.__all__) <= set(dir(hwentropy))
    with pytest.raises(AttributeError, match="nothing_such"):
        getattr(hwentropy, "nothing" + "_such")


def test_the_exception_tree_is_the_one_documented() -> None:
    """errors.py opens with the tree; every class of it is below HwentropyError."""
    import hwentropy.errors as module  # noqa: PLC0415 - its docstring is what is tested

    tree = [line.split()[1] for line in (module.__doc__ or "").splitlines() if "──" in line]
    classes = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, module.HwentropyError)
        and value is not module.HwentropyError
    }
    assert set(tree) == classes
