"""The collector's process: one source behind its channel.

The template forks it.  Its first message says which source to be; then it answers
one question at a time, from its one thread, and ends when the channel closes.  The
limits come before the first line of other people's code.

What this does not protect against: that code can do to this process what it likes,
send any answer and fork.  The supervisor believes nothing but what passes the tests,
and the template ends what is left behind.
"""

import os
import resource
import socket
import traceback
from collections.abc import Callable
from typing import Any, Final

import msgspec

from hwentropy_core.attestation import Attestation
from hwentropy_core.errors import HwentropyError
from hwentropy_core.memory import wipe
from hwentropy_sources import discovery, registry
from hwentropy_sources.contract import Source, SourceAbsent, SourceConfig, SourceError
from hwentropyd import confinement
from hwentropyd.config import table

from . import reach
from .messages import (
    DATA,
    MESSAGE_BYTES,
    MOST_FACTS,
    Absent,
    Answer,
    Attest,
    Attested,
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
    Unable,
    WrongLength,
    decode_question,
    shown,
)

#: Memory that it can write to: tpm2-pytss and libtss2 take 10 MB, NumPy and its linear
#: algebra some 100.
DATA_BYTES: Final = 256 << 20
#: Addresses in all, shared memory and libraries too.
ADDRESS_BYTES: Final = 1 << 30
#: Descriptors: its device and some sockets, and what a library opens to find them.
DESCRIPTORS: Final = 64

_COMMON: Final = frozenset(SourceConfig.__struct_fields__)


class Collector:
    """A source, made when it is opened first, and its end of the channel."""

    def __init__(self, sock: socket.socket, settings: CollectorSettings) -> None:
        self._sock = sock
        self._kind = settings.kind
        self._table = settings.table
        self._source: Source | None = None
        self._common: dict[str, object] = {}

    def serve(self) -> None:
        """Answer until the channel closes."""
        self._send(Ready())
        while True:
            try:
                datagram = self._sock.recv(MESSAGE_BYTES)
            except ConnectionResetError:
                return
            if not datagram:
                return
            question = decode_question(datagram)
            answer: Answer | bytearray
            try:
                answer = self._answer(question)
            except table.TableError as error:
                answer = Rejected(list(error.path), shown(error.what))
            except SourceAbsent as error:
                answer = Absent(shown(error.reason), shown(error.remedy))
            except SourceError as error:
                answer = Failed(shown(error.reason), shown(error.remedy))
            except HwentropyError as error:
                answer = Failed(shown(str(error)), "")
            except BaseException as error:  # noqa: BLE001  (it may raise anything)
                answer = Raised(shown(type(error).__name__), shown(self._place(error)))
            if isinstance(answer, bytearray):
                self._sock.send(answer)
                wipe(answer)
            else:
                self._send(answer)

    def _answer(self, question: Question) -> Answer | bytearray:
        match question:
            case Check():
                checked = table.check(self._kind, self._table)
                self._common = _common_keys(checked.config)
                return self._described(checked.description)
            case Open():
                source = self._made()
                source.open()
                return self._described(source.describe())
            case Describe():
                return self._described(self._made().describe())
            case Read():
                return _read(self._made(), question)
            case Attest(statement):
                return _attested(self._made().attest(statement))
            case Close():
                if self._source is not None:
                    self._source.close()
                return Closed()

    def _made(self) -> Source:
        if self._source is None:
            config: SourceConfig = table.convert(
                self._table, registry.source_class(self._kind).Config
            )
            self._source = registry.make_source(self._kind, config)
        return self._source

    def _place(self, error: BaseException) -> str:
        """The last line of the source's own package that an exception came by, if any."""
        package = type(self._source).__module__.partition(".")[0]
        place = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
                place = f"line {line} of {frame.f_code.co_filename}"
        return place

    def _described(self, description: Any) -> Described:
        claim = description.claim
        facts = list(description.facts.items())[:MOST_FACTS]
        return Described(
            group=shown(description.group),
            bits_per_sample=claim.bits_per_sample,
            min_entropy=float(claim.min_entropy),
            provenance=shown(claim.provenance),
            whitened=claim.whitened,
            facts={shown(str(name)): shown(str(value)) for name, value in facts},
            common=self._common,
            strength=claim.strength,
            renewal=shown(claim.renewal),
            renewal_seconds=claim.renewal_seconds,
            lag=claim.lag,
        )

    def _send(self, answer: Answer) -> None:
        self._sock.send(msgspec.msgpack.encode(answer))


def prepare(sock: socket.socket) -> Callable[[], None]:
    """Take the settings and give up what a source needs not; returns what serves."""
    settings = msgspec.msgpack.decode(sock.recv(MESSAGE_BYTES), type=CollectorSettings)
    silence(output_only=not settings.silent)
    for limit, most in (
        (resource.RLIMIT_DATA, DATA_BYTES),
        (resource.RLIMIT_AS, ADDRESS_BYTES),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))
    if settings.kind == "tpm2":
        discovery.prepare()
    confinement.confine_collector(reach.of_source(settings.kind, settings.table))
    return Collector(sock, settings).serve


def silence(*, output_only: bool) -> None:
    """Have what is printed go nowhere: it may be samples, and more than a log can take."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (1,) if output_only else (1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)


def _attested(attestation: Attestation | None) -> Attested | Unable:
    if attestation is None:
        return Unable()
    return Attested(attestation.key, attestation.attested, attestation.signature)


def _read(source: Source, question: Read) -> bytearray | WrongLength:
    got = source.read(question.samples, question.timeout)
    # By way of memoryview: a number would become that many zeros.
    with memoryview(got) as view:
        if view.nbytes != question.expected:
            return WrongLength(view.nbytes)
        answer = bytearray(1 + view.nbytes)
        answer[0] = DATA
        # Into a view: a bytearray would copy what it is assigned first.
        memoryview(answer)[1:] = view.cast("B")
    if isinstance(got, bytearray):
        wipe(got)
    return answer


def _common_keys(config: SourceConfig) -> dict[str, object]:
    values = msgspec.structs.asdict(config)
    return {name: values[name] for name in _COMMON}
