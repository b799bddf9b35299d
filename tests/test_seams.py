"""Where the tests take hold of the code: at its public names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

#: unittest.mock's, pytest-mock's and pytest's ways to put something in a name's place.
PATCHING = {"patch", "object", "multiple", "spy", "stub", "setattr", "delattr"}


def private_patches(code: str) -> Iterator[tuple[int, str]]:
    """Line and name of what is patched though it is private; `__name__`s are not."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        how = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if how not in PATCHING:
            continue
        # The target's own name, or its path and name in one.
        given = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "name")]
        names = [one.value for one in given if isinstance(one, ast.Constant)]
        if how == "multiple":
            names += [word.arg for word in node.keywords]
        for name in names:
            last = name.rpartition(".")[2] if isinstance(name, str) else ""
            if last.startswith("_") and not last.endswith("__"):
                yield node.lineno, last


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('mocker.patch("a.b._c")', ["_c"]),
        ('mocker.patch.object(one, "_c", 1)', ["_c"]),
        ("mocker.patch.multiple(one, _c=1, d=2)", ["_c"]),
        ('mocker.spy(one, "_c")', ["_c"]),
        ('monkeypatch.setattr(one, "_c", 1)', ["_c"]),
        ('monkeypatch.setattr("a._c", 1)', ["_c"]),
        ('setattr(one, "_c", 1)', ["_c"]),
        ('mocker.patch("a.b.c"); mocker.patch.object(one, "__len__"); f("_c")', []),
    ],
)
def test_a_private_name_that_is_patched_is_seen(code: str, found: list[str]) -> None:
    """Whichever way; those with two underscores on both sides are the language's."""
    assert [name for _, name in private_patches(code)] == found


def test_no_test_patches_a_private_name() -> None:
    """What is private may change, and a test that replaces it would go on passing."""
    found = [
        f"{file.relative_to(TESTS)}:{line} {name}"
        for file in sorted(TESTS.rglob("*.py"))
        for line, name in private_patches(file.read_text("utf-8"))
    ]
    assert found == []
