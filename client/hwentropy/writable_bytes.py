"""Memory of a `bytes` object that may be written to before the object is given out.

BytesIO lends the memory of the `bytes` it holds: the kernel or a cipher writes
into it, and `value` gives the object out without a copy.

After an exception the frames of its traceback would still hold slices of that
memory, which makes CPython complain aloud (3.13: "Exception ignored … BufferError")
when it collects them together; so what they hold is let go of, and with it
whatever a debugger could find there of half a reply.
"""

import io
from types import TracebackType
from typing import Self


class WritableBytes:
    """`with WritableBytes(n) as memory:` write to `memory.view`; then take `memory.value()`."""

    __slots__ = ("_holder", "view")

    def __init__(self, size: int) -> None:
        self._holder = io.BytesIO(bytes(size))
        self.view = self._holder.getbuffer()
        """The writable memory, `size` bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            import traceback  # noqa: PLC0415 - a read that succeeds must not pay for it

            while error is not None:
                # The frames of what it came from too: `from None` only hides them.
                traceback.clear_frames(error.__traceback__)
                error = error.__context__
        self.view.release()

    def value(self) -> bytes:
        """What was written; once the `with` is over."""
        return self._holder.getvalue()
