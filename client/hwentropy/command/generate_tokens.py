"""`hwentropy token`, `uuid`, `apikey` and `salt`: values for programs."""

from base64 import b64encode
from typing import Final, Literal

import click

from .exclusive import OneOf
from .exits import ExitCode
from .generate import Count, count_option, json_option, show, use_daemon, wrong_usage
from .runtime import Runtime

#: Bytes.  Longer is `hwentropy get`'s business, which does not hold it in memory.
MAX_BYTES: Final = 1 << 20


@click.command(cls=OneOf)
@click.argument("size", metavar="[N]", type=Count(1, MAX_BYTES), default=32)
@click.option(
    "--hex", "form", flag_value="hex", default="hex", help="Hexadecimal digits; the default."
)
@click.option("--urlsafe", "form", flag_value="urlsafe", help="Base64 that is safe in URLs.")
@count_option
@json_option
@click.pass_obj
def token(
    runtime: Runtime, *, size: int, form: Literal["hex", "urlsafe"], count: int, as_json: bool
) -> ExitCode:
    """A token of N random bytes (32 unless given)."""
    use_daemon(runtime)
    from hwentropy import secrets  # noqa: PLC0415 - the other commands do not draw

    make = secrets.token_urlsafe if form == "urlsafe" else secrets.token_hex
    show((make(size) for _ in range(count)), as_json=as_json)
    return ExitCode.FINE


@click.command()
@click.option(
    "--version",
    type=click.Choice(["4", "7"]),
    default="4",
    show_default=True,
    help="4: random; 7: begins with the time, so that new ones sort last.",
)
@count_option
@json_option
@click.pass_obj
def uuid(runtime: Runtime, *, version: str, count: int, as_json: bool) -> ExitCode:
    """A UUID (RFC 9562).  A name, not a key: use `token` for secrets."""
    use_daemon(runtime)
    from hwentropy import secrets  # noqa: PLC0415 - the other commands do not draw

    make = secrets.token_uuid7 if version == "7" else secrets.token_uuid4
    show((str(make()) for _ in range(count)), as_json=as_json)
    return ExitCode.FINE


@click.command()
@click.option(
    "--prefix",
    default="key",
    show_default=True,
    help="What it begins with, and whose key it is: 2 to 32 of a to z, 0 to 9 and single "
    "inner `_`, a letter first.",
)
@count_option
@json_option
@click.pass_obj
def apikey(runtime: Runtime, *, prefix: str, count: int, as_json: bool) -> ExitCode:
    """An API key PREFIX_... with a checksum, so that scanners recognise a leaked one."""
    use_daemon(runtime)
    from hwentropy.apikeys import (  # noqa: PLC0415 - the other commands do not draw
        api_key_pattern,
        generate_api_key,
    )

    try:
        api_key_pattern(prefix)
    except ValueError as error:
        raise wrong_usage(error) from None
    show((generate_api_key(prefix) for _ in range(count)), as_json=as_json)
    return ExitCode.FINE


@click.command(cls=OneOf)
@click.argument("size", metavar="[N]", type=Count(1, MAX_BYTES), default=16)
@click.option(
    "--hex", "form", flag_value="hex", default="hex", help="Hexadecimal digits; the default."
)
@click.option("--base64", "form", flag_value="base64", help="Base64.")
@count_option
@json_option
@click.pass_obj
def salt(
    runtime: Runtime, *, size: int, form: Literal["hex", "base64"], count: int, as_json: bool
) -> ExitCode:
    """A salt of N random bytes (16 unless given, and at least) for password hashing."""
    use_daemon(runtime)
    from hwentropy.hashing import MIN_SALT, generate_salt  # noqa: PLC0415 - as above

    if size < MIN_SALT:
        raise click.UsageError(
            f"a salt of {size} bytes is too short; ask for {MIN_SALT} or more"
        )

    def make() -> str:
        drawn = generate_salt(size)
        return b64encode(drawn).decode() if form == "base64" else drawn.hex()

    show((make() for _ in range(count)), as_json=as_json)
    return ExitCode.FINE
