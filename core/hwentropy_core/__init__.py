"""What both ends of a socket share: the DRBG, the wire formats, limits, names.

Pure: no module here opens a socket or a device, reads a clock or keeps a global
state.  (`page` maps memory it is given and `memory` overwrites it; that is all.)
"""

from typing import Final

#: The version of everything in this distribution; pyproject.toml takes it from here.
VERSION: Final = "0.1.0"
