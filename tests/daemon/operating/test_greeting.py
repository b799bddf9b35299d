"""What the daemon prints once it knows its sources."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from pytest_mock import MockerFixture

from hwentropy_core.status import ServiceStatus, SourceStatus
from hwentropyd.operating.greeting import greet
from support import control_replies as replies


def source(**changes: Any) -> SourceStatus:
    """One source."""
    return convert(
        replies.source("tpm2", group="tpm0", min_entropy=4.0) | changes, SourceStatus
    )


def service(directory: Path, *sources: SourceStatus, seeded: bool = True) -> ServiceStatus:
    """A service with these sources and its sockets in a directory."""
    status = convert(replies.status()["status"], ServiceStatus)
    return replace(
        status,
        sources=list(sources),
        sockets=[str(directory / f"{name}.sock") for name in ("entropy", "control")],
        seeded_at=status.seeded_at if seeded else None,
    )


def printed(capsys: pytest.CaptureFixture[str], status: ServiceStatus) -> list[str]:
    """The lines of its greeting."""
    greet(status)
    return capsys.readouterr().out.splitlines()


def line_of(lines: list[str], name: str) -> str:
    """The one line of a source."""
    [line] = [line for line in lines if line.startswith(f"  {name} ")]
    return line


def test_one_line_for_each_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it gives, or why it does not and what to do."""
    lines = printed(
        capsys,
        service(
            tmp_path,
            source(name="os", facts={"a": "1", "b": "2"}),
            source(name="rdseed", strength=None, live=True),
            source(name="rdrand", credit=False),
            source(name="tpm2", state="absent", reason="no TPM", remedy="load tpm_crb"),
            source(name="hwrng", state="failed", reason="it broke"),
        ),
    )
    credited = "healthy  4 of 8 bits credited per sample"
    held = ", 256 a seed at most (group tpm0; a: 1, b: 2)"
    assert line_of(lines, "os").endswith(credited + held)
    assert line_of(lines, "rdseed").endswith(f"{credited} (group tpm0)")
    assert "mixed in, not credited (group tpm0)" in line_of(lines, "rdrand")
    assert line_of(lines, "tpm2").endswith("absent   no TPM; load tpm_crb")
    assert line_of(lines, "hwrng").endswith("failed   it broke")


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ((["cpu", "kernel"], 576), "seed: 576 bits, from cpu, kernel"),
        ((["kernel"], 256), "seed: 256 bits, all that is held, from kernel"),
    ],
)
def test_it_says_what_the_seed_is_worth(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    seed: tuple[list[str], int],
    said: str,
) -> None:
    """Its bits and groups; where they are less than `min_bits`, that there is no more."""
    groups, bits = seed
    status = replace(service(tmp_path, source()), seed_groups=groups, seed_bits=bits)
    assert said in printed(capsys, status)


def test_it_says_where_the_sockets_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its path."""
    lines = printed(capsys, service(tmp_path, source()))
    assert f"  {tmp_path}/entropy.sock" in lines
    assert f"  {tmp_path}/control.sock" in lines


def test_the_next_command_finds_this_daemon(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the variable where a client would look elsewhere, and without where it would not."""
    directory = tmp_path / "a directory"
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(tmp_path / "other"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "hwentropyd")])
    lines = printed(capsys, service(directory, source()))
    assert lines[-1].strip() == "" or lines[-1].startswith("try")
    [line] = [line for line in lines if line.startswith("try")]
    assert line.endswith(f"HWENTROPY_RUNTIME_DIR='{directory}' hwentropy get 32 --hex")
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(directory))
    [line] = [
        line for line in printed(capsys, service(directory, source())) if line.startswith("try")
    ]
    assert line == "try in another terminal: hwentropy get 32 --hex"


def test_the_next_command_is_the_one_beside_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a virtual environment: as short as it can be typed here."""
    command = tmp_path / ".venv" / "bin" / "hwentropy"
    command.parent.mkdir(parents=True)
    command.touch()
    monkeypatch.setattr(sys, "argv", [str(command.with_name("hwentropyd"))])
    monkeypatch.setenv("HWENTROPY_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "try in another terminal: .venv/bin/hwentropy get 32 --hex" in printed(
        capsys, service(tmp_path, source())
    )
    monkeypatch.chdir("/")
    lines = printed(capsys, service(tmp_path, source()))
    assert any(line.endswith(f"{str(command).lstrip('/')} get 32 --hex") for line in lines)


def test_it_greets_where_the_working_directory_is_gone(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mocker: MockerFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daemon outlives the directory it was started in."""
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "hwentropyd")])
    mocker.patch.object(Path, "cwd", side_effect=FileNotFoundError)
    assert any(line.startswith("try in another") for line in printed(capsys, service(tmp_path)))


def test_colours_are_for_terminals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mocker: MockerFixture
) -> None:
    """A journal or a file gets plain text."""
    states = ["healthy", "suspect", "failed", "absent", "starting"]
    one = service(tmp_path, *(source(name=state, state=state) for state in states))
    assert "\033" not in "\n".join(printed(capsys, one))
    mocker.patch.object(sys.stdout, "isatty", return_value=True)
    lines = printed(capsys, one)
    assert sum("\033[" in line for line in lines) == len(states)


def test_a_daemon_without_a_seed_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what it takes; a seeded one says nothing of it."""
    lines = printed(capsys, service(tmp_path, source(), seeded=False))
    [line] = [line for line in lines if "not seeded" in line]
    assert "320 credited bits from 1 or more groups" in line
    assert not any("not seeded" in line for line in printed(capsys, service(tmp_path)))
