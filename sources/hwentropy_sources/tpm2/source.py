"""A TPM 2.0's own random number generator, read with GetRandom: the kind `tpm2`.

    find     the first /dev/tpmrmN that the kernel lists, or `tcti`
    open     a fresh libtss2 context and, by default, a salted HMAC session with
             response encryption (`session`)
    read     GetRandom until the samples are there or time is up: a TPM gives 64
             bytes at most, often 32, and says nothing when that is less than asked

Every error is a sentence with the TPM's return code in words (`errors`).
After an error libtss2's context may be of no more use, so nothing is repaired
here: the sampler closes and opens again.  Only TPM_RC_RETRY, TPM_RC_YIELDED and
TPM_RC_TESTING are asked again, within the timeout.

tpm2-pytss is optional and costs about 10 MB of memory, so `session` is
imported in `open`, when there is a device to talk to.

What this does not protect against: a TPM that lies (its generator cannot be
told from a cipher with a known key); a stopped TPM, whose caller blocks in
libtss2 until it goes on (the daemon has the source in a process of its own and kills
that); what `session` lists.
"""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from hwentropy_core.attestation import Attestation
from hwentropy_core.memory import wipe
from hwentropy_sources.contract import (
    Claim,
    Description,
    Source,
    SourceAbsent,
    SourceConfig,
    SourceError,
)
from hwentropy_sources.discovery import TpmDevice, find_tpms
from hwentropy_sources.kernel.getrandom import Clock, Sleep

from .errors import Fault, TpmError
from .identity import Identity, device_path, group_of, is_tpm_device

if TYPE_CHECKING:
    from .session import TpmConnection

#: The generator in the reference code of the TPM 2.0 Library (Part 4, CryptRand.c) is
#: CTR_DRBG with AES-256, and no TPM tells what its own holds; nor when it reseeds.
CLAIM: Final = Claim(
    bits_per_sample=8,
    min_entropy=4.0,
    provenance="half, by policy: a TPM's generator is a conditioned DRBG, and no TPM "
    "tells through its interface what its noise source is worth",
    strength=256,
    renewal="not known: no TPM tells when it reseeds",
)

#: Seconds before a busy TPM is asked again: TPM2_DURATION_SHORT, what the
#: kernel's driver waits first after TPM_RC_RETRY.
BUSY_PAUSE: Final = 0.02

_NO_TPM_REMEDY: Final = (
    "enable the TPM in the firmware and load its driver (tpm_crb or tpm_tis), or set `tcti`"
)
_PERMISSION_REMEDY: Final = (
    "add the user to the group that the device belongs to (usually tss), "
    "or allow the device in the unit (DeviceAllow=)"
)
_INSTALL_REMEDY: Final = "install libtss2-dev and pip install hwentropy[tpm]"


