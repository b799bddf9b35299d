"""hwentropy.session: what is fresh, what stays, and what is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropy import CheckFailed, Expired
from hwentropy.session import Session
from support.seeded_bytes import SeededBytes, supply


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> SeededBytes:
    """Bytes that are the same in every run."""
    source = SeededBytes(11)
    supply(monkeypatch, source)
    return source


def at(now: float) -> Session:
    """A session that began at a time."""
    return Session.create(clock=lambda: now)


def test_both_secrets_are_256_fresh_bits(seeded: SeededBytes) -> None:
    """32 bytes each, in characters that a cookie takes, and no two the same."""
    sessions = [at(0) for _ in range(100)]
    secrets = [s for one in sessions for s in (one.session_id, one.csrf_token)]
    assert len(set(secrets)) == 200
    assert seeded.given == 200 * 32
    assert all(len(base64.urlsafe_b64decode(one + "=")) == 32 for one in secrets)


def test_a_refresh_changes_the_secrets_and_keeps_the_beginning() -> None:
    """After it, the old id and CSRF token are worth nothing."""
    old = at(100)
    new = old.refresh(clock=lambda: 150)
    assert (new.created, new.refreshed) == (100, 150)
    new.check_id(new.session_id)
    new.check_csrf(new.csrf_token)
    with pytest.raises(CheckFailed):
        new.check_id(old.session_id)
    for wrong in (old.csrf_token, new.session_id):
        with pytest.raises(CheckFailed):
            new.check_csrf(wrong)
    assert (old.created, old.refreshed) == (100, 100)


@given(st.one_of(st.text(), st.just("\ud800é")))
def test_whatever_comes_fails(given: str) -> None:
    """Hostile text gives CheckFailed, never another error, and is not repeated."""
    session = at(0)
    for check in (session.check_id, session.check_csrf):
        with pytest.raises(CheckFailed, match=r"is not this session's; log in again$"):
            check(given)


def test_what_was_not_sent_fails() -> None:
    """A request without the cookie, a form without the field."""
    session = at(0)
    for check in (session.check_id, session.check_csrf):
        with pytest.raises(CheckFailed):
            check(None)


def test_the_comparison_is_hmacs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both checks go through hmac.compare_digest, whole, whatever differs."""
    compared: list[tuple[bytes, bytes]] = []

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("hwentropy.session.hmac.compare_digest", spy)
    session = at(0)
    session.check_id(session.session_id)
    with pytest.raises(CheckFailed):
        session.check_csrf("x")
    assert compared == [
        (session.session_id.encode(), session.session_id.encode()),
        (session.csrf_token.encode(), b"x"),
    ]


def test_an_idle_session_ends() -> None:
    """Thirty minutes after the last refresh."""
    session = at(1000)
    session.check_age(clock=lambda: 1000 + 1799.9)
    with pytest.raises(Expired):
        session.check_age(clock=lambda: 1000 + 1800)
    session.refresh(clock=lambda: 2000).check_age(clock=lambda: 1000 + 1800)


def test_a_busy_session_ends_too() -> None:
    """Eight hours after its beginning, whatever was refreshed; or as asked."""
    session = at(0).refresh(clock=lambda: 28_799)
    session.check_age(clock=lambda: 28_799.9)
    with pytest.raises(Expired):
        session.check_age(clock=lambda: 28_800)
    session.check_age(absolute=90_000, clock=lambda: 28_800)
    with pytest.raises(Expired):
        session.check_age(idle=10, clock=lambda: 28_809)


def test_the_repr_hides_the_secrets() -> None:
    """It shows the times only, and two sessions are equal only if they are one."""
    session = at(5)
    assert repr(session) == "Session(created=5, refreshed=5)"
    twin = Session(session.session_id, session.csrf_token, 5, 5)
    assert session != twin
