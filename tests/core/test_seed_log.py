"""The seed log's records: what was written verifies, and nothing else does."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy_core import seed_log
from hwentropy_core.seed_log import (
    HEAD_BYTES,
    Chain,
    Head,
    KeptHead,
    Record,
    SeedLogError,
    Verdict,
    append,
    decode_head,
    encode_head,
    verify,
)

#: A day of reseeds, one a minute, and a signature every hour.
DAY = 24 * 60
KEY = b"the key of whoever signs"


def sign(head: Head) -> dict[str, object]:
    return {"signature": hmac.new(KEY, head.statement(), hashlib.sha256).hexdigest()}


def check(record: Record, statement: bytes) -> bool:
    expected = hmac.new(KEY, statement, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, str(record["signature"]))


def a_log(records: int, *, signed_every: int = 60) -> tuple[list[bytes], KeptHead]:
    """The lines of a log and its head."""
    head, lines = Head(), list[bytes]()
    for number in range(records):
        if signed_every and number % signed_every == signed_every - 1:
            line, head = append(head, "signature", sign(head))
        else:
            fields = {"time": number, "generation": number, "groups": ["kernel"], "bits": 256}
            line, head = append(head, "seed", fields)
        lines.append(line)
    return lines, KeptHead(0, head)


def verified(lines: list[bytes], kept: KeptHead | None) -> Verdict:
    return verify([(0, lines)], kept)


def test_a_day_verifies() -> None:
    """All of it, with and without the key, and it says up to where it is signed."""
    lines, kept = a_log(DAY)
    assert verified(lines, kept) == Verdict(records=DAY, first=0)
    assert verify([(0, lines)], kept, check) == Verdict(DAY, 0, signed=DAY - 1)


@pytest.mark.parametrize("at", [0, 1, DAY // 2, DAY - 2, DAY - 1])
class TestWhatWasTamperedWith:
    """At the beginning, in the middle and at the end."""

    def test_a_changed_record(self, at: int) -> None:
        """One digit of one record."""
        lines, kept = a_log(DAY)
        lines[at] = lines[at].replace(b'"bits":256', b'"bits":257').replace(b"a", b"b", 1)
        assert verified(lines, kept).problems

    def test_a_record_taken_out(self, at: int) -> None:
        """The first and the last one, too."""
        lines, kept = a_log(DAY)
        del lines[at]
        assert verified(lines, kept).problems

    def test_a_record_put_in(self, at: int) -> None:
        """A copy of one."""
        lines, kept = a_log(DAY)
        lines.insert(at, lines[at])
        assert verified(lines, kept).problems

    def test_records_in_another_order(self, at: int) -> None:
        """Two that are neighbours."""
        lines, kept = a_log(DAY)
        other = at - 1 if at else 1
        lines[at], lines[other] = lines[other], lines[at]
        assert verified(lines, kept).problems

    def test_a_log_that_ends_here(self, at: int) -> None:
        """Whatever is cut off its end."""
        lines, kept = a_log(DAY)
        assert verified(lines[:at], kept).problems


def test_a_log_made_anew_has_no_signature_that_holds() -> None:
    """Chain and head are right; only the key tells."""
    lines, kept = a_log(DAY, signed_every=0)
    assert not verified(lines, kept).problems
    assert verify([(0, lines)], kept, check).problems == ["no record is signed by this key"]


def test_a_signature_holds_for_its_place_only() -> None:
    """Signatures taken over into a log that was made anew do not verify."""
    signatures = [line for line in a_log(DAY)[0] if b'"kind":"signature"' in line]
    head, lines = Head(), list[bytes]()
    for number in range(59):
        line, head = append(head, "seed", {"time": number, "bits": 512})
        lines.append(line)
    [taken] = [seed_log.decode(line) for line in signatures[:1]]
    line, head = append(head, "signature", {"signature": taken["signature"]})
    verdict = verify([(0, [*lines, line])], KeptHead(0, head), check)
    assert verdict.problems == ["the signature in record 59 does not hold"]


def test_old_segments_may_have_gone_but_only_those() -> None:
    """The head says which the oldest is."""
    lines, kept = a_log(100)
    rest = [(40, lines[40:])]
    assert verify(rest, KeptHead(40, kept.head)) == Verdict(records=60, first=40)
    assert verify(rest, kept).problems == ["records 0 to 39 are gone"]


def test_a_missing_segment_is_missed() -> None:
    """One in the middle."""
    lines, kept = a_log(90)
    verdict = verify([(0, lines[:30]), (60, lines[60:])], kept)
    assert verdict.problems == ["record 30 is missing: record 60 stands in its place"]


def test_a_torn_last_line_is_noted() -> None:
    """It was never a record, as the head does not count it."""
    lines, kept = a_log(10)
    verdict = verified([*lines, b'{"number":10'], kept)
    assert not verdict.problems
    assert len(verdict.notes) == 1


def test_a_log_without_its_head_does_not_verify() -> None:
    """Nothing else holds its last records."""
    lines, _ = a_log(10)
    assert verified(lines, None).problems == ["seeds.head is missing or not readable"]


def test_a_gap_is_noted_and_a_mended_end_is_a_problem() -> None:
    """What the writer lost to a full disk is no forgery; what it found cut may be."""
    head = Head()
    gap, head = append(head, "gap", {"lost": 3, "reason": "No space left on device"})
    verdict = verified([gap], KeptHead(0, head))
    assert verdict.problems == []
    assert verdict.notes == [
        "record 0 says: 3 records could not be written (No space left on device)"
    ]
    mended, head = append(head, "mended", {"reason": "records 1 to 4 are gone"})
    verdict = verified([gap, mended], KeptHead(0, head))
    assert verdict.problems == ["record 1 says: records 1 to 4 are gone"]


@given(st.binary(max_size=200) | st.sampled_from([b"[]", b'{"number":0}', b"[" * 9999]))
def test_any_line_is_a_record_or_a_seed_log_error(line: bytes) -> None:
    """Nothing else is raised for what stands in a file."""
    chain = Chain()
    try:
        record = chain.follow(line)
    except SeedLogError:
        assert chain.head is None
    else:
        assert isinstance(record, dict)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_the_head_has_a_fixed_size(records: int, digest: bytes) -> None:
    """So that it can be overwritten where it is."""
    kept = KeptHead(records, Head(records, digest.hex()))
    encoded = encode_head(kept)
    assert len(encoded) == HEAD_BYTES
    assert decode_head(encoded) == kept


@given(st.binary(max_size=HEAD_BYTES))
def test_any_other_head_is_none(data: bytes) -> None:
    """Nothing is raised for what stands in its file."""
    kept = decode_head(data)
    assert kept is None or encode_head(kept)


def test_a_record_that_is_too_long_is_refused() -> None:
    """A reader need not take a line of any length."""
    with pytest.raises(ValueError, match="is the most"):
        append(Head(), "seed", {"filling": "x" * seed_log.MAX_LINE})
