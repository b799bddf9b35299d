"""A bus to a TPM on which faults can be put: a libtss2 transport in Python.

Needs tpm2-pytss, so tests import it with `pytest.importorskip`.
"""

from collections.abc import Callable
from typing import Any

import tpm2_pytss

_tss: Any = tpm2_pytss

#: TPM_CC_GetRandom, TPM 2.0 Library Part 2, 6.5.2.
GET_RANDOM = 0x17B


def answer(code: int, parameters: bytes = b"") -> bytes:
    """A response without sessions: TPM_ST_NO_SESSIONS, its size, a return code."""
    size = 10 + len(parameters)
    return b"\x80\x01" + size.to_bytes(4, "big") + code.to_bytes(4, "big") + parameters


def random_answer(data: bytes) -> bytes:
    """GetRandom's response without sessions: a TPM2B_DIGEST."""
    return answer(0, len(data).to_bytes(2, "big") + data)


def wanted_bytes(command: bytes) -> int:
    """How much a GetRandom command without sessions asks for."""
    return int.from_bytes(command[10:12], "big")


def transport_error() -> Exception:
    """What libtss2 raises when the transport fails: TSS2_TCTI_RC_IO_ERROR."""
    error: Exception = _tss.TSS2_Exception(0xA000A)
    return error


class FaultyBus(_tss.PyTCTI):  # type: ignore[misc] # tpm2-pytss has no types
    """Passes commands to the TPM behind `tcti`, except for GetRandom's faults.

    `instead`: given a GetRandom command, what the bus answers in the TPM's
    place (the TPM never sees the command); None lets it through.  It may raise.
    `garble`: what becomes of GetRandom's real answer.
    `dead`: nothing gets through any more, whatever the command.
    """

    def __init__(self, tcti: str) -> None:
        super().__init__()
        self._inner = _tss.TCTILdr.parse(tcti)
        self._made_up: bytes | None = None
        self._garbles = False
        self.instead: Callable[[bytes], bytes | None] | None = None
        self.garble: Callable[[bytes], bytes] | None = None
        self.dead = False
        self.asked = 0
        """GetRandom commands seen."""
        self.closed = 0
        """Times it was closed."""

    def do_transmit(self, command: bytes) -> None:
        """A command from libtss2."""
        if self.dead:
            raise transport_error()
        is_read = int.from_bytes(command[6:10], "big") == GET_RANDOM
        self.asked += is_read
        self._garbles = is_read
        self._made_up = self.instead(command) if is_read and self.instead else None
        if self._made_up is None:
            self._inner.transmit(command)

    def do_receive(self, timeout: int) -> bytes:
        """The answer to it."""
        if self._made_up is not None:
            return self._made_up
        response: bytes = self._inner.receive(timeout=timeout)
        return self.garble(response) if self._garbles and self.garble else response

    def close(self) -> None:
        """As TCTILdr's."""
        self.closed += 1
        self._inner.close()
