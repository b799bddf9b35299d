"""Runs a command with a terminal of its own."""

import errno
import os
import pty
import subprocess


def in_terminal(command: list[str], **environment: str) -> tuple[int, bytes]:
    """The exit code, and what the command wrote to the terminal on either stream."""
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    ) as process:
        os.close(theirs)
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError as error:
                # What Linux says when the last writer has closed the terminal.
                if error.errno != errno.EIO:
                    raise
                break
            if not data:
                break
            shown += data
        code = process.wait(60)
    os.close(ours)
    return code, shown
