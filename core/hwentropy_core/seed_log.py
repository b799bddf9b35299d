"""The seed log's records: what every seed was made of, one line of JSON each.  Pure.

    line      {"number": 17, "previous": "<SHA-256 of the line before>", "kind": "seed", ...}
    head      the number and the SHA-256 of the last line, kept beside the log
    statement what a TPM signs: the head, so that all before it is signed too

Each line holds the hash of the one before, so a line that is changed, taken out, put in
or moved breaks the chain at the line after it; the last lines, which nothing follows,
are held by the head.

What this does not protect against: somebody who can write to the state directory and
makes a new chain and a new head.  The signatures are there for that: a chain that was
made anew has none, or none that verifies.  What came after the last signature is held by
the head alone.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from .errors import HwentropyError

Record: TypeAlias = dict[str, Any]

#: The longest line, in bytes: 64 sources (the most that a configuration can have) at 200
#: bytes, and as much again.
MAX_LINE: Final = 1 << 15

#: The digest that stands in for the line before the first.
NOTHING: Final = "0" * 64

#: The file beside the segments that says where the log ends.
HEAD_NAME: Final = "seeds.head"

#: Bytes of that file, always overwritten as a whole, so that a full disk has room for it:
#: two numbers of 19 digits at most, 64 of the hash, and the names.
HEAD_BYTES: Final = 160

_STATEMENT: Final = struct.Struct(">Q32s")
_PREFIX: Final = b"hwentropy/1 seed log "


class SeedLogError(HwentropyError):
    """The seed log is not what was written; the sentence says which record shows it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: how many records there were so far, and the last one's hash."""

    records: int = 0
    digest: str = NOTHING
    """SHA-256 of the last line without its newline, in hexadecimal."""

    def statement(self) -> bytes:
        """What is signed for all records so far."""
        return _PREFIX + _STATEMENT.pack(self.records, bytes.fromhex(self.digest))


@dataclass(frozen=True, slots=True)
class KeptHead:
    """What the head's file says."""

    first: int
    """The oldest record that should be there."""
    head: Head


def encode_head(kept: KeptHead) -> bytes:
    """The head's file."""
    fields = {"first": kept.first, "records": kept.head.records, "digest": kept.head.digest}
    return json.dumps(fields).encode().ljust(HEAD_BYTES - 1) + b"\n"


