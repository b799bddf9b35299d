"""What a TPM's or libtss2's return code means, in words.

A return code is 32 bits.  Bits 16 to 23 name the layer that made it (TCG "TSS
2.0 Overview and Common Structures", "TSS2 response code layers"), the low 16
bits say what went wrong: in layer 0 as the TPM sent it (TPM 2.0 Library, Part
2, 6.6 "TPM_RC"), in the others as one of the TSS2 base return codes.

Pure: a number in, words out; it needs neither libtss2 nor a TPM.

What this does not tell: why.  A TPM that answers TPM_RC_FAILURE says no more.
"""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from hwentropy_sources.contract import SourceError

#: Part 2, 6.6.3, tables "TPM_RC constants": format 0 (errors and warnings) as
#: they are, format 1 without its number and its parameter, session or handle.
#: The ones that GetRandom, CreatePrimary, StartAuthSession, FlushContext and
#: GetCapability, or a TPM in trouble, may give.
TPM_RC: Final = MappingProxyType(
    {
        0x01E: "TPM_RC_BAD_TAG",
        0x100: "TPM_RC_INITIALIZE",
        0x101: "TPM_RC_FAILURE",
        0x103: "TPM_RC_SEQUENCE",
        0x120: "TPM_RC_DISABLED",
        0x121: "TPM_RC_EXCLUSIVE",
        0x124: "TPM_RC_AUTH_TYPE",
        0x125: "TPM_RC_AUTH_MISSING",
        0x12D: "TPM_RC_UPGRADE",
        0x12E: "TPM_RC_TOO_MANY_CONTEXTS",
        0x130: "TPM_RC_REBOOT",
        0x142: "TPM_RC_COMMAND_SIZE",
        0x143: "TPM_RC_COMMAND_CODE",
        0x144: "TPM_RC_AUTHSIZE",
        0x145: "TPM_RC_AUTH_CONTEXT",
        0x153: "TPM_RC_NEEDS_TEST",
        0x155: "TPM_RC_SENSITIVE",
        0x081: "TPM_RC_ASYMMETRIC",
        0x082: "TPM_RC_ATTRIBUTES",
        0x083: "TPM_RC_HASH",
        0x084: "TPM_RC_VALUE",
        0x085: "TPM_RC_HIERARCHY",
        0x087: "TPM_RC_KEY_SIZE",
        0x089: "TPM_RC_MODE",
        0x08A: "TPM_RC_TYPE",
        0x08B: "TPM_RC_HANDLE",
        0x08C: "TPM_RC_KDF",
        0x08D: "TPM_RC_RANGE",
        0x08E: "TPM_RC_AUTH_FAIL",
        0x08F: "TPM_RC_NONCE",
        0x092: "TPM_RC_SCHEME",
        0x095: "TPM_RC_SIZE",
        0x096: "TPM_RC_SYMMETRIC",
        0x097: "TPM_RC_TAG",
        0x098: "TPM_RC_SELECTOR",
        0x09A: "TPM_RC_INSUFFICIENT",
        0x09C: "TPM_RC_KEY",
        0x09F: "TPM_RC_INTEGRITY",
        0x0A2: "TPM_RC_BAD_AUTH",
        0x0A5: "TPM_RC_BINDING",
        0x0A6: "TPM_RC_CURVE",
        0x0A7: "TPM_RC_ECC_POINT",
        0x901: "TPM_RC_CONTEXT_GAP",
        0x902: "TPM_RC_OBJECT_MEMORY",
        0x903: "TPM_RC_SESSION_MEMORY",
        0x904: "TPM_RC_MEMORY",
        0x905: "TPM_RC_SESSION_HANDLES",
        0x906: "TPM_RC_OBJECT_HANDLES",
        0x907: "TPM_RC_LOCALITY",
        0x908: "TPM_RC_YIELDED",
        0x909: "TPM_RC_CANCELED",
        0x90A: "TPM_RC_TESTING",
        0x910: "TPM_RC_REFERENCE_H0",
        0x918: "TPM_RC_REFERENCE_S0",
        0x920: "TPM_RC_NV_RATE",
        0x921: "TPM_RC_LOCKOUT",
        0x922: "TPM_RC_RETRY",
        0x923: "TPM_RC_NV_UNAVAILABLE",
    }
)

#: Names of the TSS2 layers; 0 is the TPM itself, 11 and 12 are resource
#: managers (the kernel's, tpm2-abrmd) that answer in its place.
_LAYERS: Final = MappingProxyType(
    {7: "ESAPI", 8: "SAPI", 9: "marshalling", 10: "transport", 11: "resource manager"}
)
_TPM_LAYERS: Final = (0, 12)
_MARSHALLING: Final = 9
_TRANSPORT: Final = 10

# TSS2 base return codes (TSS 2.0 Overview, "TSS2 base return codes").
_IO_ERROR: Final = 10
_MALFORMED_RESPONSE: Final = 17
_INSUFFICIENT_CONTEXT: Final = 18  # what SAPI makes of an answer of no bytes
_INSUFFICIENT_RESPONSE: Final = 19
_MALFORMED: Final = (_MALFORMED_RESPONSE, _INSUFFICIENT_CONTEXT, _INSUFFICIENT_RESPONSE)
_NOT_SUPPORTED: Final = 21
_RSP_AUTH_FAILED: Final = 27

