"""The benchmark's own arithmetic, its parsers, and one real run of its C programs."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.measure import Sample
from hypothesis import given
from hypothesis import strategies as st

from bench import load, machine, measure, plan, service, table
from support import needed


def sample(p50_us: float = 10.0, *, requests: int = 1000, size: int = 32) -> Sample:
    """One run of one second."""
    return Sample(
        size=size,
        connections=1,
        depth=1,
        requests=requests,
        repeats=0,
        seconds=1.0,
        p50_ns=round(p50_us * 1000),
        p99_ns=20_000,
        p999_ns=30_000,
        max_ns=40_000,
        client="c",
    )


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 1000))
def test_percentile_is_nearest_rank(values: list[int], permille: int) -> None:
    """At least `permille` per mille of the values do not exceed it; of no smaller one."""
    values.sort()
    found = measure.percentile(values, permille)
    assert found in values
    assert 1000 * sum(value <= found for value in values) >= permille * len(values)
    below = [value for value in values if value < found]
    assert not below or 1000 * len(below) < permille * len(values)


def test_percentile_of_nothing_is_refused() -> None:
    """No values have no percentile; a run without a request must not look like 0 ns."""
    with pytest.raises(ValueError, match="no request"):
        measure.percentile([], 500)


def test_paired_ratio_divides_out_a_drift_of_the_machine() -> None:
    """A machine that slows down fourfold between rounds leaves the ratio as it is."""
    drift = (1.0, 1.3, 4.0, 3.0, 1.1)
    theirs = [8.0 * slow for slow in drift]
    ours = [14.0 * slow for slow in drift]
    assert measure.paired_ratio(ours, theirs) == pytest.approx(1.75)


def test_paired_ratio_ignores_one_wild_round() -> None:
    """One round that something else disturbed does not move the ratio."""
    assert measure.paired_ratio([2, 2, 200, 2, 2], [1, 1, 1, 1, 1]) == 2


def test_paired_ratio_refuses_unequal_rounds() -> None:
    """Rounds that have no partner are a mistake of the caller, not cut off."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        measure.paired_ratio([1.0, 2.0], [1.0])


def test_spread_is_the_distance_of_the_quartiles() -> None:
    """Quartiles 20 and 40 around a median of 30: two thirds; one value spreads nothing."""
    assert measure.spread([10, 20, 30, 40, 50]) == pytest.approx(20 / 30)
    assert measure.spread([10]) == 0


def test_figure_counts_latency_or_throughput_as_asked() -> None:
    """A round trip's rounds are its p50 in us, bulk's are GB/s."""
    samples = [sample(10, requests=10**6, size=1000), sample(30, requests=3 * 10**6, size=1000)]
    assert measure.figure(samples, bulk=False).rounds == (10.0, 30.0)
    assert measure.figure(samples, bulk=True).rounds == (1.0, 3.0)
    assert measure.figure(samples, bulk=True).gigabytes_per_second == 2.0


def test_every_target_goes_first_equally_often() -> None:
    """Over as many rounds as targets each one leads once, and none is left out."""
    targets = ("a", "b", "c")
    orders = [measure.turn(targets, number) for number in range(3)]
    assert [order[0] for order in orders] == ["a", "b", "c"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("round trip, ratio to the floor", 2.0, 2.001),
        ("bulk 1 MiB, ratio to /dev/urandom", 5.0, 4.999),
        ("start to first byte", 1.0, 1.001),
    ],
)
def test_limits_are_met_on_the_limit_and_missed_beyond(
    name: str, inside: float, outside: float
) -> None:
    """A figure on its limit meets it; one beyond, on the side that matters, does not."""
    assert measure.judge(name, inside).met
    assert not measure.judge(name, outside).met


def test_verdicts_take_the_figures_of_one_connection() -> None:
    """The targets are for one connection; four connections do not change them."""
    cells = [
        {
            "kind": "round trip",
            "size": 32,
            "connections": connections,
            "one_cpu": one_cpu,
            "ratio_to_floor": {"hwentropy": ratio},
            "ratio_to_urandom": {},
        }
        for connections, one_cpu, ratio in (
            (1, False, 1.5),
            (4, False, 9.0),
            (1, True, 2.5),
        )
    ]
    found = {one["name"]: one for one in plan.verdicts(cells, [], None)}
    assert found["round trip, ratio to the floor"]["value"] == 1.5
    assert found["round trip, ratio to the floor"]["met"] is True
    assert found["round trip on one CPU, ratio to the floor"]["met"] is False
    assert found["start to first byte"]["met"] is None


def test_stat_of_a_process_with_brackets_in_its_name() -> None:
    """The parent is found behind a name that imitates the fields that follow it."""
    assert machine.parse_parent("42 (a) S 7 (b)) R 17 42 42 0 -1") == 17


def test_status_values_are_bytes() -> None:
    """VmRSS is printed in KiB and returned in bytes; an absent key is None."""
    status = "Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\n"
    assert machine.parse_kilobytes(status, "VmRSS") == 102_400
    assert machine.parse_kilobytes(status, "Pss") is None


