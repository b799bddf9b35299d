"""What goes wrong with a source beside its samples, in the words that operators see."""

from hwentropy_sources.contract import SourceError
from hwentropy_sources.health import Alarm


class SourceFault(SourceError):  # noqa: N818  (what the monitor is told of)
    """A fault with an alarm of its own; any other SourceError is the alarm `error`."""

    def __init__(self, alarm: Alarm, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.alarm = alarm


def hung(seconds: float) -> SourceFault:
    """No answer within its deadline."""
    return SourceFault(
        Alarm.HANG,
        f"no answer within {seconds:g} s",
        "is the device stuck, or its deadline too short?",
    )


def wrong_length(got: int, expected: int) -> SourceFault:
    """So many bytes in place of those asked for."""
    alarm = Alarm.SHORT if got < expected else Alarm.LENGTH
    return SourceFault(alarm, f"gave {got} bytes when asked for {expected}")


def died(how: str) -> SourceFault:
    """`how` follows "its process"."""
    return SourceFault(Alarm.DIED, f"its process {how}")


def raised(type_name: str, place: str = "") -> SourceFault:
    """Only type and place: the text of somebody else's exception may hold samples."""
    remedy = f"see {place}" if place else ""
    return SourceFault(Alarm.ERROR, f"raised {type_name}", remedy)
