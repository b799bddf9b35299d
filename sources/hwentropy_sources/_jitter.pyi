from typing import Final

COUNTER: Final[str]

def deltas(buffer: bytearray | memoryview, reads: int, /) -> None: ...
