from typing import Final

HAS_RDSEED: Final[bool]
HAS_RDRAND: Final[bool]

def rdseed(buffer: bytearray | memoryview, /) -> None: ...
def rdrand(buffer: bytearray | memoryview, /) -> None: ...