def decode_head(data: bytes) -> KeptHead | None:
    """What the head's file says; None where it is not one."""
    try:
        fields = json.loads(data)
        first, records, digest = fields["first"], fields["records"], fields["digest"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(first) is not int or type(records) is not int or not _is_digest(digest):
        return None
    # As `decode` has the numbers of records.
    whole = 0 <= first <= records < 1 << 63
    return KeptHead(first, Head(records, digest)) if whole else None


def segments(directory: Path) -> list[tuple[int, Path]]:
    """The log's segments and the numbers of their first records, oldest first.

    Files only: a device or a link to one, which never ends, is passed over.
    Raises OSError where the directory cannot be read; `glob` would find nothing there.
    """
    found: list[tuple[int, Path]] = []
    for path in directory.iterdir():
        number = path.name.removeprefix("seeds-").removesuffix(".log")
        named = path.name == f"seeds-{number}.log" and number.isascii() and number.isdecimal()
        if named and path.is_file() and not path.is_symlink():
            found.append((int(number), path))
    return sorted(found)


def append(head: Head, kind: str, fields: Mapping[str, object]) -> tuple[bytes, Head]:
    """The line of the next record, newline included, and the head after it.

    Raises ValueError where `fields` cannot be a record.
    """
    record = {**fields, "kind": kind, "number": head.records, "previous": head.digest}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    line = text.encode("ascii")
    if len(line) >= MAX_LINE:
        raise ValueError(f"a record of {len(line)} bytes: {MAX_LINE} is the most")
    return line + b"\n", _after(head, line)


def _after(head: Head, line: bytes) -> Head:
    return Head(head.records + 1, hashlib.sha256(line).hexdigest())


def decode(line: bytes) -> Record:
    """The record in a line, without its newline.  Raises SeedLogError."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise SeedLogError("a line is not JSON") from None
    if (
        not isinstance(record, dict)
        or type(record.get("number")) is not int
        or not 0 <= record["number"] < 1 << 63
        or not isinstance(record.get("kind"), str)
        or not _is_digest(record.get("previous"))
    ):
        raise SeedLogError("a line is no record")
    return record


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


@dataclass(slots=True)
class Chain:
    """Follows a log from its first line, and stops where a line does not follow."""

    head: Head | None = None
    """The end of what was followed so far."""
    first: int | None = None
    """The number of the first record."""

    def follow(self, line: bytes) -> Record:
        """The record of the next line, without its newline.  Raises SeedLogError."""
        where = "its first line" if self.head is None else f"record {self.head.records}"
        try:
            record = decode(line)
        except SeedLogError as error:
            raise SeedLogError(f"{where} was changed: {error}") from None
        if self.head is None:
            self.first = record["number"]
            if self.first == 0 and record["previous"] != NOTHING:
                raise SeedLogError("record 0 was changed: there is none before it")
            self.head = Head(record["number"], record["previous"])
        elif record["number"] != self.head.records:
            raise SeedLogError(
                f"record {self.head.records} is missing: record {record['number']} "
                "stands in its place"
            )
        elif record["previous"] != self.head.digest:
            raise SeedLogError(
                f"record {self.head.records} does not follow from record "
                f"{self.head.records - 1}: one of the two was changed"
            )
        self.head = _after(self.head, line)
        return record


#: Judges a signature record: whether it holds for this statement, by the key that is trusted.
CheckSignature: TypeAlias = Callable[[Record, bytes], bool]


@dataclass(slots=True)
class Verdict:
    """What following a whole log showed."""

    records: int = 0
    """Records that follow from each other."""
    first: int | None = None
    """The number of the first one; not 0 where older ones were removed for room."""
    signed: int = 0
    """Records below this number are signed by the key."""
    problems: list[str] = field(default_factory=list)
    """What is not as it was written; the log verifies where there is none."""
    notes: list[str] = field(default_factory=list)
    """What the log says of itself that its reader should know."""


def verify(
    log: Iterable[tuple[int, Iterable[bytes]]],
    kept: KeptHead | None,
    check: CheckSignature | None = None,
) -> Verdict:
    """Follow a log: its segments' numbers and lines (with newlines), oldest first.

    Stops at the first record that does not follow.  With `check` all signatures are
    checked, and one at least is asked for.
    """
    verdict = Verdict()
    chain = Chain()
    try:
        for number, lines in log:
            _verify_segment(chain, number, lines, kept, check, verdict)
    except SeedLogError as error:
        verdict.problems.append(str(error))
        return verdict
    _verify_ends(chain, kept, verdict)
    if check is not None and not verdict.signed and not verdict.problems:
        verdict.problems.append("no record is signed by this key")
    return verdict


def _verify_segment(
    chain: Chain,
    number: int,
    lines: Iterable[bytes],
    kept: KeptHead | None,
    check: CheckSignature | None,
    verdict: Verdict,
) -> None:
    torn = False
    begins = True
    for line in lines:
        if torn := not line.endswith(b"\n"):
            break
        record = chain.follow(line[:-1])
        if begins and record["number"] != number:
            raise SeedLogError(f"the segment of record {number} begins with another")
        begins = False
        verdict.records += 1
        verdict.first = chain.first
        _judge(record, check, verdict)
        if kept is not None and chain.head is not None:
            _compare(chain.head, kept.head)
    if torn:
        verdict.notes.append("a last line is cut off: its writer was interrupted")


def _judge(record: Record, check: CheckSignature | None, verdict: Verdict) -> None:
    number = record["number"]
    match record["kind"]:
        case "mended":
            verdict.problems.append(f"record {number} says: {record.get('reason')}")
        case "gap":
            verdict.notes.append(
                f"record {number} says: {record.get('lost')} records could not be written "
                f"({record.get('reason')})"
            )
        case "signature" if check is not None:
            if not check(record, Head(number, record["previous"]).statement()):
                raise SeedLogError(f"the signature in record {number} does not hold")
            verdict.signed = number
        case _:
            pass


def _compare(head: Head, kept: Head) -> None:
    if head.records == kept.records and head.digest != kept.digest:
        raise SeedLogError(f"record {head.records - 1} is not the one that {HEAD_NAME} names")


def _verify_ends(chain: Chain, kept: KeptHead | None, verdict: Verdict) -> None:
    records = 0 if chain.head is None else chain.head.records
    if kept is None:
        verdict.problems.append(f"{HEAD_NAME} is missing or not readable")
    elif kept.head.records > records:
        verdict.problems.append(f"records {records} to {kept.head.records - 1} are gone")
    elif chain.first is not None and kept.first < chain.first:
        verdict.problems.append(f"records {kept.first} to {chain.first - 1} are gone")
