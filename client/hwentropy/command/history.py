"""`hwentropy history`: what seeds were made of, and whether the record of it is whole."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from hwentropy.history import SeedLogReader, export_key, load_key
from hwentropy_core.errors import HwentropyError
from hwentropy_core.paths import SYSTEM_STATE_DIR, daemon_state_dir
from hwentropy_core.seed_log import Record, Verdict

from .actions import source_names
from .exits import ExitCode
from .layout import printable
from .progress import SlowDisplay
from .runtime import Runtime

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """`90m`, `2h`, `3d`: so long ago; or a time in ISO 8601."""
    if value is None:
        return None
    try:
        if match := re.fullmatch(r"(\d{1,9})([smhdw])", value):
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: before the year 1
        raise click.BadParameter(
            f"{value!r} is neither a length such as 2h or 3d nor a time"
        ) from None


@click.command()
@click.option(
    "--since",
    metavar="TIME",
    callback=_since,
    help="Only what is later: a time as 2026-11-21T18:00, or so long ago as 90m, 2h, 3d.",
)
@click.option(
    "--source",
    metavar="NAME",
    shell_complete=source_names,
    help="Only seeds that this source gave to, or raised alarms before.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="The records as they are, a line each; with --verify the verdict as an object.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Check that no record was changed, cut off, left out or put in.",
)
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: check the TPM's signatures by this public key (PEM), too.",
)
@click.option(
    "--export-key",
    "wants_key",
    is_flag=True,
    help="Print the key of the TPM that signs, for --key.  Keep it on another machine from the "
    "first day on.",
)
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the log is; without it where the daemon says that it is, or would be.",
)
@click.pass_obj
def history(
    runtime: Runtime,
    *,
    since: datetime | None,
    source: str | None,
    as_json: bool,
    verify: bool,
    key: Path | None,
    wants_key: bool,
    directory: Path | None,
) -> ExitCode:
    """Show what each seed was made of, or check the record of it.

    Works on a copy of the log, too, on any machine.  --verify ends with 1 if a record
    was changed, cut off, left out or put in.
    """
    if key is not None and not verify:
        raise click.UsageError("--key goes with --verify")
    if (verify or wants_key) and (since is not None or source is not None):
        raise click.UsageError("--since and --source choose what is listed, and no more")
    where = directory or _directory(runtime)
    with SlowDisplay("reading the seed log") as display:
        reader = SeedLogReader(where, display.advance)
        if wants_key:
            return _export(reader)
        if verify:
            return _told(reader.verify(None if key is None else _load(key)), as_json=as_json)
    return _list(reader, since, source, as_json=as_json)


def _directory(runtime: Runtime) -> Path:
    """Where the daemon says that it keeps it; without one, where it would."""
    try:
        with runtime.control() as control:
            told = control.status().seed_log.directory
    except HwentropyError:
        own = daemon_state_dir(runtime=runtime.directory)
        try:
            return own if own.is_dir() else SYSTEM_STATE_DIR
        except OSError:  # below what this user may not enter: whoever reads it says so
            return own
    if not told:
        raise click.UsageError("the daemon keeps no seed log; [seed_log] enabled = true has it")
    return Path(told)


def _load(path: Path) -> Any:
    try:
        return load_key(path.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise click.UsageError(
            f"{path} is no public key on P-256; --export-key prints it"
        ) from None


def _export(reader: SeedLogReader) -> ExitCode:
    pem = export_key(reader.records())
    if pem is None:
        click.echo(
            "hwentropy: no record is signed: where there is a `tpm2` source the first "
            "signature follows the first 60 records (sign_records)",
            err=True,
        )
        return ExitCode.UNHEALTHY
    click.echo(pem.decode(), nl=False)
    return ExitCode.FINE


def _told(verdict: Verdict, *, as_json: bool) -> ExitCode:
    whole = not verdict.problems
    if as_json:
        click.echo(json.dumps({"whole": whole, **asdict(verdict)}, indent=2))
    else:
        for problem in verdict.problems:
            click.echo(f"NOT AS IT WAS WRITTEN: {printable(problem)}")
        last = (verdict.first or 0) + verdict.records
        covered = f"records {verdict.first} to {last - 1}" if verdict.records else "no record"
        click.echo(
            f"{covered} {'follow' if verdict.records != 1 else 'follows'} from each other"
        )
        if verdict.signed:
            click.echo(f"signed by the key: up to record {verdict.signed - 1}")
        for note in verdict.notes:
            click.echo(f"note: {printable(note)}")
    return ExitCode.FINE if whole else ExitCode.UNHEALTHY


def _list(
    reader: SeedLogReader, since: datetime | None, source: str | None, *, as_json: bool
) -> ExitCode:
    for record in _chosen(reader.records(), since, source):
        if as_json:
            click.echo(json.dumps(record))
        else:
            click.echo(printable(_line(record, source)))
            sys.stdout.flush()
    return ExitCode.FINE


def _chosen(
    records: Iterator[Record], since: datetime | None, source: str | None
) -> Iterator[Record]:
    for record in records:
        if since is not None and not _is_later(record.get("time"), since):
            continue
        if source is not None:
            given = _sources(record).get(source)
            if not given or not (given.get("bits") or given.get("alarms")):
                continue
        yield record


def _is_later(time: object, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(time)) >= since
    except (ValueError, TypeError):
        return False


def _sources(record: Record) -> dict[str, dict[str, Any]]:
    listed = record.get("sources")
    if not isinstance(listed, dict):
        return {}
    return {str(name): one for name, one in listed.items() if isinstance(one, dict)}


def _line(record: Record, source: str | None) -> str:
    time = str(record.get("time"))
    match record["kind"]:
        case "seed":
            given = ", ".join(
                _gave(name, one)
                for name, one in _sources(record).items()
                if source in {None, name} and (one.get("bits") or one.get("alarms"))
            )
            cause = str(record.get("cause")).replace("_", " ")
            return f"{time}  seed {record.get('generation')} ({cause}): {given}"
        case "start":
            return f"{time}  start of version {record.get('version')}"
        case "gap":
            return f"{time}  {record.get('lost')} records missing: {record.get('reason')}"
        case "mended":
            return f"{time}  was not as it was left: {record.get('reason')}"
        case kind:
            return f"{time}  {kind}"


def _gave(name: str, source: dict[str, Any]) -> str:
    alarms = source.get("alarms")
    raised = (
        " (" + ", ".join(f"{count} {kind}" for kind, count in alarms.items()) + ")"
        if isinstance(alarms, dict) and alarms
        else ""
    )
    bits = source.get("bits")
    return f"{name} {f'{bits:g}' if isinstance(bits, float) else bits} bits{raised}"
