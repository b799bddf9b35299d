"""What the supervisor takes from a collector, which may be in somebody else's hands."""

import msgspec
import pytest

from hwentropyd.collector.messages import decode_answer


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
