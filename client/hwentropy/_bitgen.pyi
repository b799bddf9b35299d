from collections.abc import Callable
from types import TracebackType
from typing import final

@final
class KeyedLock:
    def __new__(
        cls, take: Callable[[int], bytes | None], random_bytes: Callable[[int], bytes]
    ) -> KeyedLock: ...
    def attach(self, capsule: object, /) -> None: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
