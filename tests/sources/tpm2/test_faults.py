"""Faults between libtss2 and a TPM (swtpm), put on the bus by a transport of ours."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwentropy_sources.contract import STARTUP_SAMPLES, SourceAbsent, SourceError
from hwentropy_sources.health import HealthTests
from hwentropy_sources.health.repeats import KEY_BYTES
from hwentropy_sources.tpm2.errors import Fault, TpmError
from hwentropy_sources.tpm2.source import BUSY_PAUSE, Tpm2, Tpm2Config
from support import needed
from support.swtpm import SoftwareTpm, missing_swtpm

bus_faults = needed.module("support.tpm_bus", "tpm2-pytss is not installed")
pytestmark = [
    pytest.mark.process,
    needed.needs(missing_swtpm()),
]

answer = bus_faults.answer
random_answer = bus_faults.random_answer
wanted_bytes = bus_faults.wanted_bytes


class FakeTime:
    """A clock that moves when somebody sleeps, or by `step` at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step
        self.slept: list[float] = []

    def clock(self) -> float:
        """Seconds."""
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        """Jump."""
        self.slept.append(seconds)
        self.now += seconds


class Bench:
    """A source on a bus that faults can be put on."""

    def __init__(self, source: Tpm2, buses: list[Any]) -> None:
        self.source = source
        self._buses = buses

    @property
    def bus(self) -> Any:
        """The bus of the connection that is open."""
        return self._buses[-1]

    @property
    def buses(self) -> list[Any]:
        """Those of every connection so far."""
        return self._buses

    def instead(self, fault: Callable[[bytes], bytes | None]) -> None:
        """Answer in the TPM's place."""
        self.bus.instead = fault


BenchMaker = Callable[..., Bench]


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """One TPM for all: nothing here may leave anything on it."""
    with SoftwareTpm(tmp_path_factory.mktemp("tpm")) as started:
        yield started


@pytest.fixture
def bench(tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> Iterator[BenchMaker]:
    """Makes an opened source on a faulty bus."""
    made: list[Tpm2] = []
    buses: list[Any] = []

    def load(tcti: str) -> Any:
        buses.append(bus_faults.FaultyBus(tcti))
        return buses[-1]

    monkeypatch.setattr("hwentropy_sources.tpm2.session.load_tcti", load)

    def make(session: str, time: FakeTime | None = None) -> Bench:
        config = Tpm2Config(
            tcti=tpm.tcti, session="plain" if session == "plain" else "encrypted"
        )
        source = (
            Tpm2(config) if time is None else Tpm2(config, clock=time.clock, sleep=time.sleep)
        )
        source.open()
        made.append(source)
        return Bench(source, buses)

    yield make
    for source in made:
        source.close()


both_sessions = pytest.mark.parametrize("session", ["plain", "encrypted"])


class Recorder:
    """Keeps what passes, changed by `change`."""

    def __init__(self, change: Callable[[bytes], bytes] = lambda data: data) -> None:
        self.passed: list[bytes] = []
        self._change = change

    def __call__(self, data: bytes) -> bytes:
        """One answer."""
        self.passed.append(self._change(data))
        return self.passed[-1]


def flip(data: bytes, bit: int) -> bytes:
    """With one bit turned over."""
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_a_flipped_bit_anywhere_is_caught(bench: BenchMaker) -> None:
    """In an encrypted session no bit of an answer may change: an error, never bytes."""
    tried = bench("encrypted")
    recorder = tried.bus.garble = Recorder()
    tried.source.read(32, 5.0)
    length = len(recorder.passed[0])
    assert length > 32 + 32  # the data and an HMAC
    for byte in range(length):
        # One bit of each byte, another one each time.
        tried.bus.garble = lambda data, bit=8 * byte + byte % 8: flip(data, bit)
        with pytest.raises(SourceError):
            tried.source.read(32, 5.0)
        tried.source.open()


@pytest.mark.parametrize("at", [16, 47, -1])
def test_a_flipped_bit_is_called_what_it_is(bench: BenchMaker, at: int) -> None:
    """First and last encrypted byte, and the HMAC: "tampered with or garbled on the bus"."""
    tried = bench("encrypted")
    tried.bus.garble = lambda data: flip(data, 8 * (at % len(data)))
    with pytest.raises(TpmError, match="tampered with or garbled on the bus") as failed:
        tried.source.read(32, 5.0)
    assert failed.value.meaning.fault is Fault.TAMPERED
    tried.bus.garble = None
    with pytest.raises(SourceError):
        tried.source.read(32, 5.0)
    tried.source.close()
    tried.source.open()
    assert len(tried.source.read(32, 5.0)) == 32


def test_a_plain_session_does_not_notice_a_flipped_bit(bench: BenchMaker) -> None:
    """The documented price of `session = "plain"`."""
    tried = bench("plain")
    recorder = tried.bus.garble = Recorder(lambda data: flip(data, 8 * 20))
    assert tried.source.read(32, 5.0) == recorder.passed[0][12:44]


def test_tampered_sessions_are_not_left_on_the_tpm(bench: BenchMaker) -> None:
    """More failures in a row than the TPM has room for: each session is ended all the same."""
    tried = bench("encrypted")
    for _ in range(8):  # swtpm has room for three
        tried.bus.garble = lambda data: flip(data, 8 * 20)
        with pytest.raises(SourceError):
            tried.source.read(32, 5.0)
        tried.source.close()
        tried.source.open()


@both_sessions
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x101, "TPM_RC_FAILURE"),
        (0x120, "TPM_RC_DISABLED"),
        (0x907, "TPM_RC_LOCALITY"),
        (0x921, "TPM_RC_LOCKOUT"),
    ],
)
def test_error_answers_are_decoded(
    bench: BenchMaker, session: str, code: int, words: str
) -> None:
    """The TPM's own code is named, at the first answer."""
    tried = bench(session)
    tried.instead(lambda _: answer(code))
    with pytest.raises(TpmError, match=f"the TPM answered {words}"):
        tried.source.read(32, 5.0)
    assert tried.bus.asked == 1


