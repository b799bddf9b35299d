"""The `hwentropy` command: click's parsing, one file per concern.

cli          the group, its global options, how an error ends it
get          random bytes to a pipe or a file
generate_*   token, int, choose, shuffle, password, passphrase, uuid, apikey, salt
analyze      what bytes look like
health       status, sources
actions      reseed, test
completion   the shells' completion scripts
size, exclusive, output, layout, progress, exits: what these share
"""

from .cli import main

__all__ = ["main"]
