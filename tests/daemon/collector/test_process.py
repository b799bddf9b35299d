"""A collector's end of its channel, over a real one, with the test as the supervisor."""

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_mock import MockerFixture

from hwentropy_sources import registry
from hwentropy_sources.contract import SourceAbsent, SourceError
from hwentropy_sources.kernel.getrandom import OsRandom
from hwentropyd.collector import messages
from hwentropyd.collector.messages import (
    Absent,
    Answer,
    Check,
    Close,
    Closed,
    CollectorSettings,
    Describe,
    Described,
    Failed,
    Open,
    Question,
    Raised,
    Read,
    Ready,
    Rejected,
    WrongLength,
)
from hwentropyd.collector.process import DATA_BYTES, DESCRIPTORS, Collector, prepare, silence

PATIENCE = 20.0


class Bench:
    """The supervisor's end of a collector that runs in a thread."""

    def __init__(self, kind: str = "os", table: dict[str, object] | None = None) -> None:
        self.sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        settings = CollectorSettings(kind, table or {}, silent=True)
        self.thread = threading.Thread(target=Collector(self.theirs, settings).serve)
        self.thread.start()
        assert self.answer() == Ready()

    def answer(self) -> Answer | bytes:
        """The next one; samples as they are."""
        datagram = self.sock.recv(messages.MESSAGE_BYTES)
        if datagram[0] == messages.DATA:
            return datagram[1:]
        return messages.decode_answer(memoryview(datagram))

    def ask(self, question: Question) -> Answer | bytes:
        """The answer to a question."""
        self.sock.send(msgspec.msgpack.encode(question))
        return self.answer()


@contextmanager
def collector(kind: str = "os", table: dict[str, object] | None = None) -> Iterator[Bench]:
    """One of its own; it ends with its channel."""
    bench = Bench(kind, table)
    yield bench
    bench.sock.close()
    bench.thread.join(PATIENCE)
    assert not bench.thread.is_alive()
    bench.theirs.close()


def test_a_source_is_described_opened_read_and_closed() -> None:
    """Question by question; samples as bytes behind DATA."""
    with collector() as bench:
        for question in (Check(), Open(), Describe()):
            described = bench.ask(question)
            assert isinstance(described, Described)
            assert described.bits_per_sample == 8
        samples = bench.ask(Read(64, 64, 1.0))
        assert isinstance(samples, bytes)
        assert len(samples) == 64
        assert any(samples)
        assert bench.ask(Close()) == Closed()


def test_a_table_that_does_not_suit_is_rejected_by_its_key() -> None:
    """With the sentence for whoever wrote it."""
    with collector("os", {"colour": 1}) as bench:
        rejected = bench.ask(Check())
        assert isinstance(rejected, Rejected)
        assert rejected.path == ["colour"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (SourceAbsent("no device", "plug it in"), Absent("no device", "plug it in")),
        (SourceError("it broke", "mend it"), Failed("it broke", "mend it")),
        (KeyboardInterrupt(), Raised("KeyboardInterrupt", "")),
        (SystemExit(3), Raised("SystemExit", "")),
    ],
)
def test_whatever_a_source_raises_is_an_answer(
    mocker: MockerFixture, error: BaseException, answer: Answer
) -> None:
    """Never the end of the process."""
    mocker.patch.object(OsRandom, "open", side_effect=error)
    with collector() as bench:
        told = bench.ask(Open())
        if isinstance(told, Raised):
            told = msgspec.structs.replace(told, place="")
        assert told == answer
        assert bench.ask(Close()) == Closed()


def test_a_wrong_length_is_said_and_not_sent() -> None:
    """As many bytes as there were."""
    with collector() as bench:
        bench.ask(Open())
        assert bench.ask(Read(64, 65, 1.0)) == WrongLength(64)


@pytest.mark.parametrize("given", [5, "text", None, [1, 2]])
def test_what_is_no_bytes_is_an_error(mocker: MockerFixture, given: Any) -> None:
    """A number would become that many zeros."""
    mocker.patch.object(OsRandom, "read", return_value=given)
    with collector() as bench:
        assert isinstance(bench.ask(Read(5, 5, 1.0)), Raised)


def test_samples_are_overwritten_once_they_are_sent(mocker: MockerFixture) -> None:
    """In the buffer that the source gave, where it can be written to."""
    given = bytearray(b"x" * 16)
    mocker.patch.object(OsRandom, "read", return_value=given)
    with collector() as bench:
        assert bench.ask(Read(16, 16, 1.0)) == b"x" * 16
        assert given == bytes(16)


def test_the_limits_come_before_the_first_line_of_others_code(mocker: MockerFixture) -> None:
    """Memory, descriptors and confinement: no class is loaded, nothing said, before them."""
    done: list[Any] = []

    def note(what: str) -> Callable[..., None]:
        return lambda *_, **__: done.append(what)

    mocker.patch.object(resource, "setrlimit", side_effect=lambda *given: done.append(given))
    mocker.patch("hwentropyd.collector.process.silence", side_effect=note("silent"))
    mocker.patch("hwentropyd.confinement.confine_collector", side_effect=note("confined"))
    load = mocker.patch.object(registry, "source_class")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(msgspec.msgpack.encode(CollectorSettings("os", {}, silent=True)))
        prepare(theirs)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    load.assert_not_called()
    assert done[0] == "silent"
    assert done[-1] == "confined"
    limits = {limit: most for limit, (most, _) in done[1:-1]}
    assert limits[resource.RLIMIT_DATA] <= DATA_BYTES
    assert limits[resource.RLIMIT_NOFILE] <= DESCRIPTORS
    assert resource.RLIMIT_AS in limits


@pytest.mark.parametrize(("output_only", "left"), [(True, "on error"), (False, "")])
def test_what_is_printed_goes_nowhere(tmp_path: Path, output_only: bool, left: str) -> None:  # noqa: FBT001
    """It may be samples.  Errors too, but where a plug-in's author wants to see them."""
    file = tmp_path / "printed"
    kept = [os.dup(fd) for fd in (1, 2)]
    try:
        with file.open("wb") as output:
            for fd in (1, 2):
                os.dup2(output.fileno(), fd)
        silence(output_only=output_only)
        os.write(1, b"on output")
        os.write(2, b"on error")
    finally:
        for fd, one in zip((1, 2), kept, strict=True):
            os.dup2(one, fd)
            os.close(one)
    assert file.read_text() == left
