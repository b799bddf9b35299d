"""`python -m hwentropy.examples`: everything that the package offers, once, for real.

Each function is one section: what it prints was drawn from the running daemon a
moment ago.  The secrets are shown because they are of no use to anybody.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import hwentropy
from hwentropy import secrets
from hwentropy.hashing import OWASP_PBKDF2
from hwentropy.token_service import InvalidToken, TokenService


def show(what: str, value: object) -> None:
    """One line of output."""
    print(f"  {what:<28} {value}")


def client() -> None:
    """The daemon asked directly."""
    with hwentropy.Client() as daemon:
        show("state", daemon.info().state)
        show("read(16)", daemon.read(16).hex())
        show("with fresh entropy", daemon.read(16, prediction_resistance=True).hex())


def generator() -> None:
    """This process's own generator, which the daemon seeds."""
    from hwentropy.generator import configure, fill, random_bytes  # noqa: PLC0415 - beside its use

    show("random_bytes(8)", random_bytes(8).hex())
    buffer = bytearray(8)
    fill(buffer)
    show("fill(buffer)", buffer.hex())
    configure(mode="direct")
    show("mode='direct'", random_bytes(8).hex())
    configure(mode="lease")


def names_of_secrets() -> None:
    """The names of Python's `secrets`."""
    show("token_bytes(8)", secrets.token_bytes(8))
    show("token_hex(16)", secrets.token_hex(16))
    show("token_urlsafe(16)", secrets.token_urlsafe(16))
    show("randbelow(10**6)", secrets.randbelow(10**6))
    show("randbits(64)", secrets.randbits(64))
    show("choice", secrets.choice(["heads", "tails"]))
    show("compare_digest", secrets.compare_digest("a", "a"))
    random = secrets.SystemRandom()
    show("shuffle", random.sample(range(10), 10))
    show("gauss", f"{random.gauss(100, 15):.2f}")


def beyond_secrets() -> None:
    """What people look for in `secrets` and do not find."""
    show("token_bits(20)", f"{secrets.token_bits(20):020b}")
    show("token_uuid4()", secrets.token_uuid4())
    show("token_uuid7()", secrets.token_uuid7())
    show("nonce()", secrets.nonce().hex())
    nonces = secrets.Nonces(12)
    show("Nonces(12)", f"{next(nonces).hex()}, {next(nonces).hex()}")


def simulations() -> None:
    """NumPy, for simulations that must not be predictable."""
    if find_spec("numpy") is None:
        show("not here", "install numpy to see this section")
        return
    from hwentropy import numpy  # noqa: PLC0415 - NumPy is optional

    show("random(3)", numpy.random(3))
    show("integers(1, 7, 10)", numpy.integers(1, 7, 10))
    show("permutation(5)", numpy.permutation(5))
    show("bytes(4)", numpy.bytes(4).hex())


def for_people() -> None:
    """Passwords, passphrases, PINs, with their bits."""
    for what, made in (
        ("password", hwentropy.generate_password()),
        ("nothing ambiguous", hwentropy.generate_password(exclude_ambiguous=True)),
        ("passphrase", hwentropy.generate_passphrase()),
        ("PIN", hwentropy.generate_pin()),
    ):
        show(what, f"{made.value}  ({made.entropy_bits:.1f} bits)")
    show("their repr", repr(hwentropy.generate_password()))


def one_time_codes() -> None:
    """Codes as authenticator apps show them."""
    codes = hwentropy.OneTimeCodes(hwentropy.generate_otp_secret())
    show("for the app", codes.uri("alice@example.com", "Example"))
    code = codes.code()
    step = codes.check(code)
    show("now", code)
    show("a second time", refused(lambda: codes.check(code, last=step)))


def api_keys() -> None:
    """Keys that a scanner recognises."""
    key = hwentropy.generate_api_key("acme_live")
    show("key", key)
    show("parsed", hwentropy.parse_api_key(key))
    show("mistyped", refused(lambda: hwentropy.parse_api_key(key[:-1] + "!")))
    text = f"password=acme_live_{'A' * 36} key={key}"
    show(
        "found in a text at", [where for where, _ in hwentropy.find_api_keys(text, "acme_live")]
    )


