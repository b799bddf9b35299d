"""A process that issues and revokes tokens until it is killed.

    python token_worker.py DATABASE

It prints a line when a change has returned: `made ID TOKEN`, `revoked ID`; and
`revoking ID` before it asks, since the change may be on the disk without the line.
"""

import os
import sys

from hwentropy.token_service import TokenService


def main(database: str) -> None:
    """Issue two, revoke the first, for ever."""
    service = TokenService(database, random_bytes=os.urandom, timeout=60)
    while True:
        kept = [service.create_session("worker") for _ in range(2)]
        for issued in kept:
            say("made", issued.record.id, issued.token)
        say("revoking", kept[0].record.id)
        service.revoke(kept[0].record.id)
        say("revoked", kept[0].record.id)


def say(*words: str) -> None:
    """One line in one write, so that a kill leaves no half of it to be believed."""
    os.write(1, (" ".join(words) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1])
