"""The key of the stored hashes, and the file it is kept in.

    digest = HMAC-SHA-256(key, "hwentropy token 1" ‖ 0x00 ‖ token)      RFC 2104
    check  = HMAC-SHA-256(key, "hwentropy check 1")

A stolen database without the key is of no use: nobody can try tokens against it,
nor compute the digest of a token of their own to put in.  So the key lies in a
file of its own (mode 0600), which backups of the database need not contain, or
is given by the caller.  `check` is stored beside the digests and tells a wrong
key apart from wrong tokens.

What this does not protect against: one who reads both files, or this process.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .errors import TokenStoreError

__all__ = ["KEY_BYTES", "check_of", "digest_of", "key_beside", "publish"]

#: The length of the hash's output: a shorter key would weaken it, a longer one
#: adds nothing (RFC 2104 section 3).
KEY_BYTES: Final = 32

_TOKEN: Final = b"hwentropy token 1\0"
_CHECK: Final = b"hwentropy check 1"


def digest_of(key: bytes, token: str) -> bytes:
    """The 32 bytes under which a token is stored."""
    # A hostile string may hold lone surrogates, which plain UTF-8 refuses.
    return hmac.digest(key, _TOKEN + token.encode("utf-8", "surrogatepass"), "sha256")


def check_of(key: bytes) -> bytes:
    """32 bytes that tell whether a database belongs to a key."""
    return hmac.digest(key, _CHECK, "sha256")


def key_beside(database: Path, random_bytes: Callable[[int], bytes]) -> bytes:
    """The key in `<database>.key`, made if neither it nor the database is there.

    Raises TokenStoreError when the database has lost its key, and when others
    than the owner may read or write it.
    """
    if database.is_dir():
        raise TokenStoreError(f"{database} is a directory; name a file in it for the store")
    path = database.with_name(f"{database.name}.key")
    try:
        # The key first: another process may make both between the two looks.
        if not path.exists() and not database.exists():
            publish(path, random_bytes(KEY_BYTES))
        return _read(path)
    except FileNotFoundError:
        if not database.parent.exists():
            raise TokenStoreError(
                f"there is no directory {database.parent} for the token store; make it, or "
                "choose another place"
            ) from None
        raise TokenStoreError(
            f"the token store {database} is there but its key {path} is not; restore the "
            "key, or remove the store and issue every token anew"
        ) from None
    except OSError as error:
        raise TokenStoreError(f"cannot use the key {path}: {error.strerror}") from None


def publish(path: Path, content: bytes) -> None:
    """Make the file `path` (mode 0600), complete from the first moment it is seen.

    One that is there already, or that another process makes meanwhile, stays.
    """
    # The name only has to be free; the key itself is not taken from here.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        link_if_absent(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def link_if_absent(draft: Path, path: Path) -> None:
    """Give a finished file its name, unless that is taken; on the disk when it returns."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        if mode & 0o077:
            raise TokenStoreError(
                f"the key {path} has mode {mode:04o}, so others may use it; chmod 600 it, "
                "and if somebody may have read it, make a new one and issue every token anew"
            )
        key = stream.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise TokenStoreError(f"the key {path} is not {KEY_BYTES} bytes long; restore it")
    return key
