"""`hwentropy analyze`: what it reads, what it prints and draws, and how it ends."""

import json
import os
import pty
import random
import re
import select
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hwentropy.analysis.plot import autocorrelation
from hwentropy.command.cli import run
from support import needed
from support.daemon import Daemon
from support.fake_server import FakeDaemon
from support.script import environment
from support.terminal import in_terminal

ROOT = Path(__file__).parents[3]
CAUTION = "Passing proves little"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file of seeded, uniform bytes: "usual" by every statistic."""
    path = tmp_path / "good.bin"
    path.write_bytes(random.Random(12).randbytes(1 << 18))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file of text."""
    path = tmp_path / "bad.bin"
    path.write_bytes(b"all work and no play makes jack a dull boy\n" * 300)
    return path


@pytest.fixture
def needs_matplotlib() -> None:
    """Drawing is an extra."""
    needed.module("matplotlib", "the extra `plot` is not installed")


def command(*arguments: str) -> list[str]:
    """The command line of a real process."""
    return [sys.executable, "-m", "hwentropy", "analyze", *arguments]


def test_good_bytes_are_usual_and_that_proves_little(
    good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, five statistics, four lines of histogram, and the caution."""
    assert run(["analyze", str(good)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "good.bin: 262,144 bytes"
    assert [line.split()[-1] for line in lines[3:8]] == ["usual"] * 5
    assert [line[:4] for line in lines[-6:-2]] == ["00  ", "40  ", "80  ", "c0  "]
    assert lines[-1].startswith(f"Nothing unusual. {CAUTION}")
    assert "\x1b" not in out


def test_bad_bytes_fail_and_end_with_1(bad: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """So that a script can ask; the sentence says what failed."""
    assert run(["analyze", str(bad)]) == 1
    assert "Failed: these are not uniform random bytes." in capfd.readouterr().out


def test_json_has_everything(good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Numbers, not text; the histogram adds up; the caution is in it."""
    assert run(["analyze", str(good), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["source"], told["bytes"], told["judgement"]) == ("good.bin", 1 << 18, "usual")
    assert CAUTION in told["caution"]
    assert len(told["histogram"]) == 256
    assert sum(told["histogram"]) == 1 << 18
    data = good.read_bytes()
    run_, value, offset = (told["longest_run"][key] for key in ("length", "value", "offset"))
    assert data[offset : offset + run_] == bytes([value]) * run_
    names = [one["name"] for one in told["statistics"]]
    assert names == [
        *("bits_per_byte", "min_entropy_per_byte", "chi_square"),
        *("serial_correlation", "longest_run"),
    ]
    for one in told["statistics"]:
        assert 0 < one["p"] <= 1
        assert isinstance(one["value"], float)
        assert isinstance(one["expected"], float)


def test_standard_input_is_read_to_its_end(good: Path) -> None:
    """`-`: the same figures as the file's."""
    with good.open("rb") as stream:
        piped = subprocess.run(
            command("-", "--json"),
            stdin=stream,
            env=environment(),
            capture_output=True,
            check=True,
            timeout=60,
        )
    told = json.loads(piped.stdout)
    assert (told["source"], told["bytes"]) == ("standard input", 1 << 18)
    assert piped.stderr == b""


def test_live_bytes_come_from_the_daemon(
    daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--live N`: exactly the N bytes that were handed out."""
    assert (
        run(["--runtime-dir", str(daemon.directory), "analyze", "--live", "3M", "--json"]) < 2
    )
    told = json.loads(capfd.readouterr().out)
    assert told["bytes"] == len(daemon.handed_out) == 3 << 20
    assert told["histogram"] == [daemon.handed_out.count(bytes([v])) for v in range(256)]


def test_live_without_a_daemon_ends_with_3(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And says how to start it."""
    assert run(["--runtime-dir", str(tmp_path), "analyze", "--live", "1K"]) == 3
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of"),
        (["GOOD", "--live", "1K"], "give one of"),
        (["--live", "none"], "is not a size"),
        (["NOWHERE"], "cannot read"),
        (["DIRECTORY"], "cannot read"),
        (["EMPTY"], "is empty"),
        (["GOOD", "--plot", "OUT.gif"], "another ending"),
        (["GOOD", "--plot", "NOWHERE/OUT.png"], "cannot create"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str],
    said: str,
    good: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, nothing on standard output, nothing left behind."""
    if "--plot" in arguments and said == "cannot create":
        needed.module("matplotlib", "the extra `plot` is not installed")
    (tmp_path / "EMPTY").touch()
    (tmp_path / "DIRECTORY").mkdir()
    places = {"GOOD": str(good)}
    for name in ("NOWHERE", "DIRECTORY", "EMPTY", "OUT.gif", "NOWHERE/OUT.png"):
        places[name] = str(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    assert run(["analyze", *(places.get(word, word) for word in arguments)]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_plot_without_matplotlib_names_the_extra(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Before anything is read or written."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["analyze", str(good), "--plot", str(tmp_path / "out.png")]) == 2
    assert "hwentropy[plot]" in capfd.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_without_a_plot_nothing_heavy_is_imported(good: Path) -> None:
    """Neither matplotlib nor, for a small file, NumPy."""
    script = (
        "import sys; from hwentropy.command.cli import run; "
        f"code = run(['analyze', {str(good)!r}]); "
        "print({'matplotlib', 'numpy'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == "set()\n"


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file, their checksums checked."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at = 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", png, at + 8 + length)
        assert check == zlib.crc32(kind + body)
        yield kind, body
        at += 12 + length


@pytest.mark.parametrize("name", ["good", "bad"])
@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_each_picture_is_a_file_of_its_kind(
    name: str,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    needs_matplotlib: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It can be read back, has the three panels, and is the same for the same bytes."""
    source: Path = request.getfixturevalue(name)
    out = tmp_path / f"out.{kind}"
    code = 1 if name == "bad" else 0
    assert run(["analyze", str(source), "--plot", str(out)]) == code
    first = out.read_bytes()
    assert run(["analyze", str(source), "--plot", str(out)]) == code
    assert out.read_bytes() == first
    capfd.readouterr()
    if kind == "png":
        found = list(chunks(first))
        assert struct.unpack(">II", found[0][1][:8]) == (1650, 1125)
        assert found[-1] == (b"IEND", b"")
        pixels = zlib.decompress(b"".join(body for kind, body in found if kind == b"IDAT"))
        assert len(set(pixels)) > 2
        return
    text = first.decode()
    assert ("<svg" in text, "http-equiv" in text, "<script" in text) == (True, False, False)
    for title in ("How often each byte value occurs", "bits, ones black", "Autocorrelation of"):
        assert title in text
    if kind == "svg":
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours
    else:
        assert CAUTION in text
        assert f"<title>{source.name}</title>" in text


def test_what_a_picture_lacks_is_told_before_anything_is_read(
    daemon: FakeDaemon,
    tmp_path: Path,
    needs_matplotlib: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No directory, no regular file, a file for a directory: the daemon is not asked."""
    (tmp_path / "file").touch()
    (tmp_path / "fifo.png").symlink_to("/dev/null")
    start = ["--runtime-dir", str(daemon.directory), "analyze", "--live", "2M", "--plot"]
    for name in ("nowhere/out.png", "file/out.png", "fifo.png"):
        assert run([*start, str(tmp_path / name)]) == 2
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)
    assert not daemon.requests


def test_a_picture_of_nothing_leaves_no_file(
    tmp_path: Path, needs_matplotlib: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor a half one beside the old one, which stays."""
    picture = tmp_path / "out.png"
    picture.write_text("old")
    (tmp_path / "empty").touch()
    assert run(["analyze", str(tmp_path / "empty"), "--plot", str(picture)]) == 2
    assert "is empty" in capfd.readouterr().err
    assert picture.read_text() == "old"
    assert {one.name for one in tmp_path.iterdir()} == {"out.png", "empty"}


def test_a_name_cannot_break_out_of_the_page(
    tmp_path: Path, needs_matplotlib: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Markup, mathematics and control characters in a file's name stay text."""
    source = tmp_path / "<img onerror=x> $\\frac$ \x1b[31m.bin"
    source.write_bytes(bytes(range(256)) * 10)
    assert run(["analyze", str(source), "--plot", str(tmp_path / "out.html")]) == 1
    page = (tmp_path / "out.html").read_text()
    assert "<img" not in page
    assert "&lt;img onerror=x&gt; $\\frac$ ?[31m.bin" in page
    assert "\x1b" not in page + capfd.readouterr().out


def test_the_autocorrelation_is_its_definition(needs_matplotlib: None) -> None:
    """Computed a second way; a period shows at its lag and at no other."""
    data = random.Random(5).randbytes(500)
    mean = sum(data) / 500
    squares = sum((x - mean) ** 2 for x in data)
    expected = [
        sum((data[i] - mean) * (data[i + k] - mean) for i in range(500 - k)) / squares
        for k in range(1, 8)
    ]
    assert autocorrelation(data, 7) == pytest.approx(expected)
    periodic = autocorrelation(random.Random(6).randbytes(11) * 300, 22)
    assert [at + 1 for at, r in enumerate(periodic) if r > 0.9] == [11, 22]
    assert autocorrelation(b"xxx", 64) == [1.0, 1.0]
    assert autocorrelation(b"x", 64) == []


def test_ascii_where_unicode_cannot_be_shown(good: Path) -> None:
    """In a C locale the histogram is drawn with ASCII characters."""
    done = subprocess.run(
        command(str(good)),
        env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.isascii()
    assert re.search(rb"^00  [_.\-=+*%#]{64}$", done.stdout, re.MULTILINE)


def test_typing_ends_with_one_end_of_file() -> None:
    """A line, and Ctrl-D once: what was typed is analyzed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("-"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        os.close(theirs)
        os.write(ours, b"typed\n\x04")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    assert out.startswith(b"standard input: 6 bytes\n")
    assert err == b""


def test_on_a_terminal_it_is_in_colour(bad: Path) -> None:
    """And says the same."""
    code, shown = in_terminal(command(str(bad)), **environment())
    assert code == 1
    assert b"\x1b[1;31mfailed" in shown
    assert CAUTION.encode() in shown


def test_a_slow_one_shows_that_it_works() -> None:
    """While standard input gives nothing more, a terminal on standard error sees a display."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="100"),
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        assert process.stdout is not None
        shown = b""
        deadline = time.monotonic() + 60
        while b"analyzing" not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536)
        process.stdin.write(random.Random(7).randbytes(100_000))
        process.stdin.close()
        assert b"standard input: 100,000 bytes" in process.stdout.read()
        assert process.wait(60) == 0
    os.close(ours)


def test_the_examples_of_real_bytes(
    real_daemon: Daemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """A million bytes of the real daemon do not fail (a false alarm: one in 200,000 runs)."""
    assert run(["--runtime-dir", str(real_daemon.directory), "analyze", "--live", "1MB"]) == 0
    assert "the daemon: 1,000,000 bytes" in capfd.readouterr().out
