"""One connection to a TPM 2.0 through libtss2's ESAPI, and the session on it.

Imported by `source.Tpm2.open` only, because `tpm2_pytss` is optional and costs
about 10 MB of memory.

`session = "encrypted"`, after TPM 2.0 Library Part 1, 17 to 21:

    primary  = CreatePrimary(null hierarchy, ECC P-256, restricted decryption)
    session  = StartAuthSession(HMAC, salt encrypted to primary, SHA-256, AES-128-CFB)
    FlushContext(primary)                       the session no longer needs it
    GetRandom(n, session: ENCRYPT | CONTINUESESSION)

so every answer is encrypted on the bus and carries an HMAC that libtss2 checks.
The null hierarchy's authorisation is always empty and its seed is new after
every reset, so nothing is asked of, or left with, the TPM's owner.

What this does not protect against:

* an attacker on the bus who is there before `open` and answers CreatePrimary
  with a key of their own: the key is not tied to the endorsement certificate;
* with `session = "plain"`, anybody on the bus, reading or changing;
* copies that cannot be wiped: libtss2's command buffer holds the last answer
  (64 bytes at most) until the next command or `close`, and frees it unwiped;
  the transport's buffers in the kernel; in a plain session the `bytes` that
  tpm2-pytss makes of an answer.  In an encrypted session libtss2's own copy of
  each decrypted answer is wiped.

Nothing may be left behind on the TPM.  A resource manager (`/dev/tpmrmN`,
tpm2-abrmd) removes a session when its connection ends, however it ends.  On a
transport without one:

* `close` flushes the session with a command of its own, since after an HMAC
  failure ESAPI refuses every call on its context (TSS2_ESYS_RC_BAD_SEQUENCE);
* a daemon that was killed leaves one session.  Nothing is done about it until
  the TPM has no room left (three sessions on swtpm).  Then the sessions that
  are loaded are flushed, once: such a transport serves one program at a time,
  we are that program now, and ESAPI can carry a session from one program to
  the next only when it is saved, which these are not.  Objects are never
  touched: ours is there for the duration of `open` only, and one that is lost
  just then (a kill, a garbled answer) stays until the TPM is reset.
"""

import contextlib
from collections.abc import Generator
from typing import Any, Final

import tpm2_pytss

from hwentropy_core.attestation import Attestation
from hwentropy_core.memory import wipe
from hwentropy_sources.contract import SourceError

from .attestation import create_key_command, created_key, quote_command, quoted
from .errors import SESSIONS_FULL, Fault, TpmError
from .identity import PROPERTIES, Identity, identify
from .plain import flush_context_command, get_random_command, random_bytes

#: The same without types: tpm2-pytss publishes none, and what its classes'
#: attributes are made into at run time no checker can know.
_tss: Any = tpm2_pytss

#: sizeof(TPMU_HA) with SHA-512, the longest TPM2B_DIGEST (Part 2, 10.4.2), and
#: so the most that one GetRandom can return (Part 3, 16.1.1).  A TPM whose
#: longest digest is shorter returns less, without saying so.
MOST_BYTES: Final = 64

#: First handle of an HMAC session, TPM_HT_HMAC_SESSION (Part 2, 7.2) << 24.
_SESSION_HANDLES: Final = 0x02 << 24
#: More than any TPM holds loaded at once (TPM_PT_HR_LOADED_MIN is 3, Part 2, 6.13).
_MOST_SESSIONS: Final = 64

_READING: Final = "GetRandom failed"


def load_tcti(name_conf: str) -> Any:
    """The transport that `name:conf` names.  Raises TSS2_Exception."""
    return _tss.TCTILdr.parse(name_conf)