@both_sessions
@pytest.mark.parametrize("code", [0x922, 0x908, 0x90A])
def test_a_busy_tpm_is_asked_again(bench: BenchMaker, session: str, code: int) -> None:
    """RETRY, YIELDED and TESTING are waited out."""
    time = FakeTime()
    tried = bench(session, time)
    # ESAPI asks five times by itself before it gives up.
    tried.instead(lambda _: answer(code) if tried.bus.asked <= 12 else None)
    assert len(tried.source.read(32, 5.0)) == 32
    assert time.slept
    assert set(time.slept) == {BUSY_PAUSE}


@both_sessions
def test_a_tpm_that_stays_busy_is_given_up_in_time(bench: BenchMaker, session: str) -> None:
    """RETRY for ever ends at the timeout, with its name."""
    time = FakeTime()
    tried = bench(session, time)
    tried.instead(lambda _: answer(0x922))
    with pytest.raises(TpmError, match="TPM_RC_RETRY"):
        tried.source.read(32, 1.0)
    assert time.now == pytest.approx(1.0)


@both_sessions
def test_a_slow_tpm_is_given_up_in_time(bench: BenchMaker, session: str) -> None:
    """Answers that come too slowly for the whole read end it, saying how far it got."""
    tried = bench(session, FakeTime(step=1.0))
    with pytest.raises(SourceError, match="64 of 256 bytes within 1 s"):
        tried.source.read(256, 1.0)


