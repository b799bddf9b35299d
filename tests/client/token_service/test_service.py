"""The token service: its rules, on an injected clock, and what it shows of its secrets."""

import hmac
import os
import pickle
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy.token_service import (
    InvalidToken,
    Issued,
    Kind,
    Reason,
    SQLiteStorage,
    TokenRecord,
    TokenService,
)
from hwentropy.token_service.keys import check_of, digest_of
from hwentropy.token_service.service import MAX_TOKEN_CHARACTERS, PAGE

NOON = 1_700_000_000.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of `service`."""
    return Clock()


@pytest.fixture(params=["memory", "file"])
def service(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[TokenService]:
    """A service in memory, and one in a file."""
    place = ":memory:" if request.param == "memory" else tmp_path / "tokens.db"
    with TokenService(place, clock=clock, random_bytes=os.urandom, make_api_key=key) as made:
        yield made


def key(prefix: str) -> str:
    """Stands for hwentropy.apikeys, whose own tests are elsewhere."""
    return f"{prefix}_{os.urandom(20).hex()}"


def refused(service: TokenService, token: str | None, **wanted: object) -> Reason:
    """Why a token is refused."""
    with pytest.raises(InvalidToken) as caught:
        service.validate(token, **wanted)  # type: ignore[arg-type]
    return caught.value.reason


def test_a_token_is_valid_until_it_expires(service: TokenService, clock: Clock) -> None:
    """Good in the moment before `expires`, expired from `expires` on."""
    issued = service.create_session("alice", lifetime=60, labels={"from": "web"})
    assert issued.record == TokenRecord(
        id=issued.record.id,
        kind=Kind.SESSION,
        owner="alice",
        scopes=frozenset(),
        labels={"from": "web"},
        created=NOON,
        expires=NOON + 60,
    )
    clock.now = NOON + 59.999
    assert service.validate(issued.token) == issued.record
    clock.now = NOON + 60
    assert refused(service, issued.token) is Reason.EXPIRED


def test_defaults_follow_the_kind(service: TokenService) -> None:
    """A session lasts 12 hours, an API key until it is revoked."""
    session = service.create_session("alice").record
    api_key = service.create_api_key("alice", prefix="acme").record
    assert session.expires == NOON + 12 * 3600
    assert (api_key.kind, api_key.expires) == (Kind.API_KEY, None)


def test_a_session_token_is_32_random_bytes_for_urls(service: TokenService) -> None:
    """43 characters of RFC 4648 section 5, new every time."""
    tokens = {service.create_session("alice").token for _ in range(50)}
    assert len(tokens) == 50
    allowed = set(string.ascii_letters + string.digits + "-_")
    assert all(len(token) == 43 and set(token) <= allowed for token in tokens)


def test_an_api_key_has_its_prefix(service: TokenService) -> None:
    """The prefix reaches the maker of API keys, and the key it makes is accepted."""
    issued = service.create_api_key("alice", prefix="acme_live")
    assert issued.token.startswith("acme_live_")
    assert service.validate(issued.token, kind=Kind.API_KEY) == issued.record


def test_revoked_is_revoked(service: TokenService, clock: Clock) -> None:
    """At once and for good; a second time changes nothing; others stay."""
    issued, other = service.create_session("alice"), service.create_session("alice")
    service.revoke(issued.record.id)
    clock.now += 10
    service.revoke(issued.record.id)
    assert refused(service, issued.token) is Reason.REVOKED
    assert service.get(issued.record.id).revoked == NOON
    assert service.validate(other.token) == other.record
    # A clock that is set back brings back nothing that was revoked.
    clock.now = NOON - 1000
    assert refused(service, issued.token) is Reason.REVOKED


def test_all_tokens_of_an_owner_are_revoked(service: TokenService) -> None:
    """Of the kind that is asked for, or of all; counts those that were not yet."""
    session = service.create_session("alice")
    api_key = service.create_api_key("alice", prefix="acme")
    bob = service.create_session("bob")
    assert service.revoke_all("alice", kind=Kind.SESSION) == 1
    assert refused(service, session.token) is Reason.REVOKED
    assert service.validate(api_key.token) == api_key.record
    assert service.revoke_all("alice") == 1
    assert service.revoke_all("alice") == 0
    assert service.validate(bob.token) == bob.record


def test_expire_only_shortens(service: TokenService, clock: Clock) -> None:
    """A token ends sooner, never later, and one without an end gets one."""
    issued = service.create_session("alice", lifetime=60)
    endless = service.create_api_key("alice", prefix="acme")
    for token in (issued, endless):
        service.expire(token.record.id, after=30)
        service.expire(token.record.id, after=1000)
        assert service.get(token.record.id).expires == NOON + 30
    service.expire(endless.record.id)
    assert refused(service, endless.token) is Reason.EXPIRED
    clock.now += 30
    assert refused(service, issued.token) is Reason.EXPIRED


def test_scopes_and_kind_must_match(service: TokenService) -> None:
    """Every scope that is asked for must be there; the kind too."""
    issued = service.create_session("alice", scopes={"read", "write"})
    assert service.validate(issued.token, scopes=["read"]) == issued.record
    assert service.validate(issued.token, scopes={"read", "write"}, kind=Kind.SESSION)
    assert refused(service, issued.token, scopes={"read", "admin"}) is Reason.SCOPE
    assert refused(service, issued.token, kind=Kind.API_KEY) is Reason.KIND


def test_a_string_is_not_a_set_of_scopes(service: TokenService) -> None:
    """`scopes="read"` would be four scopes of one letter: a TypeError."""
    issued = service.create_session("alice", scopes=("r", "e", "a", "d"))
    with pytest.raises(TypeError, match="set"):
        service.validate(issued.token, scopes="read")
    with pytest.raises(TypeError, match="set"):
        service.create_session("alice", scopes="read")


def test_nothing_near_a_token_is_accepted(service: TokenService) -> None:
    """Each character changed, one more or less, another case: unknown."""
    issued = service.create_session("alice")
    token = issued.token
    near = {
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(43)
    }
    near |= {token[:-1], token[1:], token + "A", token + "=", f" {token}", token.swapcase(), ""}
    for guess in near:
        assert refused(service, guess) is Reason.UNKNOWN
    assert service.validate(token) == issued.record


@pytest.fixture(scope="module")
def target() -> Iterator[TokenService]:
    """One service for all the examples."""
    with TokenService(":memory:", random_bytes=os.urandom) as made:
        yield made


@given(text=st.text(alphabet=st.characters(), max_size=2000))
def test_any_text_is_a_clean_refusal(target: TokenService, text: str) -> None:
    """Lone surrogates, NUL, far too long: InvalidToken and nothing else."""
    assert refused(target, text) is Reason.UNKNOWN
    assert refused(target, text + "\ud800\0") is Reason.UNKNOWN
    assert refused(target, text + "x" * MAX_TOKEN_CHARACTERS) is Reason.UNKNOWN


@pytest.mark.parametrize("given", [None, 0, 5, True, 1.5, ["a"], {"token": "a"}])
def test_what_is_no_string_is_no_token(service: TokenService, given: Any) -> None:
    """A cookie that did not come, and what hostile JSON holds, are refused as any other."""
    service.create_session("alice")
    assert refused(service, given) is Reason.UNKNOWN


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_the_callers_mistake(
    service: TokenService, kind: Callable[[bytes], Any]
) -> None:
    """A good token that was not decoded is called so, and not shown."""
    token = service.create_session("alice").token
    with pytest.raises(TypeError, match=r"^token is bytes; give it as a string") as caught:
        service.validate(kind(token.encode()))
    assert token not in str(caught.value)


@pytest.mark.parametrize("owner", [None, 7, b"alice", ["alice"]])
def test_an_owner_is_a_string(service: TokenService, owner: Any) -> None:
    """Anything else names the argument, and nothing is issued."""
    words = r"^owner is of type \w+; give a string"
    with pytest.raises(TypeError, match=words):
        service.create_session(owner)
    with pytest.raises(TypeError, match=words):
        service.create_api_key(owner, prefix="acme")
    assert list(service.list(ended=True)) == []


def test_an_owner_is_somebody(service: TokenService) -> None:
    """The empty string is not, and nothing is issued."""
    with pytest.raises(ValueError, match="owner is empty"):
        service.create_session("")
    with pytest.raises(ValueError, match="owner is empty"):
        service.create_api_key("", prefix="acme")
    assert list(service.list(ended=True)) == []


def test_unknown_ids_are_refused(service: TokenService) -> None:
    """A mistyped id leaves no token valid in silence."""
    for call in (service.revoke, service.expire, service.get):
        with pytest.raises(InvalidToken) as caught:
            call("00" * 12)
        assert caught.value.reason is Reason.UNKNOWN


@pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf")])
def test_a_lifetime_is_above_zero_and_ends(service: TokenService, lifetime: float) -> None:
    """Anything else is a ValueError; None is how to say "never"."""
    with pytest.raises(ValueError, match="lifetime"):
        service.create_session("alice", lifetime=lifetime)
    with pytest.raises(ValueError, match="after"):
        service.expire("00", after=-1)
    assert list(service.list(ended=True)) == []


def test_list_filters_and_pages(service: TokenService, clock: Clock) -> None:
    """In the order of their making, over several pages, by owner, kind and state."""
    made = [service.create_session("alice", lifetime=10).record for _ in range(PAGE + 3)]
    bob = service.create_session("bob", lifetime=1000).record
    api_key = service.create_api_key("alice", prefix="acme").record
    assert list(service.list()) == [*made, bob, api_key]
    assert list(service.list(owner="bob")) == [bob]
    assert list(service.list(owner="alice", kind=Kind.API_KEY)) == [api_key]
    clock.now += 10
    assert list(service.list()) == [bob, api_key]
    assert len(list(service.list(ended=True))) == PAGE + 5


def test_purge_forgets_what_ended_and_nothing_else(service: TokenService, clock: Clock) -> None:
    """By the time since the end; a purged token is unknown, so still refused."""
    expired = service.create_session("alice", lifetime=10)
    revoked = service.create_session("alice", lifetime=1000)
    kept = service.create_session("alice", lifetime=1000)
    endless = service.create_api_key("alice", prefix="acme")
    service.revoke(revoked.record.id)
    clock.now += 11
    assert service.purge(older_than=100) == 0
    assert service.purge() == 2
    assert refused(service, expired.token) is Reason.UNKNOWN
    assert refused(service, revoked.token) is Reason.UNKNOWN
    assert [r.id for r in service.list(ended=True)] == [kept.record.id, endless.record.id]


def test_nothing_shown_holds_a_secret(service: TokenService) -> None:
    """repr, str and the errors' messages have neither the token nor the key."""
    issued = service.create_session("alice")
    errors = []
    for reason in Reason:
        error = InvalidToken(reason)
        assert pickle.loads(pickle.dumps(error)).reason is reason  # noqa: S301 - our own
        errors.append(str(error))
    shown = f"{issued!r} {issued} {issued.record!r} {service!r} {errors}"
    assert issued.token not in shown
    assert service._key.hex() not in shown
    assert issued.record.id in repr(issued)


