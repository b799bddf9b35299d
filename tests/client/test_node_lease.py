"""The Node.js client on a lease, against a daemon that a test moves and breaks."""

import pytest

from hwentropy_core.drbg import Drbg
from support.fake_server import FakeDaemon
from support.node import (
    MAX_AGE,
    OUTWAIT,
    WAYS,
    Leasing,
    Node,
    NodeError,
    needs_node,
)

pytestmark = [pytest.mark.process, needs_node]


def test_a_lease_gives_what_its_seed_says(leasing: Leasing, node: Node) -> None:
    """The bytes are those of docs/drbg.md for purpose `lease`, material `parent`."""
    sizes = (32, 1, 5000, 16384, 16385, 1 << 20, (1 << 20) + 1, 32)
    drawn = [node.draw(size) for size in sizes]
    drbg = Drbg(b"lease", block=memoryview(bytearray(64 * 1024)))
    drbg.reseed([(b"parent", leasing.seeds[0])])
    assert drawn == [bytes(drbg.read(size)) for size in sizes]
    assert len(leasing.seeds) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_new_lease_keeps_the_old_key_in(way: str, leasing: Leasing, node: Node) -> None:
    """The second seed is a reseed of the same generator, not a start from its seed alone."""
    leasing.max_bytes = 100
    drawn = [node.draw(100, way), node.draw(100, way)]
    drbg = Drbg(b"lease", block=memoryview(bytearray(64 * 1024)))
    for seed, one in zip(leasing.seeds, drawn, strict=True):
        drbg.reseed([(b"parent", seed)])
        assert one == drbg.read(100)


def test_a_reseed_is_noticed_in_time(leasing: Leasing, node: Node) -> None:
    """A draw that begins more than MAX_AGE ms after it has the new lease.

    The event loop does not turn meanwhile.
    """
    node.draw(32)
    leasing.generation += 1
    node.run(OUTWAIT)
    assert len(leasing.seeds) == 2


def test_a_service_that_fails_closed_stops_the_lease(leasing: Leasing, node: Node) -> None:
    """FailedClosed within MAX_AGE ms, and bytes again after the next seed."""
    node.draw(32)
    leasing.state = "failed"
    with pytest.raises(NodeError) as caught:
        node.run(OUTWAIT)
    assert caught.value.name == "FailedClosed"
    with pytest.raises(NodeError, match="no source to trust"):
        node.draw(32, "async")
    leasing.state = "ok"
    leasing.generation += 1
    assert len(node.draw(32)) == 32
    assert len(leasing.seeds) == 2


def test_a_restarted_daemon_is_another_one(
    leasing: Leasing, daemon: FakeDaemon, node: Node
) -> None:
    """Although it counts its generations from the same number."""
    node.draw(32)
    daemon.restart()
    node.run(OUTWAIT)
    assert len(leasing.seeds) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_daemon_leaves_the_leases_bytes(
    way: str, leasing: Leasing, daemon: FakeDaemon, node: Node
) -> None:
    """Exactly what the lease had left, then DaemonUnavailable, and bytes again later."""
    leasing.max_bytes = 1000
    node.draw(400, way)
    daemon.stop()
    node.run(OUTWAIT.replace("h.randomBytes(32)", "h.randomBytes(0)"))
    assert len(node.draw(599, way)) == 599
    assert node.fill(2, way).name == "DaemonUnavailable"
    assert len(node.draw(0, way)) == 0
    with pytest.raises(NodeError, match=r"no daemon answers at .*; start it with"):
        node.draw(1, way)
    daemon.start()
    assert len(node.draw(32, way)) == 32


def test_a_stopped_daemon_leaves_the_leases_seconds(
    leasing: Leasing, daemon: FakeDaemon, node: Node
) -> None:
    """Draws go on for as long as the lease lasts, and not longer."""
    leasing.max_seconds = 2
    began = node.run("h.randomBytes(1); return performance.now()")
    daemon.stop()
    last, code, again = node.run(
        "let last, began; const drawn = () => {"
        " began = performance.now(); h.randomBytes(16); };"
        " try { for (;;) { drawn(); last = began; } }"
        " catch (error) { shared.code = error.code; }"
        " try { drawn(); } catch (error) { return [last, shared.code, error.code]; }"
    )
    assert code == again == "ERR_HWENTROPY_DAEMON_UNAVAILABLE"
    assert began < last < began + 2001  # 1: the two threads' clocks, and rounding
    assert len(leasing.seeds) == 1


def test_a_daemon_that_does_not_answer_info_counts_as_gone(
    leasing: Leasing, node: Node
) -> None:
    """The lease goes on within its limits; draws wait for it once, not every time."""
    node.draw(32)
    leasing.silent.set()
    # 40 draws, each more than MAX_AGE after the last: were each to wait for the
    # daemon, 40 x 250 ms more.
    took = node.run(
        f"const began = performance.now(); for (let i = 0; i < 40; i++) {{"
        f" Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, {MAX_AGE + 10});"
        f" h.randomBytes(32); }} return performance.now() - began"
    )
    assert 40 * MAX_AGE < took < 40 * (MAX_AGE + 10) + 40 * 250 / 2
    assert len(leasing.seeds) == 1


def test_an_info_that_makes_no_sense_ends_the_lease(
    leasing: Leasing, daemon: FakeDaemon, node: Node
) -> None:
    """ProtocolError: what cannot be checked gives no byte."""
    node.draw(32)
    leasing.state = "splendid"
    with pytest.raises(NodeError, match="what has to be in it") as caught:
        node.run(OUTWAIT)
    assert caught.value.name == "ProtocolError"


def test_draws_that_wait_share_one_lease(leasing: Leasing, node: Node) -> None:
    """A thousand at once, no two alike."""
    drawn = node.run(
        "return Promise.all(Array.from({length: 1000}, () => h.randomBytesAsync(16)))"
    )
    assert len(set(drawn)) == 1000
    assert len(leasing.seeds) == 1


def test_a_large_draw_goes_on_in_the_next_lease(leasing: Leasing, node: Node) -> None:
    """Leases of 1,000 bytes, a draw of 10,500: eleven of them."""
    leasing.max_bytes = 1000
    for way in WAYS:
        assert len(set(node.draw(10_500, way))) == 256
    assert len(leasing.seeds) in {21, 22}
