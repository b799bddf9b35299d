"""What the template process is asked, and what it reports: one datagram each.

request   a role and a log level in words; with it the child's end of its channel,
          and where to report
report    STARTED (with a pidfd), NOT_STARTED and why, ENDED with a wait status
"""

import struct
from typing import Final

#: Longer than the name of every role with a log level, and than every report.
REQUEST_BYTES: Final = 64
REPORT_BYTES: Final = 512

STARTED: Final = b"S"
NOT_STARTED: Final = b"N"
ENDED: Final = b"X"
#: A process id, or a wait status as of wait(2).
NUMBER: Final = struct.Struct("=i")
