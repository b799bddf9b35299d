"""What both ends of a socket share: the DRBG, the wire formats, limits, names.

No module here opens a socket or a device, or keeps a global state.  All are pure but
`page` (makes and maps the page, and can read the clock), `locked` (maps and locks
memory), `memory` (overwrites it) and `paths` (looks whether a socket is there).
"""

from typing import Final

#: The version of everything in this distribution; pyproject.toml takes it from here.
VERSION: Final = "0.1.0"
