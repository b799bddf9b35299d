"""What the seed log is told of a seed, and a day of it."""

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hwentropy.history import SeedLogReader
from hwentropy_core.status import SourceStatus
from hwentropyd.config.schema import SeedLogConfig
from hwentropyd.operating.history import History, seed_fields
from hwentropyd.sampling.sampler import Sampler
from hwentropyd.seeding.availability import Cause
from hwentropyd.seeding.pool import Seed
from support import control_replies as replies

#: Nothing that holds it may be written.
MARKER = b"MARKER-OF-ENTROPY"
DAY = 24 * 60


def a_source(name: str, samples: int, alarms: dict[str, int] | None = None) -> SourceStatus:
    fields = replies.source(name)
    fields |= {"samples": samples, "alarm_counts": alarms or {}, "group": f"group of {name}"}
    return SourceStatus(**fields)


def a_seed() -> Seed:
    return Seed(
        [(b"source os", bytearray(MARKER))], {"os": 256.0, "tpm2": 64.0}, frozenset({"b", "a"})
    )


def test_a_record_says_what_each_source_gave_since_the_last() -> None:
    """Counts since the start become counts since the seed before."""
    before = {"os": a_source("os", 1000, {"rct": 1})}
    now = {
        "os": a_source("os", 1500, {"rct": 1, "hang": 2}),
        "tpm2": a_source("tpm2", 70),
    }
    fields = seed_fields(a_seed(), Cause.SCHEDULED_TIME, 7, before, now)
    assert {name: fields[name] for name in ("generation", "cause", "groups", "bits")} == {
        "generation": 7,
        "cause": "scheduled_time",
        "groups": ["a", "b"],
        "bits": 320.0,
    }
    assert fields["sources"] == {
        "os": {
            "group": "group of os",
            "state": "healthy",
            "bits": 256.0,
            "samples": 500,
            "alarms": {"hang": 2},
        },
        "tpm2": {
            "group": "group of tpm2",
            "state": "healthy",
            "bits": 64.0,
            "samples": 70,
            "alarms": {},
        },
    }


@pytest.fixture
def day(tmp_path: Path, mocker: MockerFixture) -> Path:
    """The log of a day's service: a start, a seed a minute, a stop."""
    sampler = mocker.create_autospec(Sampler, instance=True)
    sampler.name, sampler.kind = "os", "os"
    history = History(SeedLogConfig(), tmp_path, [sampler])
    mocker.patch("hwentropyd.operating.history.STOP_SECONDS", 20.0)
    mocker.patch("hwentropyd.operating.seed_recorder.QUEUE_RECORDS", 2 * DAY)
    clock = mocker.patch("time.time", return_value=1_700_000_000.0)
    history = History(SeedLogConfig(), tmp_path, [sampler])
    history.start()
    for minute in range(DAY):
        clock.return_value += 60
        sampler.status.return_value = a_source("os", 40 * minute)
        history.note_seed(a_seed(), Cause.SCHEDULED_TIME, minute + 1)
    history.stop()
    return tmp_path


def test_a_days_log_verifies(day: Path) -> None:
    """Each of its records is there, with its time; none holds what was in the seed."""
    reader = SeedLogReader(day)
    assert (reader.verify().problems, reader.verify().records) == ([], DAY + 2)
    kinds = [record["kind"] for record in reader.records()]
    assert kinds == ["start", *["seed"] * DAY, "stop"]
    assert MARKER not in b"".join(path.read_bytes() for path in day.iterdir())


def test_a_days_log_that_was_tampered_with_does_not(day: Path) -> None:
    """Changed, cut at either end, and reordered."""
    [path] = day.glob("*.log")
    lines = path.read_bytes().splitlines(keepends=True)
    changed = [*lines]
    changed[700] = changed[700].replace(b'"bits":256', b'"bits":512')
    moved = [*lines]
    moved[3], moved[4] = moved[4], moved[3]
    for tampered in (changed, moved, lines[:-1], lines[1:], lines[:700] + lines[701:]):
        path.write_bytes(b"".join(tampered))
        assert SeedLogReader(day).verify().problems
    path.write_bytes(b"".join(lines))
    assert not SeedLogReader(day).verify().problems


def test_without_a_log_nothing_is_written(tmp_path: Path) -> None:
    """`[seed_log] enabled = false`."""
    history = History(SeedLogConfig(enabled=False), tmp_path, [])
    history.start()
    history.note_seed(a_seed(), Cause.FIRST, 1)
    history.stop()
    assert list(tmp_path.iterdir()) == []
    assert history.status().directory == ""
