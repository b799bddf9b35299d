"""The native protocol without a socket: bytes in, replies and waits out."""

# What a request leaves behind is looked at:
# pyright: reportPrivateUsage=false

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropy_core.limits import KEY_BYTES, MAX_READ
from hwentropy_core.page import NEVER, PageReader, PageWriter, ServiceState
from hwentropy_core.wire import HEADER, LEASE_BYTES, Op, ReplyFlag, Status, decode_lease
from hwentropyd.worker import protocols
from hwentropyd.worker.drbg import REPORT_BYTES, WorkerDrbg
from hwentropyd.worker.protocols import LeaseTerms, Reply, Wait, native
from hwentropyd.worker.protocols.native import (
    DEGRADED_LEASE_BYTES,
    FAST_PATH_BYTES,
    NativeProtocol,
)
from hwentropyd.worker.quota import Quota
from support.assigned import assigned


def make(
    state: ServiceState = ServiceState.OK,
    *,
    ok_until: int = NEVER,
    now: Sequence[float] = (0.0,),
    may_have_fresh: bool = True,
    requests_per_second: int = 0,
    bytes_per_second: int = 0,
    leases_per_second: int = 0,
    lease_bytes: int = 1 << 30,
    reports: list[int] | None = None,
    clock: Callable[[], int] = lambda: 0,
) -> NativeProtocol:
    """One of a worker that was seeded; `reports` gets the bytes that it counts."""
    page = PageWriter()
    generator = WorkerDrbg(
        PageReader(page.fd),
        lambda: None if reports is None else reports.append(generator.take_drawn()),
        clock,
    )
    generator.seed(1, bytearray(b"s" * 32))
    page.generation = 1
    page.publish(state, ok_until)
    message = assigned(
        may_have_fresh=may_have_fresh,
        requests_per_second=requests_per_second,
        bytes_per_second=bytes_per_second,
        leases_per_second=leases_per_second,
    )
    quota = Quota(message, lambda: now[0])
    terms = LeaseTerms(lease_bytes, 1, page.fd)
    made = protocols.make(message, generator, terms, quota)
    assert isinstance(made, NativeProtocol)
    return made


def ask(protocol: NativeProtocol, data: bytes) -> tuple[list[Reply], Wait]:
    """All replies to these bytes, and what comes after them."""
    protocol.feed(memoryview(data))
    replies: list[Reply] = []
    while not protocol.closing and isinstance(reply := protocol.next(), Reply):
        replies.append(reply)
    return replies, Wait.END if protocol.closing else Wait.INPUT


def small(protocol: NativeProtocol, data: bytes, outbox: bytearray) -> int:
    """The short way."""
    inbox = memoryview(data.ljust(64, b"\xff"))
    return protocol.answer_small(inbox, len(data), memoryview(outbox))


@given(
    st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535), st.integers(0, MAX_READ)
)
def test_the_short_way_answers_as_the_long_one(
    op: int, flags: int, tag: int, length: int
) -> None:
    """The same header and as many bytes; or nothing, and not a request is counted."""
    request = HEADER.pack(op, flags, tag, length)
    protocol = make()
    outbox = bytearray(HEADER.size + FAST_PATH_BYTES)
    answered = small(protocol, request, outbox)
    if not answered:
        assert protocol.requests == 0
        assert not any(outbox)
        return
    [reply], _ = ask(make(), request)
    assert bytes(outbox[: HEADER.size]) == reply.fixed
    assert answered == reply.remaining == length
    assert not any(outbox[HEADER.size + length :])
    assert protocol.requests == 1


@pytest.mark.parametrize("state", set(ServiceState) - {ServiceState.OK})
def test_the_short_way_is_for_a_healthy_daemon_only(state: ServiceState) -> None:
    """In any other state there is more to say than `ok`."""
    assert small(make(state), HEADER.pack(Op.READ, 0, 1, 32), bytearray(64)) == 0


@pytest.mark.parametrize("op", [Op.READ, Op.LEASE])
def test_what_is_served_past_the_time_on_the_page_is_flagged(op: Op) -> None:
    """A supervisor that is stuck keeps nothing `ok`, the short way neither."""
    protocol, request = (
        make(ok_until=1000, clock=lambda: 1000),
        HEADER.pack(op, 0, 1, 32 * (op is Op.READ)),
    )
    assert small(protocol, request, bytearray(64)) == 0
    [reply], _ = ask(protocol, request)
    status, flags, _, _ = HEADER.unpack_from(reply.fixed)
    assert status == Status.OK
    assert flags & ReplyFlag.DEGRADED


def test_a_leases_seed_is_in_its_reply_alone(mocker: MockerFixture) -> None:
    """The generator's copy and the encoded one are overwritten by then."""
    protocol = make()
    seeds = mocker.spy(protocol._generator, "lease_seed")
    payloads = mocker.spy(native, "encode_lease")
    [reply], _ = ask(protocol, HEADER.pack(Op.LEASE, 0, 1, 0))
    assert any(reply.fixed[-KEY_BYTES:])
    assert seeds.spy_return == (1, bytearray(KEY_BYTES))
    assert payloads.spy_return == bytes(LEASE_BYTES)


