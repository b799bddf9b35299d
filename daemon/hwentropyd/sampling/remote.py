"""A source in a collector: other people's code, behind the same contract.

    open      a fresh process, which makes the source and opens it
    read      a question, an answer; both bounded
    close     asked for politely, then the process is killed

A call that is late ends with its process (the alarm `hang`), a process that ends on
its own is the alarm `died` with the signal or exit code.  What it answers is checked
for type and size here, as if a stranger had said it; its samples by the sampler, as
all are.

What this does not protect against: a source that claims a group and an entropy that
are not its own.  The configuration can set both.
"""

import logging
from typing import Any, ClassVar, Final, NoReturn

import msgspec

from hwentropy_core.attestation import Attestation
from hwentropy_core.memory import wipe
from hwentropy_sources import registry
from hwentropy_sources.contract import (
    Claim,
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)
from hwentropy_sources.health import Alarm
from hwentropyd.child import (
    REPORT_SECONDS,
    START_SECONDS,
    Child,
    Children,
    SettingsTooLongError,
)
from hwentropyd.collector import messages
from hwentropyd.collector.messages import CollectorSettings
from hwentropyd.config import table
from hwentropyd.config.schema import SourceSetup
from hwentropyd.config.table import Checked, CheckTable, TableError

from .faults import SourceFault, died, hung, raised, wrong_length

log = logging.getLogger(__name__)

_COMMON: Final = frozenset(SourceConfig.__struct_fields__)

#: What a source is taken for that has not been able to say what it is.
_UNKNOWN_CLAIM: Final = Claim(8, 1.0, "not known: its process could not be asked")


class Collector:
    """A collector's process, seen from the supervisor; for one thread."""

    def __init__(self, children: Children, kind: str, of_table: dict[str, Any]) -> None:
        """Start it and wait until it can be asked.  Raises SourceFault."""
        # libtss2 says nothing unless told to; what a plug-in says may be anything.
        silent = kind not in registry.BUILT_IN and children.log_level != "debug"
        self._buffer = bytearray(messages.MESSAGE_BYTES)
        self._child: Child | None = None
        try:
            self._child = children.start("collector", CollectorSettings(kind, of_table, silent))
        except OSError as error:
            raise SourceFault(
                Alarm.ERROR,
                f"its process could not be started ({error.strerror})",
                "raise the limit of processes, memory or descriptors",
            ) from None
        self._child.wait_for_fork()
        answer = self._receive(self._child, START_SECONDS)
        if not isinstance(answer, messages.Ready):
            self.end()
            raise _senseless()

    def ask(self, question: messages.Question, seconds: float) -> messages.Answer | bytearray:
        """The answer; samples are bytes.

        Raises SourceError for an error that it told of, and SourceFault after which the
        process has ended.
        """
        child = self._child
        if child is None:
            raise SourceError("the source is not open")
        try:
            child.sock.send(msgspec.msgpack.encode(question))
        except OSError:
            self._raise_end(child)
        answer = self._receive(child, seconds)
        match answer:
            case messages.Absent(reason, remedy):
                raise SourceAbsent(messages.shown(reason), messages.shown(remedy))
            case messages.Failed(reason, remedy):
                raise SourceError(messages.shown(reason), messages.shown(remedy))
            case messages.Raised(name, place):
                raise raised(messages.shown(name), messages.shown(place))
            case messages.Rejected(path, what):
                raise TableError(tuple(map(messages.shown, path)), messages.shown(what))
            case _:
                return answer

    def end(self) -> None:
        """Kill it and let go of it; may be called twice."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.close()

    def _receive(self, child: Child, seconds: float) -> messages.Answer | bytearray:
        try:
            length = child.receive_into(self._buffer, seconds)
        except TimeoutError:
            self.end()
            raise hung(seconds) from None
        except EOFError:
            self._raise_end(child)
        with memoryview(self._buffer) as view:
            try:
                if length > len(view):
                    raise _senseless()
                if view[0] == messages.DATA:
                    return bytearray(view[1:length])
                return messages.decode_answer(view[:length])
            except (msgspec.MsgspecError, ValueError, SourceFault):
                self.end()
                raise _senseless() from None
            finally:
                wipe(view[: min(length, len(view))])

    def _raise_end(self, child: Child) -> NoReturn:
        child.wait(REPORT_SECONDS)
        how = child.ended or ("closed its channel" if child.reported else "ended")
        self.end()
        raise died(how) from None


class RemoteSource(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "remote"
    ends_late_calls: ClassVar[bool] = True

    def __init__(self, setup: SourceSetup, children: Children) -> None:
        self._setup = setup
        self._children = children
        self._deadline = setup.config.deadline
        self._description = setup.description
        self._collector: Collector | None = None

    def describe(self) -> Description:
        """What it said last, or says now if it is open."""
        if self._collector is not None:
            self._described(self._ask(messages.Describe()))
        return self._description

    def open(self) -> None:
        """As the contract says, in a fresh process."""
        self.close()
        self._collector = Collector(self._children, self._setup.kind, self._setup.table)
        self._described(self._ask(messages.Open()))

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says."""
        expected = samples * self._description.claim.sample_bytes
        answer = self._ask(messages.Read(samples, expected, timeout))
        if isinstance(answer, messages.WrongLength):
            raise wrong_length(answer.length, expected)
        if not isinstance(answer, bytearray):
            raise _senseless()
        return answer

    def attest(self, statement: bytes) -> Attestation | None:
        """As the contract says."""
        match self._ask(messages.Attest(statement)):
            case messages.Attested(key, attested, signature):
                return Attestation(key, attested, signature)
            case messages.Unable():
                return None
            case _:
                raise _senseless()

    def close(self) -> None:
        """Have the source closed, and end its process."""
        collector, self._collector = self._collector, None
        if collector is None:
            return
        try:
            collector.ask(messages.Close(), self._deadline)
        except (SourceError, TableError) as error:
            log.warning("a %s source did not close: %s", self._setup.kind, error)
        finally:
            collector.end()

    def _ask(self, question: messages.Question) -> messages.Answer | bytearray:
        if self._collector is None:
            raise SourceError("the source is not open")
        try:
            return self._collector.ask(question, self._deadline)
        except TableError as error:
            raise SourceError(f"{'.'.join(error.path) or 'its table'}: {error.what}") from None
        except SourceFault as fault:
            if fault.alarm in {Alarm.HANG, Alarm.DIED}:
                self._collector = None  # its process has ended: there is nothing to close
            raise

    def _described(self, answer: messages.Answer | bytearray) -> None:
        try:
            if not isinstance(answer, messages.Described):
                raise _senseless()
            self._description = answer.description()
        except ValueError:
            raise _senseless() from None


