"""`hwentropy completion SHELL`: the script that completes the command in a shell."""

import click
from click.shell_completion import get_completion_class

from .exits import ExitCode

#: click's own rule: _<PROGRAM>_COMPLETE.
VARIABLE = "_HWENTROPY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> ExitCode:
    """Print the completion script for SHELL.

    bash: eval "$(hwentropy completion bash)" in ~/.bashrc; zsh: the same with
    zsh in ~/.zshrc, below compinit; fish: hwentropy completion fish | source.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this click knows no completion for {shell}; update click")
    click.echo(kind(ctx.find_root().command, {}, "hwentropy", VARIABLE).source())
    return ExitCode.FINE
