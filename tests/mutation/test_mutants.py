"""What `make mutate` changes, and that what it changes is what runs."""

import pytest

from mutation.mutants import mutants

WHOLE = '''
"""A module."""
import log
LIMIT = 3
LABEL = b"a"

class Box:
    __slots__ = ("left",)

    def take(self, size: int = 1) -> int:
        """Take some."""
        if size < 0 or self.broken:
            log.info("%d is too little", size - 1)
            raise ValueError(f"{size + 1}")
        if not size:
            return 0
        self.left -= min(size, LIMIT)
        wipe(self.data)
        return self.left
'''


def test_every_fault_of_a_module_is_made() -> None:
    """In the order of its lines; text, log lines and words of exceptions are left alone."""
    assert [(one.function, one.becomes) for one in mutants(WHOLE)] == [
        ("<module>", "LIMIT = 4"),
        ("<module>", "LABEL = b'aX'"),
        ("Box.take", "def take(self, size: int=2) -> int:"),
        ("Box.take", "if size < 0 and self.broken:"),
        ("Box.take", "if size <= 0 or self.broken:"),
        ("Box.take", "if size < 1 or self.broken:"),
        ("Box.take", "pass"),
        ("Box.take", "if size:"),
        ("Box.take", "return 1"),
        ("Box.take", "pass"),
        ("Box.take", "self.left -= max(size, LIMIT)"),
        ("Box.take", "self.left += min(size, LIMIT)"),
        ("Box.take", "pass"),
    ]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("f(a) == b", "f(a) != b"),
        ("a is None", "a is not None"),
        ("a in b", "a not in b"),
        ("a + b", "a - b"),
        ("a << b", "a >> b"),
        ("a | b", "a & b"),
        ("2.5", "5.0"),
        ("0.0", "1.0"),
        ("True", "False"),
        ("a if b else c", "c if b else a"),
        ("any(a)", "all(a)"),
        ("sorted(a)", "sorted(a, reverse=True)"),
        ("hmac.compare_digest(a, b)", "a == b"),
        ("[a for a in b if not a]", "[a for a in b if a]"),
        ("f(key=not a)", "f(key=a)"),
    ],
)
def test_each_kind_of_expression_has_its_fault(was: str, becomes: str) -> None:
    """The one beside it that a test is most likely to miss."""
    [mutant] = mutants(f"x = {was}")
    assert (mutant.was, mutant.becomes) == (f"x = {was}", f"x = {becomes}")


@pytest.mark.parametrize("head", ["if a:", "while f(a):"])
def test_a_bare_condition_is_turned_round(head: str) -> None:
    """It has nothing to compare that could be changed."""
    [mutant] = mutants(f"{head}\n    x = y")
    assert mutant.becomes == f"{head[:-1].replace(' ', ' not ', 1)}:"


def test_only_the_fault_is_in_what_is_compiled() -> None:
    """And it is gone again for the next one."""
    results: list[list[int]] = []
    for mutant in mutants("x = [1 + 2, 3]"):
        names: dict[str, list[int]] = {}
        exec(mutant.compiled("<test>"), names)  # noqa: S102 - of the line above
        results.append(names["x"])
    assert sorted(results) == [[-1, 3], [3, 4], [4, 3], [4, 3]]
