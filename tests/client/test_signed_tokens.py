"""hwentropy.signed_tokens: content and time hold, against every change."""

import base64
import hashlib
import hmac
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy import CheckFailed, Expired
from hwentropy.signed_tokens import SignedTokens, generate_signing_key
from support.seeded_bytes import SeededBytes, supply

KEY = bytes(range(32))
OLD = bytes(range(100, 132))
NOW = 1_700_000_000.5


def tokens(
    keys: bytes | list[bytes] = KEY, *, purpose: str = "test", now: float = NOW
) -> SignedTokens:
    """A maker and checker with a fixed clock."""
    return SignedTokens(keys, purpose=purpose, clock=lambda: now)


@pytest.mark.parametrize("content", [{"user": 7}, "x", 1.5, None, [], ["é"], "long " * 500])
def test_the_content_comes_back(content: object) -> None:
    """Whatever JSON knows, in characters that a URL takes as they are."""
    token = tokens().create(content, 60)
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")
    assert tokens().check(token) == content


def test_the_token_is_what_the_module_says() -> None:
    """End and content in JSON, HMAC-SHA-256 under a key derived for the purpose."""
    payload, signature = tokens().create("a", 60).split(".")
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == [1_700_000_061, "a"]
    derived = hmac.digest(KEY, b"hwentropy signed token: test", hashlib.sha256)
    mac = hmac.digest(derived, payload.encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "=") == mac


def test_it_ends_when_it_was_to_end() -> None:
    """Good until its end, rounded up to a second; then Expired, for ever."""
    token = tokens().create("a", 60)
    assert tokens(now=NOW + 60).check(token) == "a"
    for now in (NOW + 60.5, NOW + 61, NOW + 10**9):
        with pytest.raises(Expired):
            tokens(now=now).check(token)


def test_no_character_can_be_changed() -> None:
    """Every other character in every place, one more and one less: never accepted."""
    alphabet = string.ascii_letters + string.digits + "-_.=+/ "
    token = tokens().create({"user": 7}, 60)
    changed = {token[:i] + c + token[i + 1 :] for i in range(len(token)) for c in alphabet}
    changed |= {token[:i] + token[i + 1 :] for i in range(len(token))}
    changed |= {token[:i] + c + token[i:] for i in range(len(token) + 1) for c in alphabet}
    changed.discard(token)
    for one in changed:
        with pytest.raises(CheckFailed) as caught:
            tokens().check(one)
        assert type(caught.value) is CheckFailed


def test_the_end_cannot_be_moved() -> None:
    """Another end under the old signature, as somebody would try by hand."""
    payload, signature = tokens().create("a", 60).split(".")
    moved = base64.urlsafe_b64encode(b'[9999999999,"a"]').decode().rstrip("=")
    assert len(moved) == len(payload)
    with pytest.raises(CheckFailed, match="changed"):
        tokens(now=NOW + 100).check(f"{moved}.{signature}")


def test_an_expired_forgery_is_a_forgery() -> None:
    """Expired is said of our own tokens only."""
    with pytest.raises(CheckFailed) as caught:
        tokens(OLD, now=NOW + 100).check(tokens().create("a", 60))
    assert type(caught.value) is CheckFailed


def test_a_token_is_for_one_purpose() -> None:
    """The same key for another purpose does not accept it."""
    with pytest.raises(CheckFailed):
        tokens(purpose="other").check(tokens().create("a", 60))


def test_keys_can_be_changed() -> None:
    """The last key signs, all are accepted, a removed one is not."""
    old, both, new = tokens(OLD), tokens([OLD, KEY]), tokens(KEY)
    assert both.check(old.create("a", 60)) == "a"
    assert new.check(both.create("b", 60)) == "b"
    with pytest.raises(CheckFailed):
        new.check(old.create("a", 60))


@given(st.text())
def test_any_text_fails_the_check(text: str) -> None:
    """Hostile text gives CheckFailed, never another error, and is not repeated."""
    for token in (text, f".{text}", f"{text}.{text}", f"WzEsMV0.{text}"):
        with pytest.raises(CheckFailed, match="the token is not valid here"):
            tokens().check(token)


@pytest.mark.parametrize("lifetime", [0, -1, float("inf"), float("nan")])
def test_a_token_has_an_end(lifetime: float) -> None:
    """No token lives for ever or not at all."""
    with pytest.raises(ValueError, match="lifetime"):
        tokens().create("a", lifetime)


def test_weak_keys_and_no_purpose_are_refused() -> None:
    """A password is no key; and the message does not repeat it."""
    for keys in (b"secret", [], [KEY, b"secret"], b""):
        with pytest.raises(ValueError, match="at least 32 bytes") as caught:
            tokens(keys)
        assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="what the tokens are for"):
        tokens(purpose="")


def test_keys_are_256_fresh_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bytes of the generator; the repr does not show them."""
    source = SeededBytes(9)
    supply(monkeypatch, source)
    key = generate_signing_key()
    assert (len(key), source.given) == (32, 32)
    assert key != generate_signing_key()
    assert repr(tokens(key)) == "SignedTokens(<hidden>, purpose='test')"