# Part 2, 6.6.2: a format 1 code has bit 7 set.  Bit 6 set: about parameter
# bits 8 to 11; else bit 11 set: about session bits 8 to 10; else about a handle.
_FORMAT_1: Final = 0x080
_ABOUT_PARAMETER: Final = 0x040
_ABOUT_SESSION: Final = 0x800

#: "Ask again" (Part 2, 6.6.3): not started, given up half-way, still testing itself.
BUSY: Final = frozenset({0x922, 0x908, 0x90A})
#: No room for one more session.
SESSIONS_FULL: Final = frozenset({0x903, 0x905})
_OBJECTS_FULL: Final = frozenset({0x902, 0x904, 0x906})
_SESSION_GONE: Final = frozenset({0x918})
_WRONG_AUTH: Final = frozenset({0x08E, 0x0A2})


class Fault(Enum):
    """What kind of trouble a return code is, as far as we treat it differently."""

    ANSWERED = "the TPM, or what stands before it, answered with an error"
    BUSY = "it asks to be asked again"
    TAMPERED = "an HMAC was wrong, on one side or the other"
    GARBLED = "its answer was not a TPM answer"
    TRANSPORT = "the command or the answer did not get through"
    UNSUPPORTED = "libtss2 has no such transport"
    LIBRARY = "libtss2 itself gave up"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A return code in words."""

    fault: Fault
    reason: str
    """Follows on "...: "; lower case, without a full stop."""
    remedy: str = ""


class TpmError(SourceError):
    """A command to a TPM failed."""

    def __init__(self, doing: str, code: int) -> None:
        self.code: int = code
        self.meaning: Meaning = explain(code)
        super().__init__(f"{doing}: {self.meaning.reason}", self.meaning.remedy)


def tpm_rc_name(code: int) -> str:
    """`TPM_RC_...` with what it is about, for the low 16 bits of a TPM's answer."""
    if not code & _FORMAT_1:
        return TPM_RC.get(code, f"the unknown code {code:#x}")
    name = TPM_RC.get(_FORMAT_1 | code & 0x3F, f"the unknown code {code:#x}")
    number = code >> 8 & 0xF
    if code & _ABOUT_PARAMETER:
        return f"{name} for parameter {number}"
    if code & _ABOUT_SESSION:
        return f"{name} for session {number & 0x7}"
    return f"{name} for handle {number}" if number else name


def explain(code: int) -> Meaning:
    """What a return code of libtss2 (the `rc` of a TSS2_Exception) means."""
    layer = code >> 16 & 0xFF
    low = code & 0xFFFF
    if layer in _TPM_LAYERS:
        return _tpm_answer(low)
    if low == _RSP_AUTH_FAILED:
        return Meaning(
            Fault.TAMPERED,
            "the HMAC of the answer is wrong: it was tampered with or garbled on the bus",
            "if this comes back, somebody or something is between the CPU and the TPM",
        )
    if layer == _MARSHALLING or low in _MALFORMED:
        return Meaning(Fault.GARBLED, f"the answer is malformed ({code:#x})")
    if layer == _TRANSPORT and low == _NOT_SUPPORTED:
        return Meaning(
            Fault.UNSUPPORTED,
            "libtss2 cannot load this transport",
            'check `tcti`, for example "device:/dev/tpmrm0" or "swtpm:path=/run/swtpm/sock",'
            " and that the libtss2-tcti package for it is installed",
        )
    if layer == _TRANSPORT:
        what = "I/O error" if low == _IO_ERROR else "error"
        return Meaning(
            Fault.TRANSPORT,
            f"no answer got through (transport {what} {code:#x})",
            "check that the TPM, or the daemon that `tcti` leads to, is there and running",
        )
    where = _LAYERS.get(layer, f"layer {layer}")
    return Meaning(Fault.LIBRARY, f"libtss2 gave error {code:#x} ({where})")


def _tpm_answer(code: int) -> Meaning:
    reason = f"the TPM answered {tpm_rc_name(code)}"
    if code in BUSY:
        return Meaning(Fault.BUSY, f"{reason} (busy)")
    if code & _FORMAT_1 and _FORMAT_1 | code & 0x3F in _WRONG_AUTH:
        return Meaning(
            Fault.TAMPERED,
            f"{reason}: the command was tampered with or garbled on the bus,"
            " or the TPM was reset",
        )
    return Meaning(Fault.ANSWERED, reason, _remedy(code))


def _remedy(code: int) -> str:
    if code in SESSIONS_FULL:
        return "use /dev/tpmrmN, or end other sessions with `tpm2_flushcontext -l`"
    if code in _OBJECTS_FULL:
        return "use /dev/tpmrmN, or remove other objects with `tpm2_flushcontext -t`"
    if code in _SESSION_GONE:
        return "the TPM was reset or the machine slept; it is opened again by itself"
    name = TPM_RC.get(code)
    if name == "TPM_RC_INITIALIZE":
        return "start the TPM up: `tpm2_startup -c`"
    if name == "TPM_RC_FAILURE":
        return "the TPM is in failure mode: restart the machine, `tpm2_gettestresult` says more"
    if name == "TPM_RC_REBOOT":
        return "restart the machine"
    if name == "TPM_RC_UPGRADE":
        return "finish or undo the TPM's firmware upgrade"
    if name == "TPM_RC_COMMAND_CODE":
        return "is this a TPM 2.0?"
    return ""
