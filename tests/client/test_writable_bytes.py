"""Memory that is written before it is given out."""

import gc

import pytest

from hwentropy.writable_bytes import WritableBytes


def test_what_was_written_is_given_out() -> None:
    """All of it, as `bytes`."""
    with WritableBytes(5) as memory:
        memory.view[:] = b"12345"
    assert memory.value() == b"12345"


def test_a_failure_leaves_nothing_that_complains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Collected with a traceback whose frames held slices, it makes no noise."""
    noise: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", noise.append)

    def failing(view: memoryview) -> None:
        part = view[1:3]
        raise OSError(len(part))

    def cycle() -> None:
        try:
            with WritableBytes(5) as memory:
                failing(memory.view)
        except OSError as error:
            error.args = (error,)

    cycle()
    gc.collect()
    assert noise == []
