"""What the supervisor takes from a collector, which may be in somebody else's hands."""

import msgspec
import pytest

from hwentropy_sources.contract import Claim
from hwentropyd.collector.messages import Described, decode_answer


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xc1",
        b"\x81\xa4type\xa6Closes",
        b"\x82\xa4type\xa6Raised\xa9type_name\xa1\xff",
        b"\x81\xa4type\xa5Ready" + b"\x00",
        b"\x82\xa4type\xa6Raised\xa1x" + b"\x91" * 60_000 + b"\xc0",
    ],
    ids=["empty", "reserved", "unknown", "not UTF-8", "too long", "nested deeply"],
)
def test_what_is_no_answer_is_one_error(datagram: bytes) -> None:
    """Of msgspec's, which ends the collector; nothing else reaches the sampler."""
    with pytest.raises(msgspec.MsgspecError):
        decode_answer(memoryview(datagram))


@pytest.mark.parametrize(
    "claim",
    [
        Claim(8, 4.0, "noise"),
        Claim(8, 4.0, "a DRBG", True, 256, "every 60 s", 60.0),
        Claim(8, 1.0, "raw", lag=True),
    ],
    ids=["live", "drbg", "lag"],
)
def test_a_claim_arrives_as_it_was_made(claim: Claim) -> None:
    """What stands behind a source too, and what renews it."""
    values = {one: getattr(claim, one) for one in Claim.__slots__}
    answer = Described(group="g", facts={}, common={}, **values)
    decoded = decode_answer(memoryview(msgspec.msgpack.encode(answer)))
    assert isinstance(decoded, Described)
    assert decoded.description().claim == claim


@pytest.mark.parametrize("wrong", [{"strength": -1}, {"renewal_seconds": 0.0}])
def test_a_claim_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    """A state of fewer than no bits, or one that is renewed all the time."""
    values = {"strength": 256, "renewal_seconds": 60.0} | wrong
    answer = Described(
        group="g",
        bits_per_sample=8,
        min_entropy=4.0,
        provenance="",
        whitened=True,
        facts={},
        common={},
        strength=int(values["strength"]),
        renewal_seconds=values["renewal_seconds"],
    )
    with pytest.raises(ValueError, match=next(iter(wrong))):
        answer.description()
