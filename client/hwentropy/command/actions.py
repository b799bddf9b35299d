"""`hwentropy reseed` and `hwentropy test`: what an operator has the daemon do."""

import click

from hwentropy_core.errors import HwentropyError

from .exits import ExitCode, warn_not_live
from .layout import printable
from .progress import SlowDisplay
from .runtime import Runtime


@click.command()
@click.pass_obj
def reseed(runtime: Runtime) -> ExitCode:
    """Reseed the daemon from its sources now, at full strength."""
    with SlowDisplay("reseeding"), runtime.control() as control:
        done = control.reseed()
    click.echo(f"reseeded: generation {done.generation}")
    if not done.live:
        warn_not_live("the reseed")
    return ExitCode.FINE


@click.command()
@click.pass_obj
def selftest(runtime: Runtime) -> ExitCode:
    """Have the daemon's processes run their known-answer tests, as they did at the start."""
    with SlowDisplay("testing"), runtime.control() as control:
        outcome = control.check()
    click.echo(f"{', '.join(map(printable, outcome.tests))}: right")
    click.echo(f"in {len(outcome.passed)} processes: {', '.join(map(str, outcome.passed))}")
    return ExitCode.FINE


def source_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a source's name; a shell that finds no daemon offers none."""
    root = ctx.find_root()
    try:
        with Runtime(root.params.get("runtime_dir")).control() as control:
            names = [source.name for source in control.sources()]
    except HwentropyError:
        return []
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


@click.command()
@click.argument("source", shell_complete=source_names)
@click.pass_obj
def test(runtime: Runtime, *, source: str) -> ExitCode:
    """Run the on-demand health test of SOURCE (SP 800-90B 4.3) on fresh samples."""
    with SlowDisplay(f"testing {printable(source)}"), runtime.control() as control:
        outcome = control.test_source(source)
    name = printable(source)
    if outcome.passed:
        click.echo(f"{name} passed: {outcome.samples} samples")
        return ExitCode.FINE
    click.echo(f"{name} failed after {outcome.samples} samples: {printable(outcome.reason)}")
    return ExitCode.UNHEALTHY