def webhooks() -> None:
    """Signed messages between servers."""
    secret = hwentropy.generate_webhook_secret()
    body = b'{"type": "invoice.paid"}'
    headers = hwentropy.Webhook(secret).sign("msg_1", body)
    show("secret", secret)
    for name, value in headers.items():
        show(name, value)
    hwentropy.Webhook(secret).check(headers, body)
    show("changed", refused(lambda: hwentropy.Webhook(secret).check(headers, body + b" ")))


def signed_tokens() -> None:
    """Temporary tokens: content and time are signed."""
    tokens = hwentropy.SignedTokens(hwentropy.generate_signing_key(), purpose="confirm-mail")
    token = tokens.create({"user": 7}, lifetime=3600)
    show("token", token)
    show("content", tokens.check(token))
    show("changed", refused(lambda: tokens.check("x" + token)))


def stored_passwords() -> None:
    """Argon2id and PBKDF2, in the PHC string form; salts."""
    stored = hwentropy.hash_password("correct horse")
    show("argon2id", stored)
    hwentropy.check_password("correct horse", stored)
    show("wrong", refused(lambda: hwentropy.check_password("battery staple", stored)))
    old = hwentropy.hash_password("correct horse", OWASP_PBKDF2)
    show("pbkdf2", old)
    show("to be hashed anew", hwentropy.needs_rehash(old))
    show("salt", hwentropy.generate_salt().hex())


def sessions() -> None:
    """A web session: id and CSRF token."""
    session = hwentropy.Session.create()
    show("session id", session.session_id)
    show("CSRF token", session.csrf_token)
    show("its repr", session)
    new = session.refresh()
    show("the old id", refused(lambda: new.check_id(session.session_id)))


def token_service() -> None:
    """Tokens that are kept, listed and revoked."""
    with (
        tempfile.TemporaryDirectory() as directory,
        TokenService(Path(directory) / "tokens.db") as service,
    ):
        session = service.create_session("alice", lifetime=3600)
        key = service.create_api_key("alice", prefix="acme", scopes={"read"})
        show("session token", session.token)
        show("API key", key.token)
        show("may read", service.validate(key.token, scopes={"read"}).owner)
        show("issued", len(list(service.list(owner="alice"))))
        service.revoke(session.record.id)
        show("revoked", refused(lambda: service.validate(session.token)))


def temporary_files() -> None:
    """A file that nobody finds beforehand, and that goes by itself."""
    with hwentropy.secure_temporary_file(suffix=".key") as file:
        file.write(b"secret")
        path = Path(file.name)
        show("name", path.name)
        show("mode", f"{path.stat().st_mode & 0o777:o}")
    show("afterwards", "there" if path.exists() else "gone")


def commands() -> None:
    """The `hwentropy` command: the first line of what each prints."""
    for line, given in (
        ("token --urlsafe 16", ""),
        ("int 1 6", ""),
        ("choose rock paper scissors", ""),
        ("shuffle", "one\ntwo\nthree\n"),
        ("password", ""),
        ("passphrase", ""),
        ("uuid", ""),
        ("apikey --prefix acme", ""),
        ("salt --base64", ""),
        ("analyze --live 65536", ""),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hwentropy", *line.split()],
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        show(line, done.stdout.splitlines()[0])


def refused(check: Callable[[], object]) -> str:
    """What a check says of something that must not pass it."""
    try:
        check()
    except (hwentropy.CheckFailed, InvalidToken) as error:
        return f"refused: {error}"
    raise AssertionError("a check let something pass that it must not")


SECTIONS: Final = (
    *(client, generator, names_of_secrets, beyond_secrets, simulations, for_people),
    *(one_time_codes, api_keys, webhooks, signed_tokens, stored_passwords, sessions),
    *(token_service, temporary_files, commands),
)


_ABOUT: Final = "Everything that the package offers, once, drawn from the running daemon."


def main() -> int:
    """Run every section; 3 when there is no daemon, 1 when it refuses, as `hwentropy`."""
    argparse.ArgumentParser(
        prog="python -m hwentropy.examples", description=_ABOUT
    ).parse_args()
    # A reader that has seen enough (`| head`) ends it without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        for section in SECTIONS:
            print(section.__doc__)
            section()
            print()
    except hwentropy.DaemonUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    except hwentropy.HwentropyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
