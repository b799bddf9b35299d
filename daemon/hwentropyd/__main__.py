"""`python -m hwentropyd`: the same as the command `hwentropyd`."""

import sys

from .command import main

sys.exit(main())
