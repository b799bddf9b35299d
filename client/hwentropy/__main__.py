"""`python -m hwentropy` is the `hwentropy` command."""

from .command import main

main()