@pytest.mark.parametrize("most", [1, 8, 32, 48])
def test_short_answers_are_added_up(bench: BenchMaker, most: int) -> None:
    """A TPM may give less than asked: the read asks on, and loses and repeats nothing."""
    tried = bench("plain")
    given_out = bytearray()

    def some(command: bytes) -> bytes:
        part = bytes(
            (len(given_out) + n) % 256 for n in range(min(most, wanted_bytes(command)))
        )
        given_out.extend(part)
        return bytes(random_answer(part))

    tried.instead(some)
    assert tried.source.read(100, 5.0) == bytes(range(100))
    assert tried.bus.asked == -(-100 // most)


@both_sessions
def test_an_empty_answer_is_an_error(bench: BenchMaker, session: str) -> None:
    """No bytes and no error: said so at once, not asked for ever."""
    tried = bench(session)
    tried.instead(lambda _: random_answer(b""))
    with pytest.raises(SourceError):
        tried.source.read(32, 5.0)
    assert tried.bus.asked == 1


def test_an_empty_plain_answer_is_called_empty(bench: BenchMaker) -> None:
    """The sentence for it; in an encrypted session its HMAC is missing before that."""
    tried = bench("plain")
    tried.instead(lambda _: random_answer(b""))
    with pytest.raises(SourceError, match="no bytes at all"):
        tried.source.read(32, 5.0)


@both_sessions
def test_more_than_asked_is_an_error(bench: BenchMaker, session: str) -> None:
    """A TPM that gives 33 bytes for 32 lies about something."""
    tried = bench(session)
    tried.instead(lambda _: random_answer(bytes(33)))
    with pytest.raises(SourceError):
        tried.source.read(32, 5.0)


@both_sessions
def test_an_answer_cut_short_is_never_filled_up(bench: BenchMaker, session: str) -> None:
    """Cut off at any byte it is an error: what libtss2's buffer still holds is not returned."""
    tried = bench(session)
    recorder = tried.bus.garble = Recorder()
    tried.source.read(32, 5.0)
    for length in range(len(recorder.passed[0])):
        tried.bus.garble = lambda data, length=length: data[:length]
        with pytest.raises(SourceError):
            tried.source.read(32, 5.0)
        tried.source.open()


@both_sessions
def test_a_dead_bus_is_an_error(bench: BenchMaker, session: str) -> None:
    """A transport that fails says that nothing got through."""

    def dead(_: bytes) -> bytes:
        raise bus_faults.transport_error()

    tried = bench(session)
    tried.instead(dead)
    with pytest.raises(TpmError, match="no answer got through") as failed:
        tried.source.read(32, 5.0)
    assert failed.value.meaning.fault is Fault.TRANSPORT


@both_sessions
def test_every_transport_is_closed_once(
    bench: BenchMaker, monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    """After reading, after a failure and after an `open` that fails half-way."""
    tried = bench(session)
    tried.source.read(32, 5.0)
    tried.source.open()
    tried.bus.dead = True
    with pytest.raises(TpmError):
        tried.source.read(32, 5.0)
    tried.source.close()
    made = bus_faults.FaultyBus(tried.source.config.tcti)
    made.dead = True
    monkeypatch.setattr("hwentropy_sources.tpm2.session.load_tcti", lambda _: made)
    with pytest.raises(SourceAbsent, match="cannot get an answer"):
        tried.source.open()
    assert [bus.closed for bus in (*tried.buses, made)] == [1, 1, 1]


def test_stuck_bytes_are_handed_on_and_caught_by_the_tests(bench: BenchMaker) -> None:
    """The source judges nothing: a TPM stuck at one value fails the health tests."""
    tried = bench("plain")
    tried.instead(lambda command: random_answer(b"\x5a" * wanted_bytes(command)))
    data = tried.source.read(STARTUP_SAMPLES, 5.0)
    assert data == b"\x5a" * STARTUP_SAMPLES
    finding = HealthTests(tried.source.describe().claim, bytes(KEY_BYTES)).feed(data)
    assert finding is not None


@both_sessions
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(garbage=st.binary(max_size=120))
def test_garbage_is_a_source_error(bench: BenchMaker, session: str, garbage: bytes) -> None:
    """Whatever a hostile TPM answers: SourceError, never another exception, never bytes."""
    tried = bench(session)
    tried.instead(lambda _: garbage)
    with pytest.raises(SourceError) as failed:
        tried.source.read(32, 5.0)
    tried.source.close()
    assert repr(garbage) not in str(failed.value)