class TpmConnection:
    """A transport, an ESAPI context and, if asked for, an encrypted session."""

    def __init__(self, tcti: str, *, encrypted: bool) -> None:
        """Connect and get ready to read.  Raises TpmError or SourceError.

        `tcti` names the transport.  What was opened is closed again on failure:
        the source is opened every minute, so nothing may leak.  (That is also
        why ESAPI is not given the string: it loses the transport it loaded
        when its own initialisation fails.)
        """
        self._unreachable = False
        self._encrypted = encrypted
        self._session: Any = None
        self._session_handle = 0
        with contextlib.ExitStack() as undo:
            with self._translated(f"cannot reach a TPM through {tcti!r}"):
                self._tcti = load_tcti(tcti)
                undo.callback(self._tcti.close)
                self._esapi = _tss.ESAPI(self._tcti)
            undo.callback(self._esapi.close)
            with self._translated(f"cannot get an answer from the TPM at {tcti!r}"):
                self.identity: Identity = self._identify()
            if encrypted:
                undo.callback(self._end_session)
                with self._translated(f"cannot start an encrypted session on {tcti!r}"):
                    self._start_session()
            self._undo = undo.pop_all()

    def get_random(self, into: memoryview) -> int:
        """Fill the start of `into` with one GetRandom's answer; bytes written, 1 or more.

        Raises TpmError, or SourceError for an answer that is empty or longer
        than asked.  May block as long as the TPM does, with the GIL released.
        """
        wanted = min(len(into), MOST_BYTES)
        if self._encrypted:
            with self._translated(_READING):
                digest = self._esapi.get_random(wanted, session1=self._session)
            with memoryview(digest.buffer) as answer:
                got = _take(answer, wanted, into)
                wipe(answer)
        else:
            with self._translated(_READING):
                response = self._command(get_random_command(wanted))
            with random_bytes(_READING, response) as answer:
                got = _take(answer, wanted, into)
        return got

    def attest(self, statement: bytes) -> Attestation:
        """Sign a statement, by commands past ESAPI, which goes on as before if one fails.

        Raises TpmError, or SourceError for an answer that is none.
        """
        with self._translated("cannot sign"):
            handle, key = created_key(self._command(create_key_command()))
            try:
                response = self._command(quote_command(handle, statement))
            finally:
                self._flush(handle)
        return quoted(key, response)

    def close(self) -> None:
        """End the session and let go of the transport.  Never raises; call it once."""
        self._undo.close()

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Generator[None]:
        try:
            yield
        except _tss.TSS2_Exception as error:
            translated = TpmError(doing, int(error.rc))
            self._unreachable = translated.meaning.fault is Fault.TRANSPORT
            raise translated from None

    def _identify(self) -> Identity:
        # `data` keeps alive what its members point into.
        _, data = self._esapi.get_capability(
            _tss.TPM2_CAP.TPM_PROPERTIES, PROPERTIES.start, len(PROPERTIES)
        )
        listed = data.data.tpmProperties
        return identify(
            {int(listed[i].property): int(listed[i].value) for i in range(len(listed))}
        )

    def _start_session(self) -> None:
        primary, *_ = self._esapi.create_primary(
            None, "ecc256:aes128cfb", primary_handle=_tss.ESYS_TR.NULL
        )
        primary_handle = int(self._esapi.tr_get_tpm_handle(primary))
        try:
            try:
                session = self._salted_session(primary)
            except _tss.TSS2_Exception as error:
                if error.rc not in SESSIONS_FULL:
                    raise
                self._flush_loaded_sessions()
                session = self._salted_session(primary)
            self._session_handle = int(self._esapi.tr_get_tpm_handle(session))
            self._esapi.trsess_set_attributes(
                session, _tss.TPMA_SESSION.ENCRYPT | _tss.TPMA_SESSION.CONTINUESESSION
            )
            self._session = session
        finally:
            self._flush(primary_handle)

    def _salted_session(self, primary: Any) -> Any:
        return self._esapi.start_auth_session(
            primary, _tss.ESYS_TR.NONE, _tss.TPM2_SE.HMAC, "aes128cfb", _tss.TPM2_ALG.SHA256
        )

    def _flush_loaded_sessions(self) -> None:
        """Make room; see the module's docstring for whose sessions these are.

        Through a resource manager the list is empty: it keeps the sessions of
        others saved, not loaded.
        """
        _, data = self._esapi.get_capability(
            _tss.TPM2_CAP.HANDLES, _SESSION_HANDLES, _MOST_SESSIONS
        )
        listed = data.data.handles
        for handle in [int(listed[i]) for i in range(len(listed))]:
            self._flush(handle)

    def _end_session(self) -> None:
        if self._session_handle and not self._unreachable:
            self._flush(self._session_handle)
        self._session_handle = 0

    def _flush(self, handle: int) -> None:
        """End a session or remove an object; whether that worked does not matter.

        Where it fails the transport is gone, and what follows fails with a reason.
        """
        with contextlib.suppress(_tss.TSS2_Exception):
            self._command(flush_context_command(handle))

    def _command(self, command: bytes) -> bytes:
        """Past ESAPI, which refuses to work after some errors."""
        self._tcti.transmit(command)
        response: bytes = self._tcti.receive()
        return response


def _take(answer: memoryview, wanted: int, into: memoryview) -> int:
    got = len(answer)
    if got == 0:
        raise SourceError(f"{_READING}: the TPM answered with no bytes at all")
    if got > wanted:
        raise SourceError(f"{_READING}: asked for {wanted} bytes, the TPM gave {got}")
    into[:got] = answer
    return got
