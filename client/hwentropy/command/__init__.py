"""The `hwentropy` command: click's parsing, one file per concern.

cli          the group, its global options, how an error ends it
get          random bytes to a pipe or a file
health       status, sources
actions      reseed, test
completion   the shells' completion scripts
size, output, layout, progress, exits: what these share
"""

from .cli import main

__all__ = ["main"]
