"""hwentropy.otp against the vectors of RFC 4226 and RFC 6238, and its rules."""

import base64
import contextlib
import hmac
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_mock import MockerFixture

from hwentropy import CheckFailed
from hwentropy.otp import OneTimeCodes, generate_otp_secret
from support.seeded_bytes import SeededBytes, supply

SECRET = base64.b32encode(b"12345678901234567890").decode()

#: RFC 4226, appendix D.
HOTP = [
    "755224",
    "287082",
    "359152",
    "969429",
    "338314",
    "254676",
    "287922",
    "162583",
    "399871",
    "520489",
]

#: RFC 6238, appendix B: time, algorithm, code.
TOTP = [
    (59, "SHA1", "94287082"),
    (59, "SHA256", "46119246"),
    (59, "SHA512", "90693936"),
    (1111111109, "SHA1", "07081804"),
    (1111111109, "SHA256", "68084774"),
    (1111111109, "SHA512", "25091201"),
    (20000000000, "SHA1", "65353130"),
    (20000000000, "SHA256", "77737706"),
    (20000000000, "SHA512", "47863826"),
]

#: RFC 6238, appendix B, and its errata 2866: the digits are repeated to the hash's length.
LENGTHS = {"SHA1": 20, "SHA256": 32, "SHA512": 64}


def codes_at(now: float) -> OneTimeCodes:
    """The codes of the RFC's secret at a time."""
    return OneTimeCodes(SECRET, clock=lambda: now)


@pytest.mark.parametrize(("counter", "code"), [*enumerate(HOTP)])
def test_counter_based_codes_are_those_of_the_rfc(counter: int, code: str) -> None:
    """Every counter of appendix D, and its check returns the next."""
    codes = codes_at(0)
    assert codes.code(counter) == code
    assert codes.check_counter(code, counter) == counter + 1


@pytest.mark.parametrize(("now", "algorithm", "code"), TOTP)
def test_time_based_codes_are_those_of_the_rfc(now: int, algorithm: str, code: str) -> None:
    """All three algorithms, eight digits."""
    key = (b"1234567890" * 7)[: LENGTHS[algorithm]]
    codes = OneTimeCodes(
        base64.b32encode(key).decode().rstrip("="),
        digits=8,
        algorithm=algorithm,
        clock=lambda: now,
    )
    assert codes.code() == code
    assert codes.check(code) == now // 30


def test_a_code_is_good_once() -> None:
    """With the step of the last one, the same code and older ones are refused."""
    codes = codes_at(3000)
    older = codes.code(99)
    last = codes.check(codes.code())
    assert last == 100
    for code in (codes.code(), older):
        with pytest.raises(CheckFailed):
            codes.check(code, last=last)
    assert codes.check(codes.code(101), last=last) == 101


def test_codes_one_step_off_are_taken_and_no_more() -> None:
    """The window is one step to either side, or what is asked."""
    codes = codes_at(3000)
    taken = [step for step in range(95, 106) if _taken(codes, codes.code(step))]
    assert taken == [99, 100, 101]
    assert codes.check(codes.code(97), window=3) == 97
    assert codes_at(10).check(codes.code(0)) == 0


def _taken(codes: OneTimeCodes, code: str) -> bool:
    try:
        codes.check(code)
    except CheckFailed:
        return False
    return True


def test_lost_presses_are_looked_for_ahead_only() -> None:
    """Three counters ahead, none behind."""
    codes = codes_at(0)
    assert codes.check_counter(HOTP[5], 2) == 6
    for counter in (6, 1):
        with pytest.raises(CheckFailed):
            codes.check_counter(HOTP[5], counter)


@pytest.mark.parametrize("code", [HOTP[2], HOTP[5], "755225"])
def test_every_code_is_compared_in_constant_time(mocker: MockerFixture, code: str) -> None:
    """Whichever fits, if one does: the time says nothing of it."""
    compared = mocker.patch("hmac.compare_digest", side_effect=hmac.compare_digest)
    with contextlib.suppress(CheckFailed):
        codes_at(0).check_counter(code, 2)
    pairs = [call.args for call in compared.call_args_list]
    assert pairs == [(right.encode(), code.encode()) for right in HOTP[2:6]]


@pytest.mark.parametrize("code", ["", "75522", "7552244", "75522\u0664", "\ud800", "755225"])
def test_wrong_codes_fail(code: str) -> None:
    """Whatever is typed in is a wrong code, never another error."""
    with pytest.raises(CheckFailed):
        codes_at(0).check(code)


def test_secrets_are_160_fresh_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty bytes of the generator, in base32."""
    source = SeededBytes(6)
    supply(monkeypatch, source)
    one, other = generate_otp_secret(), generate_otp_secret()
    assert source.given == 40
    assert one != other
    assert len(base64.b32decode(one)) == 20
    assert OneTimeCodes(one).code(0) != OneTimeCodes(other).code(0)


def test_the_uri_is_for_the_app() -> None:
    """otpauth with the secret, issuer and account; the repr has none of them."""
    codes = codes_at(0)
    for uri, kind in (
        (codes.uri("a@b", "Acme"), "totp"),
        (codes.uri("a@b", "Acme", counter=7), "hotp"),
    ):
        parts = urlsplit(uri)
        query = parse_qs(parts.query)
        assert (parts.scheme, parts.netloc) == ("otpauth", kind)
        assert query["secret"] == [SECRET]
        assert query["issuer"] == ["Acme"]
        assert query.get("counter", ["7"]) == ["7"]
    assert SECRET not in repr(codes)


@pytest.mark.parametrize(
    ("secret", "options", "message"),
    [
        ("not base32!", {}, "base32"),
        ("\u0661" * 32, {}, "base32"),
        (SECRET[:16], {}, "128 bits"),
        (SECRET, {"digits": 5}, "Length"),
        (SECRET, {"step": 0}, "second"),
        (SECRET, {"algorithm": "MD5"}, "SHA1, SHA256, SHA512"),
    ],
)
def test_impossible_settings_are_refused(
    secret: str, options: dict[str, Any], message: str
) -> None:
    """Each with what is allowed, and without the secret."""
    with pytest.raises(ValueError, match=message) as caught:
        OneTimeCodes(secret, **options)
    assert secret not in str(caught.value)
