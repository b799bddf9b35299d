"""The Node.js client plays the cases of conformance/; node --test has requests and paths."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.conformance import Case, Ended, cases, granting, playing, take_step
from support.fake_server import FakeDaemon
from support.node import MAX_AGE, PACKAGE, Leasing, Node, NodeError, needs_node

pytestmark = [pytest.mark.process, needs_node]

#: It cannot receive descriptors, so it does not see where one is missing or too many.
REPLIES = [case for case in cases("replies") if not case.get("descriptor")]

#: Nor read the page, and its clock cannot be moved.
LEASES = [
    case
    for case in cases("leases")
    if not any(step.keys() & {"advance", "serves_until"} for step in case["steps"])
]


def timeout(case: Case) -> int:
    """Milliseconds: longer than any answer takes; pauses after OVER_QUOTA take all of it."""
    return 700 if case["outcome"] == "OverQuota" else 10_000


def named(case: Case) -> str:
    """A test's id."""
    return str(case["name"])


@pytest.fixture(scope="module")
def client() -> Iterator[Node]:
    """One process for all cases; each is configured anew."""
    with Node(Path("/nowhere")) as process:
        yield process


def ended(client: Node, js: str) -> Ended:
    """How code ended that returns `[outcome, value, degraded, not live]` or throws."""
    try:
        outcome, value, *marks = client.run(js)
    except NodeError as error:
        return Ended(error.name if error.ours else f"not ours: {error.name}")
    return Ended(outcome, value, *marks)


def fill(client: Node, size: int, way: str) -> Ended:
    """A draw; one that fails leaves zeros."""
    call = {"sync": "h.randomFillSync", "async": "await h.promises.randomFill"}[way]
    end = ended(
        client,
        f"shared.out = Buffer.alloc({size}, 0xaa); {call}(shared.out);"
        " return ['bytes', shared.out, h.isDegraded(), h.isNotLive()]",
    )
    if end.outcome == "bytes":
        return replace(end, value=bytes.fromhex(end.value))
    assert client.run("return shared.out.every((byte) => byte === 0)")
    return end


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("case", [case for case in REPLIES if case["op"] == "READ"], ids=named)
def test_a_read_is_taken_or_refused(
    case: Case, way: str, daemon: FakeDaemon, client: Node
) -> None:
    """As the case says; a failure leaves zeros, the next call has the right connection."""
    mode = "prediction_resistant" if case.get("prediction_resistance") else "direct"
    client.configure(path=str(daemon.path), mode=mode, timeout=timeout(case))
    with playing(daemon, case) as play:
        play.check(fill(client, case["length"], way))
    assert client.draw(4, way) == daemon.handed_out[-4:]
    if case["outcome"] != "OverQuota":  # its timeout may come in the middle of an attempt
        play.check_next(daemon.requests[-1][0])


@pytest.mark.parametrize("case", [case for case in REPLIES if case["op"] == "LEASE"], ids=named)
def test_a_lease_is_taken_or_refused(case: Case, daemon: FakeDaemon, client: Node) -> None:
    """As the case says, and the next lease is taken."""
    client.configure(path=str(daemon.path), timeout=timeout(case))
    with playing(daemon, case) as play:
        end = fill(client, 32, "sync")
        play.check(end)
    if end.outcome != "bytes":
        daemon.handler = Leasing()
        assert len(client.draw(4)) == 4


@pytest.mark.parametrize("case", [case for case in REPLIES if case["op"] == "INFO"], ids=named)
def test_an_info_is_taken_or_refused(case: Case, daemon: FakeDaemon, client: Node) -> None:
    """As the case says: its generation and its state, which are all that is used of it."""
    lib = json.dumps(str(PACKAGE / "lib"))
    with playing(daemon, case) as play:
        end = ended(
            client,
            "const { createRequire } = await import('node:module');"
            f" const lib = createRequire({lib} + '/x.js');"
            " const { Call } = lib('./connection.js'); const { reach } = lib('./pool.js');"
            " let one;"
            f" try {{ const {{ result }} = await reach({json.dumps(str(daemon.path))}, null,"
            "  (made) => { one = made; return made.ask(new Call(2, 0, 0)); });"
            " return ['info', [String(result.generation), result.state], false]; }"
            " finally { one.destroy(new Error('over')); }",
        )
        play.check(end)
    if end.outcome == "info":
        assert end.value == [case["info"]["generation"], case["info"]["state"]]


@pytest.mark.parametrize(
    "case",
    LEASES,
    ids=named,
)
def test_leases_give_and_end(case: Case, daemon: FakeDaemon, client: Node) -> None:
    """Their bytes, and their end by bytes, epoch and the daemon's."""
    client.configure(path=str(daemon.path), timeout=10_000)
    with granting(daemon, case, takes_pages=False) as grants:
        for step in case["steps"]:
            take_step(step, daemon, grants)
            if "draw" in step:
                # A change goes unnoticed for so long (docs/node.md).
                client.run(
                    "const cell = new Int32Array(new SharedArrayBuffer(4));"
                    f" Atomics.wait(cell, 0, 0, {MAX_AGE + 10})"
                )
                end = fill(client, step["draw"], "sync")
                grants.check(step, end.outcome, end.value)
