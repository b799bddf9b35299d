"""A filter's program decides as its rules say."""

import errno
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.confinement.bpf import ALLOW, ERRNO, KILL_PROCESS, Check, Rule, assemble
from hwentropyd.confinement.system_calls import ARCHITECTURES, NEWEST
from support import bpf_machine

X86 = ARCHITECTURES["x86_64"]
NAMES = ("read", "mmap", "clone", "ioctl", "openat")

values = st.integers(0, 7)
checks = st.builds(
    Check,
    st.integers(0, 5),
    st.lists(values, min_size=1, max_size=4).map(tuple),
    st.sampled_from((1, 2, 6, 0xFFFFFFFF)),
    st.booleans(),
)
rules = st.builds(Rule, st.sampled_from(NAMES), st.lists(checks, max_size=3).map(tuple))


def verdict(
    allowed: Sequence[Rule], refused: Mapping[str, int], name: str, arguments: Sequence[int]
) -> int:
    """What the rules say, without a program."""
    for rule in allowed:
        if rule.name == name and all(
            (arguments[check.argument] & check.mask in check.values) is not check.other
            for check in rule.checks
        ):
            return ALLOW
    return ERRNO | refused[name] if name in refused else KILL_PROCESS


@given(
    allowed=st.lists(rules, max_size=12),
    refused=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 133)),
    name=st.sampled_from(NAMES),
    arguments=st.lists(values, min_size=6, max_size=6),
)
def test_a_program_decides_as_its_rules(
    allowed: list[Rule], refused: dict[str, int], name: str, arguments: list[int]
) -> None:
    """Any rules, any call with any arguments: every jump lands where it has to."""
    program = assemble(X86, allowed, refused)
    expected = verdict(allowed, refused, name, arguments)
    assert bpf_machine.run(program, X86.audit, X86.numbers[name], arguments) == expected


def test_a_check_without_a_value_is_refused() -> None:
    """It would hold for everything where nothing is meant."""
    with pytest.raises(ValueError, match="value"):
        Check(0, ())


def test_the_calls_of_another_architecture_kill() -> None:
    """i386's numbers mean other calls: none of them is looked up in this table."""
    program = assemble(X86, [Rule("read")], {})
    assert bpf_machine.run(program, 0x40000003, X86.numbers["read"]) == KILL_PROCESS


@pytest.mark.parametrize("number", [NEWEST + 1, 0x40000000, 0xFFFFFFFF])
def test_a_call_newer_than_the_table_is_not_there(number: int) -> None:
    """Newer ones, and x86-64's x32 ones, answer as an older kernel does."""
    program = assemble(X86, [Rule("read")], {})
    assert bpf_machine.run(program, X86.audit, number) == ERRNO | errno.ENOSYS


def test_the_newest_call_of_the_table_kills_where_it_is_not_listed() -> None:
    """The bound itself is a known call."""
    assert bpf_machine.run(assemble(X86, [], {}), X86.audit, NEWEST) == KILL_PROCESS