@pytest.mark.parametrize("size", [0, 1, 7, 9, 16])
def test_the_short_way_is_for_one_whole_request(size: int) -> None:
    """Not for a part of one, nor for two."""
    data = (HEADER.pack(Op.READ, 0, 1, 32) * 2)[:size]
    assert small(make(), data, bytearray(64)) == 0


def test_the_short_way_passes_no_request_by() -> None:
    """Eight bytes behind a half request are no request of their own."""
    protocol = make()
    ask(protocol, HEADER.pack(Op.READ, 0, 1, 32)[:4])
    assert small(protocol, HEADER.pack(Op.READ, 0, 2, 32), bytearray(64)) == 0


def test_a_bad_request_closes_behind_its_reply() -> None:
    """And what follows it is not looked at."""
    bad = HEADER.pack(99, 0, 7, 0)
    replies, wait = ask(make(), bad + HEADER.pack(Op.READ, 0, 8, 32))
    assert [reply.fixed for reply in replies] == [HEADER.pack(Status.BAD_REQUEST, 0, 7, 0)]
    assert wait is Wait.END


# Rates and permissions

READ = HEADER.pack(Op.READ, 0, 1, 32)
LEASE = HEADER.pack(Op.LEASE, 0, 2, 0)


def headers(protocol: NativeProtocol, data: bytes) -> list[int]:
    """The statuses of all replies."""
    return [reply.fixed[0] for reply in ask(protocol, data)[0]]


def test_requests_above_the_rate_are_refused_and_the_connection_goes_on() -> None:
    """READ and LEASE alike; INFO is not counted; a second later there are more."""
    now = [0.0]
    protocol = make(now=now, requests_per_second=3)
    info = HEADER.pack(Op.INFO, 0, 3, 0)
    assert headers(protocol, READ * 2 + LEASE + READ + LEASE + info) == [0, 0, 0, 4, 4, 0]
    now[0] = 1.0
    assert headers(protocol, READ * 4) == [0, 0, 0, 4]


def test_the_short_way_passes_no_rate_by() -> None:
    """A user with a rate is counted in every request."""
    protocol = make(requests_per_second=1)
    assert small(protocol, READ, bytearray(64)) == 0
    assert small(make(leases_per_second=1), READ, bytearray(64)) == 32


def test_bytes_above_the_rate_are_refused() -> None:
    """The one that goes beyond is served, and what it took beyond is owed."""
    now = [0.0]
    protocol = make(now=now, bytes_per_second=100)
    large = HEADER.pack(Op.READ, 0, 1, 250)
    assert headers(protocol, large + READ) == [0, 4]
    now[0] = 1.0
    assert headers(protocol, READ) == [4]
    now[0] = 2.0
    assert headers(protocol, READ) == [0]


def test_leases_above_the_rate_are_refused_and_reads_are_not() -> None:
    """A lease has a rate of its own, by default."""
    assert headers(make(leases_per_second=2), LEASE * 3 + READ) == [0, 0, 4, 0]


def test_prediction_resistance_that_is_not_permitted_waits_for_nothing() -> None:
    """It is refused at once; without it the same user is served."""
    wish = HEADER.pack(Op.READ, 2, 7, 32)
    replies, _ = ask(make(may_have_fresh=False), wish + READ)
    assert replies[0].fixed == HEADER.pack(Status.NOT_PERMITTED, 0, 7, 0)
    assert replies[1].remaining == 32


# Leases of a degraded service


def granted_bytes(protocol: NativeProtocol) -> int:
    """What the next lease may give."""
    [reply], _ = ask(protocol, LEASE)
    return decode_lease(bytearray(reply.fixed[HEADER.size :])).max_bytes


def test_a_lease_counts_its_bytes_when_it_is_granted_while_degraded() -> None:
    """Nobody is told later what was drawn from it; sixteen of 1 MiB are reported at once."""
    reports: list[int] = []
    protocol = make(ServiceState.DEGRADED, reports=reports)
    leases = REPORT_BYTES // DEGRADED_LEASE_BYTES
    assert {granted_bytes(protocol) for _ in range(leases)} == {DEGRADED_LEASE_BYTES}
    assert reports == [REPORT_BYTES]


def test_a_lease_counts_nothing_while_all_is_well() -> None:
    """Then it is for `lease_bytes`, which with its seconds are its limit."""
    reports: list[int] = []
    protocol = make(reports=reports)
    assert {granted_bytes(protocol) for _ in range(100)} == {1 << 30}
    assert reports == []


def test_a_shorter_lease_counts_what_it_is() -> None:
    """Terms below those of a degraded service stay as they are."""
    protocol = make(ServiceState.DEGRADED, lease_bytes=DEGRADED_LEASE_BYTES // 2)
    assert granted_bytes(protocol) == DEGRADED_LEASE_BYTES // 2
