"""What supervisor and collector say to each other: one question, one answer.

One message is one SEQPACKET datagram in MessagePack, but for an answer with samples:
those are the bytes after DATA, in a buffer that can be overwritten.  The supervisor
takes every answer for a stranger's: `decode_answer` checks types and sizes.
"""

from typing import Final

import msgspec

from hwentropy_sources.contract import Claim, Description

#: First byte of an answer with samples; no MessagePack of ours, which are maps.
DATA: Final = 0xC1

#: Longer than every message: the 1,024 samples of a startup test at 64 bits each, and facts.
MESSAGE_BYTES: Final = 1 << 16

#: What is shown to operators is cut to so many characters, and to so many facts.
TEXT_CHARACTERS: Final = 500
MOST_FACTS: Final = 64


class CollectorSettings(msgspec.Struct, frozen=True):
    """The first message: which source to be."""

    kind: str
    table: dict[str, object]
    """Its table of the configuration."""
    silent: bool
    """Whether its standard error goes nowhere; its output always does."""


class Check(msgspec.Struct, frozen=True, tag=True):
    """Does the table suit the kind?  Answered with Described or Rejected."""


class Open(msgspec.Struct, frozen=True, tag=True):
    """Make the source and open it.  Described."""


class Read(msgspec.Struct, frozen=True, tag=True):
    """So many samples.  DATA or WrongLength."""

    samples: int
    expected: int
    """Bytes that these are."""
    timeout: float


class Describe(msgspec.Struct, frozen=True, tag=True):
    """Described."""


class Attest(msgspec.Struct, frozen=True, tag=True):
    """Have the device sign this statement.  Attested or Unable."""

    statement: bytes


class Close(msgspec.Struct, frozen=True, tag=True):
    """Closed."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The limits hold; it can be asked.  Unasked."""


class Described(msgspec.Struct, frozen=True, tag=True):
    """What the source says of itself, and the keys that all tables have."""

    group: str
    bits_per_sample: int
    min_entropy: float
    provenance: str
    whitened: bool
    facts: dict[str, str]
    common: dict[str, object]
    strength: int | None = None
    renewal: str = ""
    renewal_seconds: float | None = None
    lag: bool = False

    def description(self) -> Description:
        """The same as the contract has it.  Raises ValueError."""
        claim = Claim(
            self.bits_per_sample,
            self.min_entropy,
            shown(self.provenance),
            self.whitened,
            self.strength,
            shown(self.renewal),
            self.renewal_seconds,
            self.lag,
        )
        facts = list(self.facts.items())[:MOST_FACTS]
        return Description(
            shown(self.group), claim, {shown(name): shown(value) for name, value in facts}
        )


class Attested(msgspec.Struct, frozen=True, tag=True):
    """A device's signature, as `hwentropy_core.attestation` has it."""

    key: bytes
    attested: bytes
    signature: bytes


class Unable(msgspec.Struct, frozen=True, tag=True):
    """The source's device does not sign."""


class Closed(msgspec.Struct, frozen=True, tag=True):
    """The source is closed."""


class WrongLength(msgspec.Struct, frozen=True, tag=True):
    """It gave so many bytes, which is not what was asked for."""

    length: int


class Absent(msgspec.Struct, frozen=True, tag=True):
    """SourceAbsent."""

    reason: str
    remedy: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """SourceError."""

    reason: str
    remedy: str


class Raised(msgspec.Struct, frozen=True, tag=True):
    """Another exception; its text may hold samples, so its type and its place alone."""

    type_name: str
    place: str
    """File and line in the source's code; may be empty."""


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The table does not suit the kind, or the kind is of no use."""

    path: list[str]
    """The key, below the table; empty for the table itself."""
    what: str


Question = Check | Open | Read | Describe | Attest | Close
Answer = (
    Ready
    | Described
    | Attested
    | Unable
    | Closed
    | WrongLength
    | Absent
    | Failed
    | Raised
    | Rejected
)

_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def decode_question(datagram: bytes) -> Question:
    """What the supervisor asks.  Raises msgspec.MsgspecError."""
    return _questions.decode(datagram)


def decode_answer(datagram: memoryview) -> Answer:
    """What a collector answers.  Raises msgspec.MsgspecError."""
    try:
        return _answers.decode(datagram)
    except (UnicodeDecodeError, RecursionError):
        # msgspec lets them through, where a text is not UTF-8 or is nested too deeply.
        raise msgspec.DecodeError("text that is not UTF-8, or nested too deeply") from None


def shown(text: str) -> str:
    """As it can be shown on a terminal and in a log: printable, and not too long."""
    cut = text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}..."
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in cut)