def test_stolen_ticks_are_the_eighth_field() -> None:
    """Guest time, already within user time, is not counted twice."""
    assert machine.parse_stolen("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1") == (8, 36)


def test_a_placed_process_runs_where_it_was_put_and_so_do_its_children() -> None:
    """A process's affinity is set from outside and inherited by what it starts."""
    cpu = min(os.sched_getaffinity(0))
    script = "read go; grep Cpus_allowed_list /proc/self/status"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        machine.place([process.pid], {cpu})
        printed, _ = process.communicate("go\n")
    assert printed.split() == ["Cpus_allowed_list:", str(cpu)]


def test_a_client_that_prints_nonsense_is_an_error() -> None:
    """Neither broken JSON nor missing fields become a sample."""
    for printed in ("", "[]", '{"size": 1}', "not json"):
        with pytest.raises(service.BenchError):
            load.parse_sample(printed)


def test_a_server_that_ends_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    """The error shows what the server said, at once and not after the time limit."""
    command = ["sh", "-c", "echo no such luck >&2; exit 7"]
    server = service.Server(command, tmp_path / "s.sock", tmp_path / "log")
    with server, pytest.raises(service.BenchError, match=r"code 7(?s:.*)no such luck"):
        server.first_byte()


@pytest.fixture
def c_compiler() -> str:
    """The C compiler; skips where there is none."""
    found = load.compiler()
    needed.check("" if found else "no C compiler (cc, gcc, clang) for the bench's C programs")
    assert found is not None
    return found


@pytest.fixture
def floor(c_compiler: str, tmp_path: Path) -> Iterator[service.Server]:
    """A running floor server."""
    with service.start_floor(load.build("floor", c_compiler), tmp_path / "floor") as server:
        server.first_byte()
        yield server


@pytest.mark.parametrize("depth", [1, 2])
def test_c_client_measures_the_floor(
    c_compiler: str, floor: service.Server, depth: int
) -> None:
    """A short real run: counts, times and rates agree with one another."""
    got = load.c_client(c_compiler).run(
        str(floor.path), size=65536, connections=2, depth=depth, seconds=0.1
    )
    assert (got.size, got.connections, got.depth, got.client) == (65536, 2, depth, "c")
    assert got.requests > 10
    assert got.repeats == got.requests
    assert 0 < got.p50_ns <= got.p99_ns <= got.p999_ns <= got.max_ns
    assert 0.05 < got.seconds < 2
    # Little's law: no more than connections x depth requests were ever on the way.
    assert got.requests * got.p50_ns / 2 <= 2 * depth * got.seconds * 1e9


def test_clients_agree_on_the_kernel(c_compiler: str) -> None:
    """Both clients read getrandom and a device, and neither sees a repetition."""
    for client in (load.c_client(c_compiler), load.python_client()):
        for target in ("getrandom", "/dev/urandom"):
            got = client.run(target, size=4096, connections=1, depth=1, seconds=0.02)
            assert got.requests > 1
            assert got.repeats == 0


@pytest.mark.parametrize("which", ["c", "python"])
def test_a_run_is_no_shorter_than_its_longest_request(c_compiler: str, which: str) -> None:
    """Also where the main thread is woken when all is over: no rate is divided by zero."""
    client = load.c_client(c_compiler) if which == "c" else load.python_client()
    for _ in range(5):
        got = client.run("getrandom", size=32, connections=1, depth=1, seconds=1e-6)
        assert 0 < got.max_ns <= round(got.seconds * 1e9)
        assert got.per_second > 0


@pytest.mark.parametrize("which", ["c", "python"])
def test_a_refusal_is_never_a_fast_answer(c_compiler: str, tmp_path: Path, which: str) -> None:
    """A server that answers `not seeded` ends the run with an error that says so."""
    refusing = tmp_path / "refuse.py"
    refusing.write_text(
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "while True:\n"
        "    c = s.accept()[0]\n"
        "    if c.recv(8): c.sendall(bytes([1, 0, 0, 0, 0, 0, 0, 0]))\n"
    )
    path = tmp_path / "refuse.sock"

    client = load.c_client(c_compiler) if which == "c" else load.python_client()
    with service.Server(
        [sys.executable, str(refusing), str(path)], path, tmp_path / "log"
    ) as s:
        with pytest.raises(service.BenchError, match="did not answer"):
            s.first_byte()
        with pytest.raises(service.BenchError, match="refused with status 1"):
            client.run(str(path), size=32, connections=1, depth=1, seconds=0.1)


def test_report_is_json_and_prints_as_a_plain_table(c_compiler: str) -> None:
    """A whole report of floor and kernel survives JSON and prints without control codes."""
    settings = plan.Settings(
        rounds=1, small_runs=1, seconds=0.01, floor_only=True, parts=frozenset({"roundtrip"})
    )
    report = plan.Bench(settings, lambda _: None).report()
    out = io.StringIO()
    table.print_report(json.loads(json.dumps(report)), out)
    text = out.getvalue()
    assert "floor x1" in text
    assert "/dev/urandom x4" in text
    assert "not measured" in text
    assert "\x1b" not in text
