"""The plain stream without a socket."""

import pytest

from hwentropy_core.page import PageReader, PageWriter, ServiceState
from hwentropyd.role import Role
from hwentropyd.worker import protocols
from hwentropyd.worker.drbg import WorkerDrbg
from hwentropyd.worker.protocols import LeaseTerms, Reply, Wait
from hwentropyd.worker.quota import Quota
from support.assigned import assigned


@pytest.mark.parametrize(
    ("state", "gives"),
    [
        (ServiceState.STARTING, Wait.SEED),
        (ServiceState.OK, None),
        (ServiceState.DEGRADED, None),
        (ServiceState.FAILED, Wait.END),
    ],
)
def test_what_a_stream_gives_in_each_state(state: ServiceState, gives: Wait | None) -> None:
    """Bytes without a header, a wait, or its end; whatever its client sends."""
    page = PageWriter()
    page.state = state
    generator = WorkerDrbg(PageReader(page.fd), lambda: None)
    message = assigned(role=Role.STREAM)
    quota = Quota(message, lambda: 0.0)
    stream = protocols.make(message, generator, LeaseTerms(1, 1, page.fd), quota)
    stream.feed(memoryview(b"GET / HTTP/1.1\r\n\r\n"))
    assert stream.answer_small(memoryview(bytes(8)), 8, memoryview(bytearray(64))) == 0
    reply = stream.next()
    if isinstance(reply, Reply):
        assert gives is None
        assert (reply.fixed, reply.page_fd) == (b"", None)
        assert reply.remaining > 0
    else:
        assert reply is gives
