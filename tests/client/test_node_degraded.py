"""The Node.js client on a daemon that turns degraded: who asks is told."""

import pytest

from hwentropy_core.limits import MAX_READ
from hwentropy_core.wire import ReplyFlag, Request
from support.fake_server import FakeDaemon, Peer
from support.node import MAX_AGE, PACKAGE, WAYS, Leasing, Node, NodeError, needs_node

pytestmark = [pytest.mark.process, needs_node]

#: Time goes by, and neither a draw nor the event loop sees to anything meanwhile.
PAUSE = f"""
    const start = performance.now();
    while (performance.now() - start <= {MAX_AGE + 1});
"""


def degraded(node: Node) -> object:
    """What it says now, all that it knows being too old."""
    return node.run(f"{PAUSE} return h.isDegraded()")


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_granted_while_degraded_says_so(way: str, leasing: Leasing, node: Node) -> None:
    """From the first draw on, and not before; the reply's mark alone is enough."""
    leasing.flags = ReplyFlag.DEGRADED
    assert node.run("return h.isDegraded()") is False
    node.draw(32, way)
    assert degraded(node) is True


def test_a_good_daemon_is_not_degraded(leasing: Leasing, node: Node) -> None:
    """Neither at once nor later; that it failed is another thing, which draws tell."""
    node.draw(32)
    assert degraded(node) is False
    leasing.state = "failed"
    assert degraded(node) is False


def test_it_is_what_the_daemon_says_now(leasing: Leasing, node: Node) -> None:
    """Without a draw or a new lease, and until the seed that ends it."""
    node.draw(32)
    leasing.state = "degraded"
    assert degraded(node) is True
    node.draw(32)
    assert len(leasing.seeds) == 1
    leasing.state = "ok"
    leasing.generation += 1
    node.run(f"{PAUSE} h.randomBytes(32)")
    assert len(leasing.seeds) == 2
    assert degraded(node) is False


def test_no_answer_leaves_what_was_said_last(
    daemon: FakeDaemon, leasing: Leasing, node: Node
) -> None:
    """A daemon that is silent, and one that is gone."""
    leasing.state = "degraded"
    node.draw(32)
    leasing.silent.set()
    assert degraded(node) is True
    daemon.stop()
    assert degraded(node) is True


@pytest.mark.parametrize("state", ["ok", "degraded"])
def test_an_answer_that_makes_no_sense_says_nothing_of_it(
    state: str, leasing: Leasing, node: Node
) -> None:
    """It is what was said last, whoever met the nonsense; the next draw throws that."""
    leasing.state = state
    node.draw(32)
    leasing.state = "fine"
    for pause in (MAX_AGE, 2 * MAX_AGE):
        js = f"await new Promise((go) => setTimeout(go, {pause})); return h.isDegraded()"
        assert node.run(js) is (state == "degraded")
    assert degraded(node) is (state == "degraded")
    with pytest.raises(NodeError) as caught:
        node.draw(32)
    assert caught.value.name == "ProtocolError"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["direct", "prediction_resistant"])
def test_a_direct_draw_says_so(mode: str, way: str, daemon: FakeDaemon, node: Node) -> None:
    """As any reply to the last draw said it; a draw of nothing asks nothing."""
    marks: list[int] = []

    def answer(peer: Peer, request: object) -> None:
        assert isinstance(request, Request)
        peer.send(peer.reply(request, marks.pop(0)))

    daemon.handler = answer
    node.configure(mode=mode)
    bad = int(ReplyFlag.DEGRADED)
    draws: list[tuple[int, list[int], bool]] = [
        (8, [0], False),
        (8, [bad], True),
        (0, [], True),
        (2 * MAX_READ, [bad, 0], True),
        (16 * MAX_READ + 1, [bad] + [0] * 16, True),
        (8, [0], False),
    ]
    for size, given, expected in draws:
        marks[:] = given
        node.draw(size, way)
        assert node.run("return h.isDegraded()") is expected
        assert marks == []


def test_configure_and_close_begin_anew(leasing: Leasing, node: Node) -> None:
    """Another daemon's state is not this one's."""
    leasing.state = "degraded"
    leasing.flags = ReplyFlag.DEGRADED
    for anew in ("await h.close()", f"h.configure({{path: {str(node.path)!r}}})"):
        node.draw(32)
        assert node.run(f"{anew}; return h.isDegraded()") is False


def test_both_kinds_of_module_know_it(leasing: Leasing, node: Node) -> None:
    """`require` and `import` give one function, which tells of one generator."""
    leasing.state = "degraded"
    node.draw(32)
    js = """
        const { createRequire } = await import('node:module');
        const required = createRequire('/')(%r);
        return [required.isDegraded === h.isDegraded, required.isDegraded()];
    """
    assert node.run(js % str(PACKAGE)) == [True, True]