def test_the_digest_is_hmac_sha_256() -> None:
    """Computed a second way, by RFC 2104's definition, over the documented input."""
    import hashlib  # noqa: PLC0415 - the second way

    secret, token = bytes(range(32)), "abc"
    padded = secret.ljust(64, b"\0")
    inner = bytes(b ^ 0x36 for b in padded) + b"hwentropy token 1\0" + token.encode()
    outer = bytes(b ^ 0x5C for b in padded) + hashlib.sha256(inner).digest()
    assert digest_of(secret, token) == hashlib.sha256(outer).digest()
    assert check_of(secret) == hmac.digest(secret, b"hwentropy check 1", "sha256")
    assert digest_of(secret, token) != digest_of(bytes(32), token)


def test_keys_too_short_or_missing_are_refused(tmp_path: Path) -> None:
    """31 bytes are a ValueError; so is no key for a store of one's own."""
    with pytest.raises(ValueError, match="at least 32"):
        TokenService(tmp_path / "tokens.db", key=bytes(31))
    assert not list(tmp_path.iterdir())
    store = SQLiteStorage(":memory:", bytes(32))
    with pytest.raises(ValueError, match="key="):
        TokenService(store)
    store.close()


class Lax:
    """A store of another's making that finds a record under any digest."""

    def __init__(self, inner: SQLiteStorage) -> None:
        self.inner = inner
        self.any: tuple[bytes, TokenRecord] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def insert(self, digest: bytes, record: TokenRecord) -> None:
        """Keep the last one."""
        self.any = digest, record

    def find(self, _digest: bytes) -> tuple[bytes, TokenRecord] | None:
        """Always the same."""
        return self.any


def test_a_lax_store_gets_nobody_in() -> None:
    """The service compares the digest itself, so a store that finds too much is harmless."""
    store = Lax(SQLiteStorage(":memory:", bytes(32)))
    service = TokenService(store, key=bytes(32), random_bytes=os.urandom)  # type: ignore[arg-type]
    issued: Issued = service.create_session("alice")
    assert service.validate(issued.token) == issued.record
    assert refused(service, issued.token[:-1]) is Reason.UNKNOWN
    service.close()
