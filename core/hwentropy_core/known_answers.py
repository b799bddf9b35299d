"""Known-answer tests of what makes bytes, run at the start of every process that does.

    HKDF-SHA-512   one extraction and expansion
    ChaCha20       the first two blocks under the zero key (RFC 8439 A.1, vectors 1 and 2)
    DRBG           two seeds, a small and a large read, a child (docs/drbg.md)

SP 800-90A 11.3 asks for such tests of a DRBG.  They find a processor, a library or a
build that computes wrongly; whoever runs them gives no byte when one fails.  They take
some 0.1 ms.  The answers were computed by tests/support/drbg_reference.py, which shares
no code with what is tested.

What this does not protect against: a fault that comes later, or only now and then; code
that was changed on purpose.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from .drbg import Drbg, Keystream
from .errors import HwentropyError
from .hkdf import hkdf_into
from .limits import KEY_BYTES, SMALL_BYTES


class KnownAnswerError(HwentropyError):
    """This machine, or this build, computes wrongly; nothing that it makes can be trusted."""

    def __init__(self, test: str) -> None:
        super().__init__(
            f"the known-answer test of {test} failed: this machine or this build computes "
            "wrongly, and no byte is given; test the hardware, install anew"
        )
        self.test = test


_MATERIAL: Final = bytes(range(40))


def _hkdf() -> bool:
    out = bytearray(KEY_BYTES)
    hkdf_into(out, bytes(range(KEY_BYTES)), _MATERIAL, b"hwentropy/1 known answer")
    return out.hex() == "268dc36f4796046e9804ea245ffc2ff42e501dae4370b7a7b0d2457c0d62944d"


def _chacha20() -> bool:
    out = bytearray(128)
    Keystream(bytearray(KEY_BYTES)).fill(memoryview(out))
    return out.hex() == (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )


def _drbg() -> bool:
    drbg = Drbg(b"root")
    drbg.reseed([(b"os", _MATERIAL)])
    drbg.reseed([(b"os", _MATERIAL), (b"", b"")])
    small, large = bytearray(16), bytearray(SMALL_BYTES + 1)
    drbg.read_into(memoryview(small))
    drbg.read_into(memoryview(large))
    return (small.hex(), large[-16:].hex(), drbg.child_seed(b"worker 1", 1).hex()) == (
        "63a4bce44d8767c731383464115f0121",
        "775dd9f97466b9cbe8f3d28e2443aff6",
        "1dbff87e5eb4c6af98e3ad0ac407dcc740783ce4b3011217c3bf12104b71c321",
    )


#: What is tested -> whether it gives its known answer.
GENERATOR: Final[Mapping[str, Callable[[], bool]]] = MappingProxyType(
    {"HKDF-SHA-512": _hkdf, "ChaCha20": _chacha20, "the DRBG": _drbg}
)


def check(tests: Mapping[str, Callable[[], bool]] = GENERATOR) -> None:
    """Run known-answer tests in order; raises KnownAnswerError for the first that fails."""
    for name, gives_its_answer in tests.items():
        try:
            right = gives_its_answer()
        except Exception:  # noqa: BLE001  (what computes wrongly may raise anything)
            right = False
        if not right:
            raise KnownAnswerError(name)
