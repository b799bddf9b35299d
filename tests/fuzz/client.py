"""The C client under hostile replies (client.c): compiled with the sanitizers, in a process."""

import struct
import subprocess
from pathlib import Path
from typing import Final

from hwentropy_core.wire import Lease, ReplyFlag, Status, encode_lease, encode_reply
from support.compiled import PATIENCE, Compiler
from support.started import Started

SOURCE: Final = Path(__file__).with_name("client.c")

_LENGTH: Final = struct.Struct("=I")

_LEASE, _DIRECT, _FRESH, _WITH_PAGE = 0, 1, 2, 4


class CompiledClient(Started):
    """Called with an input; raises AssertionError with what the client died of."""

    def __init__(self, compiler: Compiler) -> None:
        self._program = compiler(SOURCE, "-DSTDIN")
        self._process: subprocess.Popen[bytes] | None = None

    def enter(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __call__(self, data: bytes) -> None:
        """One input."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_LENGTH.pack(len(data)) + data)
        process.stdin.flush()
        if process.stdout.read(1) != b".":
            _, errors = process.communicate(timeout=PATIENCE)
            raise AssertionError(errors.decode(errors="replace"))


def _seed(kind: int, wanted: int, *replies: bytes) -> bytes:
    return bytes([kind, 7, *(wanted - 1).to_bytes(2, "big")]) + b"".join(replies)


def _granted(tag: int, flags: int, *, bytes_: int = 1 << 30) -> bytes:
    payload = encode_lease(Lease(7, bytes_, 300, bytearray(range(32))))
    return encode_reply(Status.OK, tag, len(payload), flags) + bytes(payload)


#: Calls that succeed, one that renews its lease, and one of each refusal.
CLIENT_SEEDS: Final = [
    _seed(_LEASE | _WITH_PAGE, 64, _granted(0, ReplyFlag.PAGE)),
    _seed(_LEASE | _WITH_PAGE, 4096, _granted(0, ReplyFlag.PAGE, bytes_=100), _granted(1, 0)),
    _seed(_DIRECT, 32, encode_reply(Status.OK, 0, 32), bytes(range(32))),
    _seed(_FRESH, 32, encode_reply(Status.OK, 0, 32, ReplyFlag.NOT_LIVE), bytes(range(32))),
    _seed(_DIRECT, 32, encode_reply(Status.OK, 0, 32, ReplyFlag.NOT_LIVE), bytes(range(32))),
    *(_seed(_DIRECT, 32, encode_reply(status, 0)) for status in Status if status),
    *(_seed(_LEASE | _WITH_PAGE, 32, encode_reply(status, 0)) for status in Status if status),
]
