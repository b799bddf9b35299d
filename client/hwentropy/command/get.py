"""`hwentropy get N`: random bytes to a pipe, a terminal or a file.

Read and written a piece at a time, so the size is limited by patience only.
"""

import sys
from base64 import b64encode
from typing import Final, Literal, TypeAlias

import click

from hwentropy_core.errors import HwentropyError
from hwentropy_core.limits import MAX_READ
from hwentropy_core.memory import wipe

from .exclusive import OneOf
from .exits import ExitCode, judge, warn_degraded, warn_not_live
from .layout import printable
from .output import OutputError, open_output, write_all
from .progress import WAITING, SlowDisplay
from .runtime import Runtime
from .size import size_argument

#: Bytes read and written at a time: several requests, so that they are pipelined,
#: and a multiple of 3, so that base64 pads only at the end.
PIECE: Final = 3 * MAX_READ

Encoding: TypeAlias = Literal["hex", "base64", "raw"]


class _Seconds(click.FloatRange):
    """A number in a range, and called so where something else is given."""

    name = "number"


@click.command(cls=OneOf)
@click.argument("size", metavar="N", callback=size_argument)
@click.option("--hex", "encoding", flag_value="hex", help="Hexadecimal digits and a newline.")
@click.option("--base64", "encoding", flag_value="base64", help="Base64 and a newline.")
@click.option(
    "--raw",
    "encoding",
    flag_value="raw",
    help="The bytes themselves, on a terminal too, where they are refused without it.",
)
@click.option(
    "--output",
    metavar="FILE",
    help="Write FILE, of mode 0600.  It appears, or replaces an old one, only when it is "
    "complete.  Only a regular file is replaced.  `-` is standard output.",
)
@click.option(
    "--prediction-resistance",
    is_flag=True,
    help="Have the daemon collect fresh entropy first, for each MiB, at most four times "
    "a second; a warning says so where no credited live source is healthy.",
)
@click.option(
    "--no-wait", is_flag=True, help="Fail at once if the daemon has had no first seed."
)
@click.option(
    "--timeout",
    metavar="S",
    type=_Seconds(min=0, min_open=True),
    help="Seconds to wait for each 3 MiB.  Without it, as long as it takes.",
)
@click.pass_obj
def get(
    runtime: Runtime,
    *,
    size: int,
    encoding: Encoding | None,
    output: str | None,
    prediction_resistance: bool,
    no_wait: bool,
    timeout: float | None,
) -> ExitCode:
    """Write N random bytes: raw, unless told otherwise.

    N is a number of bytes; K, M, G and T stand for powers of 1,024, kB, MB and
    so on for powers of 1,000.  Bytes served while the daemon is degraded are
    written, with a warning; so are those of --prediction-resistance where no live
    source is healthy.
    """
    to_terminal = output in {None, "-"} and sys.stdout.isatty()
    if encoding is None and to_terminal:
        raise OutputError(
            "raw bytes would garble the terminal; use --hex or --base64, --output FILE, "
            "or --raw to have them all the same"
        )
    buffer = memoryview(bytearray(min(size, PIECE)))
    done = 0
    degraded = not_live = False
    try:
        with (
            runtime.client(timeout) as client,
            SlowDisplay("reading", size, wanted=not to_terminal) as display,
            open_output(output) as stream,
        ):
            while done < size:
                piece = buffer[: min(size - done, PIECE)]
                # It is gone again before the bytes are shown on the same terminal.
                with SlowDisplay(WAITING, wanted=to_terminal and not done):
                    client.read_into(
                        piece, block=not no_wait, prediction_resistance=prediction_resistance
                    )
                degraded = degraded or client.degraded
                not_live = not_live or client.not_live
                write_all(stream, _encode(piece, encoding))
                done += len(piece)
                display.advance(len(piece))
            if encoding in {"hex", "base64"}:
                write_all(stream, b"\n")
    except HwentropyError as error:
        if not done or output not in {None, "-"}:
            raise
        code, sentence = judge(error)
        click.echo(f"hwentropy: after {done} of {size} bytes: {printable(sentence)}", err=True)
        return code
    finally:
        wipe(buffer)
    if degraded:
        warn_degraded()
    if not_live:
        warn_not_live("prediction resistance")
    return ExitCode.FINE


def _encode(piece: memoryview, encoding: Encoding | None) -> bytes | memoryview:
    match encoding:
        case "hex":
            return piece.hex().encode()
        case "base64":
            return b64encode(piece)
        case _:
            return piece
