"""Source plug-ins that break; each says in its docstring how.  See plugins.py."""

# ruff: noqa: ARG002 - the contract names the arguments

# What is done here is what a plug-in must not do.

import ctypes
import gc
import os
import re
import sys
import time
from pathlib import Path

from hwentropy_core.drbg import Drbg
from hwentropy_sources.contract import Claim, Description, Source, SourceConfig, SourceError

NOTES = Path(os.environ["PLUGIN_NOTES"])


def note(text: str) -> None:
    """Have the test know: a file that the table names may be written to."""
    with NOTES.open("a") as notes:
        notes.write(f"{text}\n")


note(f"imported {os.getpid()}")

#: Stands for entropy: nothing that holds it may be shown or logged.
MARKER = "MARKER-OF-ENTROPY"


def sleep_for_ever() -> None:
    """A wait that ends with the process."""
    while True:
        time.sleep(3600)


def dies_at_import() -> None:
    """Of SIGSEGV."""
    ctypes.string_at(0)


def exits_at_import() -> None:
    """As if all were well."""
    os._exit(0)


def hangs_at_import() -> None:
    """For ever."""
    sleep_for_ever()


class NotingConfig(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Names the file."""

    notes: str = ""


class Well(Source):
    """Does what it should."""

    kind = "well"
    Config = NotingConfig

    def __init__(self, config: SourceConfig) -> None:
        self.facts: dict[str, str] = {}

    def describe(self) -> Description:
        """What any plug-in says."""
        return Description(self.kind, Claim(8, 4.0, "a test"), self.facts)

    def open(self) -> None:
        """Nothing to open."""

    def read(self, samples: int, timeout: float) -> bytes | bytearray:
        """Of the kernel's."""
        return os.urandom(samples)

    def close(self) -> None:
        """Nothing to close."""


class Known(Well):
    """Reads a file beside this one again and again, into memory that is overwritten."""

    kind = "known"
    at = 0

    def read(self, samples: int, timeout: float) -> bytearray:
        out = bytearray(samples)
        recording = Path(__file__).with_name("samples")
        with recording.open("rb", buffering=0) as stream:
            stream.seek(self.at)
            got = stream.readinto(out)
        with recording.open("rb", buffering=0) as stream:
            stream.readinto(memoryview(out)[got:])
        self.at = (self.at + samples) % recording.stat().st_size
        return out


class Segfaults(Well):
    """Reads address 0."""

    kind = "segfaults"

    def read(self, samples: int, timeout: float) -> bytes:
        return ctypes.string_at(0)


class Exits(Well):
    """Ends its process as if all were well."""

    kind = "exits"

    def read(self, samples: int, timeout: float) -> bytes:
        os._exit(0)


class Recovers(Well):
    """Aborts at its first read, and well in its second process."""

    kind = "recovers"

    def read(self, samples: int, timeout: float) -> bytes:
        if "died" not in NOTES.read_text():
            note("died")
            os.abort()
        return os.urandom(samples)


class RaisesSystemExit(Well):
    """Raises what is no Exception, with samples in its text."""

    kind = "raises-system-exit"

    def read(self, samples: int, timeout: float) -> bytes:
        raise SystemExit(MARKER)


class KeepsTheGil(Well):
    """Keeps the interpreter's lock in C for longer than anybody lives."""

    kind = "keeps-the-gil"

    def read(self, samples: int, timeout: float) -> bytes:
        re.match(r"(a+)+$", "a" * 64 + "b")
        return b""


class ReturnsTwoGigabytes(Well):
    """Far more than was asked for."""

    kind = "returns-2-gb"

    def read(self, samples: int, timeout: float) -> bytes:
        return b"x" * (2 << 30)


class ReturnsTooMuch(Well):
    """A little more than was asked for."""

    kind = "returns-too-much"

    def read(self, samples: int, timeout: float) -> bytes:
        return os.urandom(samples + 1)


class LooksForKeys(Well):
    """Counts every generator in its memory, one of its own among them."""

    kind = "looks-for-keys"

    def read(self, samples: int, timeout: float) -> bytes:
        own = Drbg(b"own")
        gc.unfreeze()
        found = [one for one in gc.get_objects() if isinstance(one, Drbg)]
        referred = [
            one
            for many in gc.get_objects()
            for one in gc.get_referents(many)
            if isinstance(one, Drbg)
        ]
        ids = {id(one) for one in (own, *found, *referred)}
        self.facts = {"generators but its own": str(len(ids) - 1)}
        return os.urandom(samples)


class HangsInOpen(Well):
    """For ever."""

    kind = "hangs-in-open"

    def open(self) -> None:
        sleep_for_ever()


class HangsInRead(Well):
    """For ever."""

    kind = "hangs-in-read"

    def read(self, samples: int, timeout: float) -> bytes:
        sleep_for_ever()
        return b""


class HangsInDescribe(Well):
    """For ever."""

    kind = "hangs-in-describe"

    def describe(self) -> Description:
        sleep_for_ever()
        return super().describe()


class HangsInClose(Well):
    """For ever, after an error."""

    kind = "hangs-in-close"

    def read(self, samples: int, timeout: float) -> bytes:
        raise SourceError("no noise today")

    def close(self) -> None:
        sleep_for_ever()


class Prints(Well):
    """Its samples and a flood, on both outputs, in each way there is."""

    kind = "prints"

    def read(self, samples: int, timeout: float) -> bytes:
        print(MARKER)
        print(MARKER, file=sys.stderr)
        for fd in (1, 2):
            os.write(fd, MARKER.encode() * 100_000)
        return os.urandom(samples)


class Answers(Well):
    """Writes into whatever it has open: its channel to the supervisor is among that."""

    kind = "answers"

    def read(self, samples: int, timeout: float) -> bytes:
        for fd in range(3, 64):
            for garbage in (b"\x81\xa4type\xa3\xff\xff\xff", b"\xc1", b"\xc1" * 60_000, b""):
                try:
                    os.write(fd, garbage)
                except OSError:
                    break
        return os.urandom(samples)


class Boasts(Well):
    """Describes itself with what breaks a terminal, and a lot of it."""

    kind = "boasts"

    def describe(self) -> Description:
        facts = {f"\x1b[31m{number}": "\x1b[2J\n" + "x" * 10_000 for number in range(1000)}
        return Description("g\x07roup", Claim(8, 4.0, "\x1b[0m" * 10_000), facts)


class Forks(Well):
    """Leaves a process of its own session behind, and dies."""

    kind = "forks"

    def read(self, samples: int, timeout: float) -> bytes:
        ready, written = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note(f"left {os.getpid()}")
                os.write(written, b"x")
                sleep_for_ever()
            os._exit(0)
        os.read(ready, 1)
        os.abort()
