"""The `hwentropy` command group, and how everything that goes wrong ends it."""

import contextlib
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO, cast

import click

from hwentropy_core import VERSION
from hwentropy_core.errors import HwentropyError
from hwentropy_core.paths import ENVIRONMENT_VARIABLE

from .actions import reseed, selftest, test
from .analyze import analyze
from .completion import completion
from .exits import ExitCode, OutputClosed, die_of, judge
from .generate_passwords import passphrase, password
from .generate_picks import choose, integer, shuffle
from .generate_tokens import apikey, salt, token, uuid
from .get import get
from .health import sources, status
from .history import history
from .layout import printable
from .runtime import Runtime

#: What a standard stream that was closed (`>&-`) gets of /dev/null: as gnulib's stdopen
#: the input to write and the output to read only, so that using it fails with EBADF.
_CLOSED: Final = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_RDONLY, "w"),
    ("stderr", os.O_WRONLY, "w"),
)


class _Group(click.Group):
    """A group whose output is on its way before a command counts as done."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line, which may print: --help and --version."""
        with _closed_pipe_told():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _closed_pipe_told():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def _closed_pipe_told() -> Generator[None]:
    """Tell a closed pipe apart from an error, before click ends with 1 for it."""
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"hwentropy {VERSION}")
    ctx.exit()


def _directory(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    if value is None:
        return None
    if not value:
        # Path("") is the working directory: an unset shell variable, and not asked for.
        raise click.BadParameter("it is empty; name a directory")
    return Path(value)


@click.group(
    cls=_Group,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--runtime-dir",
    metavar="DIR",
    callback=_directory,
    help=f"The directory with the daemon's sockets ({ENVIRONMENT_VARIABLE} does the same).",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, *, runtime_dir: Path | None) -> None:
    """Random bytes from this machine's noise sources, and what they are made of.

    Exit codes: 0 fine, 1 health degraded or failed or the request refused,
    2 usage, 3 no daemon.
    """
    ctx.obj = Runtime(runtime_dir)


for command in (
    *(get, token, integer, choose, shuffle, password, passphrase, uuid, apikey, salt),
    *(status, sources, history, reseed, test, selftest, analyze, completion),
):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; errors are told on standard error.

    Raises OutputClosed and KeyboardInterrupt, which `main` turns into signals.
    """
    try:
        code = cli.main(arguments, prog_name="hwentropy", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"hwentropy: {_told(error)}", err=True)
        code = error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except HwentropyError as error:
        code, sentence = judge(error)
        click.echo(f"hwentropy: {printable(sentence)}", err=True)
    except OSError as error:
        click.echo(f"hwentropy: cannot write the output: {error.strerror}", err=True)
        code = ExitCode.USAGE
    return int(code or 0)


def _told(error: click.ClickException) -> str:
    """The error in one sentence; for a wrong usage, with where the right one stands."""
    message = error.format_message().rstrip(".")
    if not isinstance(error, click.UsageError):
        return message
    path = error.ctx.command_path if error.ctx is not None else "hwentropy"
    return f"{message[:1].lower()}{message[1:]}; see `{path} --help`"


def _replace_closed_streams() -> None:
    """Have no standard stream be None, and no socket of ours get its number."""
    for name, flags, mode in _CLOSED:
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, flags)
            setattr(sys, name, cast("TextIO", open(descriptor, mode)))  # noqa: PTH123, SIM115 - a descriptor, for good


def main() -> NoReturn:
    """The entry point."""
    _replace_closed_streams()
    try:
        code = run()
    except OutputClosed:
        die_of(signal.SIGPIPE)
    except KeyboardInterrupt:
        die_of(signal.SIGINT)
    # What could not be written was told; the interpreter would try again, and say so
    # in its own words with the exit code 120.
    with contextlib.suppress(OSError):
        sys.stdout.close()
    sys.exit(code)
