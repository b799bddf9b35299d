"""Sizes as people type them: `32`, `64K`, `1M`, `1GiB`, `10kB`."""

import re
from typing import Final

import click

# As in head(1) and dd(1): K and KiB are 1,024 bytes, KB is 1,000.
_SIZE: Final = re.compile(r"([0-9]{1,19})\s*(?:([KMGT])(IB|B)?|B)?", re.IGNORECASE | re.ASCII)
_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """The number of bytes; raises ValueError for what is not a size of at least 1."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 32, 64K, 1M, 1GiB or 10kB")
    number, unit, ending = match.groups()
    base = 1000 if (ending or "").upper() == "B" else 1024
    size = int(number) * (base ** _POWERS[unit.upper()] if unit else 1)
    if not size:
        raise ValueError("the size must be at least 1 byte")
    return size


def size_argument(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    """The callback of an argument that is a size; ends with a usage error."""
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
