"""`hwentropy password` and `passphrase`: secrets for people, with their entropy.

The entropy goes into the JSON, and to a terminal on standard error: a pipe gets
the values and nothing else.
"""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from .exits import ExitCode
from .generate import (
    after_waiting,
    count_option,
    json_option,
    show,
    use_daemon,
    wrong_usage,
)
from .runtime import Runtime

if TYPE_CHECKING:
    from hwentropy.secret_value import Generated


@click.command()
@click.option(
    "--length",
    metavar="N",
    type=int,
    default=16,
    show_default=True,
    help="Characters, 8 or more.",
)
@click.option("--no-lowercase", is_flag=True, help="No a to z.")
@click.option("--no-uppercase", is_flag=True, help="No A to Z.")
@click.option("--no-digits", is_flag=True, help="No 0 to 9.")
@click.option("--no-symbols", is_flag=True, help="No punctuation.")
@click.option("--no-ambiguous", is_flag=True, help="None that look alike, such as 0 and O.")
@count_option
@json_option
@click.pass_obj
def password(
    runtime: Runtime,
    *,
    length: int,
    no_lowercase: bool,
    no_uppercase: bool,
    no_digits: bool,
    no_symbols: bool,
    no_ambiguous: bool,
    count: int,
    as_json: bool,
) -> ExitCode:
    """A password with at least one character of each class."""
    use_daemon(runtime)
    from hwentropy import passwords  # noqa: PLC0415 - the other commands do not draw

    left_out = (no_lowercase, no_uppercase, no_digits, no_symbols)
    classes = tuple(
        one for one, without in zip(passwords.CLASSES, left_out, strict=True) if not without
    )
    if not classes:
        raise click.UsageError("no characters are left for a password; leave one --no-... out")
    _show(
        "password",
        lambda: passwords.generate_password(
            length, classes=classes, exclude_ambiguous=no_ambiguous
        ),
        count,
        as_json=as_json,
    )
    return ExitCode.FINE


@click.command()
@click.option("--words", metavar="N", type=int, default=7, show_default=True, help="Words.")
@click.option(
    "--separator",
    default="-",
    show_default=True,
    help="What stands between them; no word may contain it.",
)
@click.option(
    "--language", default="english", show_default=True, help="Which of the lists of BIP-39."
)
@count_option
@json_option
@click.pass_obj
def passphrase(
    runtime: Runtime, *, words: int, separator: str, language: str, count: int, as_json: bool
) -> ExitCode:
    """A passphrase: random words from a list of 2,048, 11 bits each."""
    use_daemon(runtime)
    from hwentropy.passphrases import generate_passphrase  # noqa: PLC0415 - as above

    _show(
        "passphrase",
        lambda: generate_passphrase(words, separator=separator, language=language),
        count,
        as_json=as_json,
    )
    return ExitCode.FINE


def _show(name: str, make: "Callable[[], Generated]", count: int, *, as_json: bool) -> None:
    try:
        first = next(after_waiting(iter(make, None)))
    except ValueError as error:
        raise wrong_usage(error) from None

    def values() -> Iterator[dict[str, object]]:
        for number in range(count):
            made = make() if number else first
            yield {name: made.value, "entropy_bits": round(made.entropy_bits, 2)}

    show(values(), as_json=as_json)
    if not as_json and sys.stdout.isatty():
        each = " each" if count > 1 else ""
        click.echo(f"{first.entropy_bits:.1f} bits of entropy{each}", err=True)
