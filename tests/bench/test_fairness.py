"""The benchmark of fairness: what it reads and reckons; the attacks themselves are not run."""

import socket
import threading
import time
from pathlib import Path

import pytest
from bench.fairness import ATTACKS, Attack, sum_of_unread
from bench.measure import Sample

from bench import crowd, fairness


def sample(p99_us: float) -> Sample:
    """A run with this p99."""
    at = round(p99_us * 1000)
    return Sample(32, 1, 1, 100, 0, 1.0, at // 2, at, at * 2, at * 3, "c")


def test_what_ss_prints_is_summed_for_one_directory() -> None:
    """The send memory, of all sockets whose path is in it."""
    line = "u_str ESTAB 0 9 {} 1 * 2 skmem:(r7,rb212992,t{},tb212992,f0,w0,o0,bl0,d0)"
    printed = "\n".join(
        [
            line.format("/run/hwf-1/daemon/entropy.sock", 1000),
            line.format("/run/hwf-1/daemon/stream.sock", 200),
            line.format("/run/hwf-2/daemon/entropy.sock", 4),
            "u_str ESTAB 0 0 /run/hwf-1/daemon/entropy.sock 1 * 2",
        ]
    )
    assert sum_of_unread(printed, "/run/hwf-1/daemon") == 1200
    assert sum_of_unread("", "/run/hwf-1/daemon") == 0


@pytest.mark.parametrize(
    ("attack", "met", "missed", "unit"),
    [
        (Attack("idle", 10, 3.0, relative=True), 290.0, 310.0, "x"),
        (Attack("greedy", 10, 10.0, relative=False), 9_900.0, 10_100.0, "ms"),
    ],
)
def test_a_bar_is_met_or_missed(attack: Attack, met: float, missed: float, unit: str) -> None:
    """To the unloaded p99 of 100 us, or in milliseconds."""
    for p99, expected in ((met, True), (missed, False)):
        run = (8, sample(100.0), sample(p99), 1.5)
        cell = fairness._cell(attack, "hwentropy", [run, run])
        assert (cell.admitted, cell.unloaded_p99_us, cell.kernel_mb) == (8, 100.0, 1.5)
        shown = fairness._target(attack, [cell])
        assert (shown["met"], shown["unit"], shown["limit"]) == (expected, unit, attack.limit)


def test_every_attack_is_a_kind_of_crowd() -> None:
    """Also those that the C server gets."""
    kinds = {attack.kind for attack in ATTACKS} | {attack.against_floor for attack in ATTACKS}
    assert kinds - {""} <= set(crowd.KINDS)


def test_a_crowd_counts_who_was_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five connections one is refused with a status and one is closed."""
    monkeypatch.setattr(crowd, "SETTLE", 0.0)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        taken: list[socket.socket] = []

        def accept() -> None:
            taken.extend(listener.accept()[0] for _ in range(5))
            taken[1].sendall(crowd.HEADER.pack(crowd.OVER_QUOTA, 0, 0, 0))
            taken[2].close()

        thread = threading.Thread(target=accept)
        monkeypatch.setattr(time, "sleep", lambda _: thread.join())
        thread.start()
        came = crowd.Crowd("greedy", str(path), 5)
        assert len(came) == 3
        came.begin()
        assert taken[0].recv(64) == crowd.REQUESTS["greedy"]
        came.close()
        for sock in taken:
            sock.close()