def make_source(setup: SourceSetup, children: Children) -> Source:
    """The source of a table of the configuration, in a collector if it has to be."""
    if registry.is_foreign(setup.kind):
        return RemoteSource(setup, children)
    return registry.make_source(setup.kind, setup.config)


def table_check(children: Children, *, strict: bool) -> CheckTable:
    """Checks a table; a plug-in's in a collector that ends with it.

    Where that hangs or dies, with `strict` the table is refused.  Otherwise it passes,
    and the source will fail with that reason when it is opened, and be tried again.
    """

    def check(kind: str, of_table: dict[str, Any]) -> Checked:
        if kind in registry.BUILT_IN:
            return table.check(kind, of_table)  # our code; a library is loaded in `open`
        written = of_table.keys() & _COMMON
        common: SourceConfig = table.convert(
            {key: of_table[key] for key in written}, SourceConfig
        )
        try:
            answered = _ask_for_check(children, kind, of_table, common.deadline)
            return _as_written(kind, {key: getattr(common, key) for key in written}, answered)
        except SourceError as error:
            if strict:
                what = f"it could not be checked, as {error.reason}"
                raise TableError((), f"{what}; repair or uninstall its package") from None
        except (OverflowError, SettingsTooLongError) as error:
            raise TableError((), f"cannot be passed on ({error})") from None
        common = msgspec.structs.replace(common, kind=kind)
        return Checked(common, Description(common.group or kind, _UNKNOWN_CLAIM))

    return check


def _ask_for_check(
    children: Children, kind: str, of_table: dict[str, Any], seconds: float
) -> Checked:
    collector = Collector(children, kind, of_table)
    try:
        answer = collector.ask(messages.Check(), seconds)
        if not isinstance(answer, messages.Described):
            raise _senseless()
        config = msgspec.convert(answer.common, SourceConfig)
        return Checked(config, answer.description())
    except (ValueError, msgspec.ValidationError):
        raise _senseless() from None
    finally:
        collector.end()


def _as_written(kind: str, written: dict[str, Any], answered: Checked) -> Checked:
    """What it answered, but for what the operator wrote: its code decides none of that.

    It can refuse the credit, as a kind of recorded samples does.
    """
    config = msgspec.structs.replace(answered.config, **{**written, "kind": kind})
    credit = config.credit and answered.config.credit
    return Checked(msgspec.structs.replace(config, credit=credit), answered.description)


def _senseless() -> SourceFault:
    return SourceFault(
        Alarm.ERROR,
        "its process answered what was not asked",
        "repair or uninstall its package",
    )
