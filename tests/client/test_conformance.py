"""The Python clients, blocking and asyncio, play the cases of conformance/."""

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hwentropy import HwentropyError, Info
from hwentropy.exchange import read_flags
from hwentropy.generator import Generator
from hwentropy.lease.reservoir import PythonReservoir, make_reservoir
from hwentropy_core import paths
from hwentropy_core.wire import Op, Request, RequestFlag, encode_request
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

REPLIES = cases("replies")
RESERVOIRS = pytest.mark.parametrize("make", [make_reservoir, PythonReservoir])


def named(case: Case) -> str:
    """A test's id."""
    return str(case["name"])


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """What a call gave, or the name of its error."""
    try:
        value = call()
    except HwentropyError as error:
        return type(error).__name__, None
    return ("info" if isinstance(value, Info) else "bytes"), value


def info_fields(info: Info) -> Case:
    """An INFO as the cases write it."""
    return {
        "protocol": list(info.protocols),
        "version": info.version,
        "state": info.state,
        "generation": str(info.generation),
        "max_read": info.max_read,
    }


@pytest.mark.parametrize("case", [case for case in REPLIES if case["op"] != "LEASE"], ids=named)
def test_a_reply_is_taken_or_refused(
    case: Case, daemon: FakeDaemon, make_client: Callable[..., Any], pauses: list[float]
) -> None:
    """As the case says; a failure leaves zeros, the next call has the right connection."""
    client = make_client()
    with playing(daemon, case) as play:
        if case["op"] == "INFO":
            how, value = outcome(client.info)
            play.check(Ended(how))
            if how == "info":
                assert info_fields(value) == case["info"]
        else:
            buffer = bytearray(b"\xaa" * case["length"])
            fresh = case.get("prediction_resistance", False)
            how, _ = outcome(
                lambda: (client.read_into(buffer, prediction_resistance=fresh), b"")[1]
            )
            play.check(Ended(how, bytes(buffer), client.degraded, client.not_live))
            assert how == "bytes" or not any(buffer)
        assert bool(pauses) == (case["outcome"] == "OverQuota")
    assert client.read(4) == daemon.handed_out[-4:]
    play.check_next(daemon.requests[-1][0])


@RESERVOIRS
@pytest.mark.parametrize("case", [case for case in REPLIES if case["op"] == "LEASE"], ids=named)
def test_a_lease_is_taken_or_refused(
    case: Case, make: Any, daemon: FakeDaemon, pauses: list[float]
) -> None:
    """As the case says; the next lease is asked for on the right connection."""
    with closing(Generator(make)) as generator:
        generator.configure(path=daemon.path)
        with playing(daemon, case) as play:
            how, value = outcome(lambda: generator.random_bytes(32))
            play.check(Ended(how, value, generator.is_degraded(), generator.is_not_live()))
        if how != "bytes":
            with closing(Leases()) as leases:
                daemon.handler = leases
                assert len(generator.random_bytes(4)) == 4
            first = next(n for n, request in daemon.requests[len(case["exchange"]) :])
            play.check_next(first)


@pytest.mark.parametrize("case", cases("pages"), ids=named)
def test_a_page_is_taken_or_refused(case: Case, daemon: FakeDaemon) -> None:
    """Its seals, size and magic; a refused one gives no byte."""
    with closing(Generator()) as generator, closing(Leases()) as leases, made_page(case) as fd:
        leases.fd = fd
        daemon.handler = leases
        generator.configure(path=daemon.path)
        assert outcome(lambda: generator.random_bytes(4))[0] == case["outcome"]


@pytest.mark.parametrize("case", cases("leases"), ids=named)
def test_leases_give_and_end(case: Case, daemon: FakeDaemon, clock: list[int]) -> None:
    """Their bytes, and their end by bytes, seconds, epoch and the daemon's."""
    with (
        closing(Generator(PythonReservoir)) as generator,
        granting(daemon, case, takes_pages=True) as grants,
    ):
        generator.configure(path=daemon.path)
        for step in case["steps"]:
            take_step(step, daemon, grants)
            clock[0] += step.get("advance", 0) * 10**9
            if "draw" in step:
                how, value = outcome(partial(generator.random_bytes, step["draw"]))
                grants.check(step, how, value)
        assert grants.granted == len(case["leases"])


@pytest.mark.parametrize("case", cases("requests"), ids=named)
def test_a_request_is_its_bytes(case: Case) -> None:
    """Op, flags, tag and length, big-endian."""
    flags = RequestFlag(
        read_flags(
            block=not case["dont_block"], prediction_resistance=case["prediction_resistance"]
        )
    )
    request = Request(Op[case["op"]], flags, case["tag"], case["length"])
    assert encode_request(request).hex() == case["bytes"]


@pytest.mark.parametrize("case", cases("paths"), ids=named)
def test_where_the_socket_is(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variables, the user, and what is there."""
    places = {"tmp": str(tmp_path / "tmp"), "system": str(tmp_path / "system")}
    for one in case["there"]:
        file = Path(one.format(**places))
        file.parent.mkdir(parents=True)
        file.touch()
    environment = {name: value.format(**places) for name, value in case["environment"].items()}
    system = Path(places["system"])
    monkeypatch.setattr(paths, "SYSTEM_DIR", system)
    found = paths.client_runtime_dir(environment, case["uid"], system)
    assert os.fspath(found / paths.ENTROPY_SOCKET) == case["socket"].format(**places)
