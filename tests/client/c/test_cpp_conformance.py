"""The C and C++ clients play the cases of conformance/."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hwentropy_core.wire import Request, encode_request
from support.compiled import PROGRAMS, Compiler, Native
from support.conformance import (
    Case,
    Ended,
    cases,
    granting,
    made_page,
    playing,
    take_step,
)
from support.fake_leases import Leases
from support.fake_server import FakeDaemon

pytestmark = pytest.mark.process

#: Longer than any answer takes, short enough that a client that waits for one more is
#: noticed soon.
PATIENCE_MS = 10_000

#: They read no INFO.
REPLIES = [case for case in cases("replies") if case["op"] != "INFO"]


def named(case: Case) -> str:
    """A test's id."""
    return str(case["name"])


@pytest.fixture(scope="module", params=["probe.c", "probe.cpp"])
def client(request: pytest.FixtureRequest, compiler: Compiler) -> Iterator[Native]:
    """One process for all cases; each opens a client of its own in it."""
    with Native(compiler(PROGRAMS / request.param)) as probe:
        yield probe


def outcome(client: Native, size: int) -> tuple[str, bytes]:
    """What a draw gave, or its error by the name it has in Python."""
    words = client.ask(f"fill {size}").split(" ", 2)
    if words[0] == "ok":
        return "bytes", bytes.fromhex(words[1])
    return "".join(part.capitalize() for part in words[1].split("_")), b""


def says(client: Native, what: str) -> bool:
    """What it says of the last draw."""
    return client.ask(what) == "ok 1"


@pytest.mark.parametrize("case", REPLIES, ids=named)
def test_a_reply_is_taken_or_refused(case: Case, daemon: FakeDaemon, client: Native) -> None:
    """As the case says; a failure leaves zeros, the next call has the right connection."""
    read = case["op"] == "READ"
    fresh = case.get("prediction_resistance", False)
    mode = ("prediction_resistant" if fresh else "direct") if read else "lease"
    client.open(daemon.path, mode, timeout_ms=PATIENCE_MS)
    with playing(daemon, case) as play:
        how, value = outcome(client, case["length"] if read else 32)
        marks = says(client, "degraded"), says(client, "not_live")
        play.check(Ended(how, value, *marks))
    asked = len(daemon.requests)
    if read:
        assert client.draw(4) == daemon.handed_out[-4:]
        play.check_next(daemon.requests[asked][0])
    elif how != "bytes":
        with closing(Leases()) as leases:
            daemon.handler = leases
            assert len(client.draw(4)) == 4
        play.check_next(daemon.requests[asked][0])


@pytest.mark.parametrize("case", cases("pages"), ids=named)
def test_a_page_is_taken_or_refused(case: Case, daemon: FakeDaemon, client: Native) -> None:
    """Its seals, size and magic; a refused one gives no byte and stays open nowhere."""
    descriptors = Path(f"/proc/{client.pid}/fd")
    with closing(Leases()) as leases, made_page(case) as fd:
        leases.fd = fd
        daemon.handler = leases
        client.open(daemon.path, "lease")
        before = len(list(descriptors.iterdir()))
        assert outcome(client, 4)[0] == case["outcome"]
        kept = case["outcome"] == "bytes"  # the connection
        assert len(list(descriptors.iterdir())) == before + kept


@pytest.mark.parametrize("case", cases("leases"), ids=named)
def test_leases_give_and_end(case: Case, daemon: FakeDaemon, client: Native) -> None:
    """Their bytes, and their end by bytes, seconds, epoch and the daemon's."""
    client.open(daemon.path, "lease")
    with granting(daemon, case, takes_pages=True) as grants:
        for step in case["steps"]:
            take_step(step, daemon, grants)
            if "advance" in step:
                client.ask(f"advance {step['advance']}")
            if "draw" in step:
                grants.check(step, *outcome(client, step["draw"]))


@pytest.mark.parametrize("case", cases("requests"), ids=named)
def test_a_request_is_its_bytes(case: Case, daemon: FakeDaemon, native_c: Native) -> None:
    """Op, flags, tag and length, big-endian."""
    if case["op"] == "INFO":
        pytest.skip("it sends no INFO")
    leases = Leases()
    daemon.handler = leases
    mode = "prediction_resistant" if case["prediction_resistance"] else "direct"
    lease = case["op"] == "LEASE"
    native_c.open(daemon.path, "lease" if lease else mode, block=not case["dont_block"])
    native_c.draw(1)
    leases.page.generation += 1
    native_c.ask(f"tag {case['tag']}")
    native_c.draw(case["length"] or 1)
    leases.close()
    request = daemon.requests[-1][1]
    assert isinstance(request, Request)
    assert encode_request(request).hex() == case["bytes"]


@pytest.mark.parametrize("case", cases("paths"), ids=named)
def test_where_the_socket_is(case: Case, tmp_path: Path, compiler: Compiler) -> None:
    """By the variables, the user, and what is there."""
    if os.geteuid() not in {0, case["uid"]}:
        pytest.skip("needs root, to become somebody else")
    places = {"tmp": str(tmp_path / "tmp"), "system": str(tmp_path / "system")}
    for one in case["there"]:
        file = Path(one.format(**places))
        file.parent.mkdir(parents=True)
        file.touch()
    done = subprocess.run(
        [compiler(PROGRAMS / "paths.c"), str(case["uid"]), places["system"]],
        capture_output=True,
        text=True,
        check=True,
        env={name: value.format(**places) for name, value in case["environment"].items()},
    )
    assert done.stdout == case["socket"].format(**places)
