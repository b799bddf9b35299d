"""`hwentropyd` and `python -m hwentropyd`: the daemon's process.

What has to hold from its first moment comes before the imports that take time: a stop
signal ends it cleanly, nothing that it prints makes it wait, and the template of its
children, which has imports of its own to do, does them meanwhile.

And it does without OpenSSL's TLS.  asyncio imports `ssl` where it can and does without
where it cannot.  The daemon speaks no TLS, and its module and library are 4 MB of
memory for nothing; so for the time of that one import `ssl` is not to be had.  A
plug-in that imports it later gets it.
"""

import contextlib
import sys
from importlib import import_module
from types import ModuleType
from typing import Final, NoReturn, cast

from .child import Children
from .operating import streams
from .operating.signals import StopSignals

#: Who asks for one of these has no children, or few (a plug-in's table to be checked).
_ENDS_AT_ONCE: Final = frozenset({"-h", "--help", "--version", "--check-config"})


def main() -> NoReturn:
    """Run the daemon and end the process with its exit code, see hwentropyd.command."""
    signals = StopSignals()
    signals.install()
    streams.install(held=True)
    streams.run(lambda: _run(signals))


def _run(signals: StopSignals) -> int:
    children = Children()
    if not _ENDS_AT_ONCE.intersection(sys.argv):
        with contextlib.suppress(OSError):  # who cannot have it says so later
            children.prepare()
    if "asyncio" not in sys.modules and "ssl" not in sys.modules:
        # None forbids the import (the import system's documentation, 5.3.1).
        sys.modules["ssl"] = cast("ModuleType", None)
        import_module("asyncio")
        del sys.modules["ssl"]
    from .command import main as run  # noqa: PLC0415  (it imports asyncio)

    return run(signals=signals, children=children)


if __name__ == "__main__":
    main()
