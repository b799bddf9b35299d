"""What a stranger sent: every check refuses what is no text as it refuses wrong text."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest

from hwentropy import CheckFailed, Expired
from hwentropy import hashing as hashing_module
from hwentropy.apikeys import generate_api_key, parse_api_key
from hwentropy.hashing import Pbkdf2Cost, check_password, hash_password
from hwentropy.otp import OneTimeCodes
from hwentropy.session import Session
from hwentropy.signed_tokens import SignedTokens
from hwentropy.token_service import TokenService
from hwentropy.untrusted import sent_text
from hwentropy.webhooks import Webhook
from support.seeded_bytes import SeededBytes, supply

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example

#: A cookie, header or field that did not come, and what JSON can hold in its place.
NO_TEXT: list[Any] = [None, 0, 5, 287082, True, 1.5, [], ["a"], {}, {"a": "b"}]
KINDS_OF_BYTES: list[Callable[[bytes], Any]] = [bytes, bytearray, memoryview]

#: What checks one value, and the text that it takes.
Check: TypeAlias = tuple[Callable[[Any], object], str]

CHECKS: dict[str, Callable[[], Check]] = {}


def check(make: Callable[[], Check]) -> Callable[[], Check]:
    """One of CHECKS."""
    CHECKS[make.__name__] = make
    return make


@check
def signed_tokens() -> Check:
    """A link's token."""
    tokens = SignedTokens(bytes(32), purpose="test", clock=lambda: 0)
    return tokens.check, tokens.create("content", 60)


@check
def otp() -> Check:
    """A time-based code."""
    codes = OneTimeCodes("A" * 32, clock=lambda: 0)
    return codes.check, codes.code()


@check
def otp_counter() -> Check:
    """A counter-based code."""
    codes = OneTimeCodes("A" * 32)
    return lambda given: codes.check_counter(given, 7), codes.code(7)


@check
def api_key() -> Check:
    """A key's form and checksum."""
    return parse_api_key, generate_api_key("acme_live")


@check
def session_id() -> Check:
    """A cookie."""
    session = Session.create(clock=lambda: 0)
    return session.check_id, session.session_id


@check
def csrf_token() -> Check:
    """A form's hidden field."""
    session = Session.create(clock=lambda: 0)
    return session.check_csrf, session.csrf_token


def service() -> TokenService:
    """A token service in memory."""
    return TokenService(":memory:", random_bytes=os.urandom)


@check
def service_token() -> Check:
    """A session's or a key's token."""
    made = service()
    return made.validate, made.create_session("alice").token


@check
def service_get() -> Check:
    """A token's id, from a page that lists them."""
    made = service()
    return made.get, made.create_session("alice").record.id


@check
def service_revoke() -> Check:
    """The same, to be revoked."""
    made = service()
    return made.revoke, made.create_session("alice").record.id


@check
def service_expire() -> Check:
    """The same, to expire."""
    made = service()
    return made.expire, made.create_session("alice").record.id


def header(name: str) -> Check:
    """One of a webhook's headers, the others being right."""
    hook = Webhook(SECRET, clock=lambda: 1614265330)
    headers = hook.sign("msg_1", b"body")
    return lambda given: hook.check(headers | {name: given}, b"body"), headers[name]


for _name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
    CHECKS[_name] = partial(header, _name)


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> SeededBytes:
    """Bytes that are the same in every run."""
    source = SeededBytes(17)
    supply(monkeypatch, source)
    return source


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_no_text_is_refused_as_wrong_text_is(name: str) -> None:
    """In the same words, by the same exception, and so is text that was not sent whole."""
    judge, right = CHECKS[name]()
    with pytest.raises(CheckFailed) as wrong:
        judge("")
    for given in NO_TEXT:
        with pytest.raises(CheckFailed) as caught:
            judge(given)
        assert type(caught.value) is type(wrong.value)
        assert type(caught.value) is not Expired
        assert str(caught.value) == str(wrong.value)
    judge(right)


@pytest.mark.parametrize("kind", KINDS_OF_BYTES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", CHECKS)
def test_bytes_are_the_callers_mistake(name: str, kind: Callable[[bytes], Any]) -> None:
    """The right value that was not decoded: TypeError, which does not show it."""
    judge, right = CHECKS[name]()
    with pytest.raises(TypeError, match=r" is bytes; give it as a string, with") as caught:
        judge(kind(right.encode()))
    assert right not in str(caught.value)
    judge(right)


def test_header_names_that_were_not_decoded_are_the_callers_mistake() -> None:
    """As ASGI hands them over; names that are no text at all name no header."""
    hook = Webhook(SECRET, clock=lambda: 1614265330)
    headers = hook.sign("msg_1", b"body")
    odd: Any = {None: "x", 5: "y"}
    hook.check(headers | odd, b"body")
    raw: Any = {name.encode(): value for name, value in headers.items()}
    with pytest.raises(TypeError, match=r"^the name of a header is bytes"):
        hook.check(raw, b"body")


def test_a_webhooks_body_is_bytes() -> None:
    """One that did not come is refused; text, or what was parsed, is the caller's mistake."""
    hook = Webhook(SECRET, clock=lambda: 1614265330)
    headers = hook.sign("msg_1", b"5")
    with pytest.raises(CheckFailed, match="no body"):
        hook.check(headers, None)
    parsed: Any
    for parsed in ("5", 5, {"a": 5}, [5]):
        with pytest.raises(TypeError, match=r"^body is of type \w+; give the bytes as"):
            hook.check(headers, parsed)
    for kind in KINDS_OF_BYTES:
        hook.check(headers, kind(b"5"))


@pytest.mark.parametrize("known", [True, False])
def test_no_password_is_not_the_right_one(
    *, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, whether there is such a user or not: nothing is hashed."""
    stored = hash_password("None", Pbkdf2Cost(1000)) if known else None
    monkeypatch.setattr(hashing_module, "Argon2id", None)
    monkeypatch.setattr(hashing_module, "PBKDF2HMAC", None)
    for given in NO_TEXT:
        with pytest.raises(CheckFailed, match=r"^the password is not the right one$"):
            check_password(given, stored)


@pytest.mark.parametrize("given", [*NO_TEXT, bytearray(b"a"), memoryview(b"a")])
def test_nothing_is_stored_for_no_password(given: Any, seeded: SeededBytes) -> None:
    """Whoever hashes it made the mistake: TypeError, before a salt is drawn."""
    with pytest.raises(TypeError, match=r"^password is of type \w+; give a string"):
        hash_password(given, Pbkdf2Cost(1000))
    assert seeded.given == 0


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_password_in_other_bytes_is_the_callers_mistake(kind: Callable[[bytes], Any]) -> None:
    """`bytes` are a password, and these could be meant as one."""
    stored = hash_password(b"secret", Pbkdf2Cost(1000))
    check_password(b"secret", stored)
    with pytest.raises(TypeError, match=r"^password is of type") as caught:
        check_password(kind(b"secret"), stored)
    assert "secret" not in str(caught.value)


def test_text_comes_through_as_it_is() -> None:
    """Whatever it holds, the empty one too."""
    for text in ("", "a", "é", "\ud800", "\0"):
        assert sent_text(text, "text") is text