class Tpm2Config(SourceConfig, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The keys of a `tpm2` table."""

    tcti: str = ""
    """libtss2's name of the way to the TPM, such as "device:/dev/tpmrm0" or
    "swtpm:path=/run/swtpm/sock"; empty: the first /dev/tpmrmN."""
    session: Literal["encrypted", "plain"] = "encrypted"
    """"encrypted": answers are encrypted and authenticated on the bus."""


class Tpm2(Source):
    """See the module's docstring."""

    kind: ClassVar[str] = "tpm2"
    Config: ClassVar[type[SourceConfig]] = Tpm2Config

    def __init__(
        self,
        config: Tpm2Config | None = None,
        *,
        find: Callable[[], list[TpmDevice]] = find_tpms,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.config = config if config is not None else Tpm2Config()
        self._find = find
        self._clock = clock
        self._sleep = sleep
        self._tcti = self.config.tcti
        self._identity: Identity | None = None
        self._connection: TpmConnection | None = None

    def describe(self) -> Description:
        """Group and facts are those of the TPM that the last `open` reached."""
        facts = {"tcti": self._tcti or "not found yet", "session": self.config.session}
        if self._identity is not None:
            facts["manufacturer"] = self._identity.manufacturer
            facts["vendor"] = self._identity.vendor
            facts["firmware"] = self._identity.firmware
            if self._identity.is_software:
                facts["software"] = "yes"
        group = group_of(self._tcti) if self._tcti else "tpm0"
        return Description(group, CLAIM, facts)

    def open(self) -> None:
        """Find the TPM, connect afresh, start the session."""
        self.close()
        self._identity = None
        self._tcti = self.config.tcti or self._first_device()
        path = device_path(self._tcti)
        if path is not None:
            _check_device(path)
        connect = _connection_class()
        try:
            self._connection = connect(self._tcti, encrypted=self.config.session == "encrypted")
        except TpmError as error:
            fault = error.meaning.fault
            # A device that could be opened is there, and is at fault; what else
            # a TCTI leads to is not there when nothing answers.
            if fault is Fault.UNSUPPORTED or (fault is Fault.TRANSPORT and path is None):
                raise SourceAbsent(error.reason, error.remedy) from None
            raise
        self._identity = self._connection.identity

    def read(self, samples: int, timeout: float) -> bytearray:
        """As the contract says; a sample is one byte."""
        if self._connection is None:
            raise SourceError("the tpm2 source is not open")
        out = bytearray(samples)
        try:
            with memoryview(out) as view:
                self._fill(self._connection, view, timeout)
        except SourceError:
            wipe(out)
            raise
        return out

    def attest(self, statement: bytes) -> Attestation | None:
        """By a key in the TPM that only signs what the TPM made (`attestation`)."""
        if self._connection is None:
            raise SourceError("the tpm2 source is not open")
        return self._connection.attest(statement)

    def close(self) -> None:
        """End the session and let go of the TPM; what was found stays described."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fill(self, connection: "TpmConnection", out: memoryview, timeout: float) -> None:
        filled = 0
        give_up = self._clock() + timeout
        while filled < len(out):
            try:
                filled += connection.get_random(out[filled:])
            except TpmError as error:
                left = give_up - self._clock()
                if error.meaning.fault is not Fault.BUSY or left <= 0:
                    raise
                self._sleep(min(BUSY_PAUSE, left))
            else:
                if filled < len(out) and self._clock() >= give_up:
                    raise SourceError(
                        f"the TPM gave {filled} of {len(out)} bytes within {timeout:g} s",
                        "raise `deadline` if the TPM is only slow",
                    )

    def _first_device(self) -> str:
        found = self._find()
        if not found:
            raise SourceAbsent("the kernel lists no TPM 2.0 (subsystem tpmrm)", _NO_TPM_REMEDY)
        return f"device:{found[0].path}"


def _check_device(path: Path) -> None:
    """Check whether it is there, for a better reason than libtss2's "I/O error".

    A TPM is opened and closed.  Any other device is not: closing a terminal,
    for one, may end what is behind it.
    """
    try:
        if is_tpm_device(path):
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        else:
            path.stat()
    except PermissionError:
        raise SourceAbsent(f"no permission on {path}", _PERMISSION_REMEDY) from None
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
            raise SourceAbsent(f"there is no TPM at {path}", _NO_TPM_REMEDY) from None
        remedy = (
            "another program holds it: use /dev/tpmrmN" if error.errno == errno.EBUSY else ""
        )
        raise SourceError(f"cannot open {path}: {error.strerror}", remedy) from None


def _connection_class() -> "type[TpmConnection]":
    """Load libtss2 and tpm2-pytss.  Raises SourceAbsent where they are missing.

    libtss2 logs to stderr on its own, in its own format; our errors say the
    same, so it is told to be quiet, unless the user set TSS2_LOG.  It reads the
    variable once, at the first thing it would log, hence before it is loaded.
    """
    os.environ.setdefault("TSS2_LOG", "all+none")
    try:
        from .session import (  # noqa: PLC0415 - optional, and 10 MB: see the docstring
            TpmConnection,
        )
    except ModuleNotFoundError as error:
        if error.name != "tpm2_pytss":
            raise
        raise SourceAbsent("tpm2-pytss is not installed", _INSTALL_REMEDY) from None
    except ImportError as error:
        raise SourceAbsent(
            f"tpm2-pytss cannot be loaded ({error})",
            "install this machine's libtss2-dev and reinstall tpm2-pytss",
        ) from None
    return TpmConnection
