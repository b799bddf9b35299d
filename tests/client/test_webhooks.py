"""hwentropy.webhooks against the specification's vector, forgers and clocks."""

import base64
import hmac
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropy import CheckFailed, Expired
from hwentropy.webhooks import Webhook, generate_webhook_secret
from support.seeded_bytes import SeededBytes, supply

# The vector that the libraries of github.com/standard-webhooks/standard-webhooks test.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = 1614265330
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": ID,
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}

OTHER = "whsec_" + base64.b64encode(b"another key of thirty-two bytes!").decode()


def webhook(*secrets: str, now: float = NOW) -> Webhook:
    """A receiver or sender with a fixed clock."""
    return Webhook(*secrets or (SECRET,), clock=lambda: now)


def test_the_signature_is_the_specifications() -> None:
    """Signing gives the published headers, and they pass."""
    assert webhook().sign(ID, BODY) == HEADERS
    webhook().check(HEADERS, BODY)


def test_the_prefix_of_the_secret_is_optional() -> None:
    """As in the specification's own libraries."""
    webhook(SECRET.removeprefix("whsec_")).check(HEADERS, BODY)


def test_header_names_may_be_in_any_case() -> None:
    """HTTP/1.1 senders and frameworks write them as they like."""
    webhook().check({name.title(): value for name, value in HEADERS.items()}, BODY)


@pytest.mark.parametrize("name", HEADERS)
def test_nothing_can_be_changed_or_left_out(name: str) -> None:
    """Each header matters, and so does every byte of the body."""
    right = HEADERS[name]
    changed = right[:-4] + ("5" if right[-4] != "5" else "6") + right[-3:]
    for headers in (
        HEADERS | {name: changed},
        HEADERS | {name: ""},
        {key: value for key, value in HEADERS.items() if key != name},
    ):
        with pytest.raises(CheckFailed) as caught:
            webhook().check(headers, BODY)
        assert not isinstance(caught.value, Expired)
    for index in range(len(BODY)):
        body = bytearray(BODY)
        body[index] ^= 1
        with pytest.raises(CheckFailed):
            webhook().check(HEADERS, bytes(body))


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_a_message_within_the_tolerance_passes(offset: int) -> None:
    """Five minutes to either side, for clocks that differ."""
    webhook(now=NOW + offset).check(HEADERS, BODY)


@pytest.mark.parametrize("offset", [-301, 301, 10**6])
def test_an_old_message_is_expired(offset: int) -> None:
    """Beyond, an authentic message is refused as old, a forged one as forged."""
    with pytest.raises(Expired):
        webhook(now=NOW + offset).check(HEADERS, BODY)
    with pytest.raises(CheckFailed) as caught:
        webhook(now=NOW + offset).check(HEADERS, b"other")
    assert type(caught.value) is CheckFailed


def test_secrets_can_be_changed() -> None:
    """The sender signs with both for a while; whoever has either can check."""
    headers = webhook(SECRET, OTHER).sign(ID, BODY)
    assert headers["webhook-signature"].count("v1,") == 2
    for receiver in (webhook(), webhook(OTHER), webhook(OTHER, SECRET)):
        receiver.check(headers, BODY)
    webhook(OTHER, SECRET).check(HEADERS, BODY)
    with pytest.raises(CheckFailed):
        webhook(OTHER).check(HEADERS, BODY)


def test_every_signature_is_compared_in_constant_time(mocker: MockerFixture) -> None:
    """Whichever fits, and however much of one does: the time says neither."""
    headers = webhook(SECRET, OTHER).sign(ID, BODY)
    compared = mocker.patch("hmac.compare_digest", side_effect=hmac.compare_digest)
    webhook(OTHER, SECRET).check(headers, BODY)
    signatures = [one.encode()[3:] for one in headers["webhook-signature"].split(" ")]
    pairs = [call.args for call in compared.call_args_list]
    assert sorted(pairs) == sorted(itertools.product(signatures, signatures))


def test_signatures_of_other_kinds_are_passed_over() -> None:
    """Asymmetric ones (v1a) and unknown versions stand beside ours, and count for nothing."""
    signature = HEADERS["webhook-signature"]
    mixed = f"v1a,AAAA v2,{signature[3:]} {signature} v1,"
    webhook().check(HEADERS | {"webhook-signature": mixed}, BODY)
    for alone in (f"v2,{signature[3:]}", f"v1a,{signature[3:]}", signature[3:]):
        with pytest.raises(CheckFailed):
            webhook().check(HEADERS | {"webhook-signature": alone}, BODY)


@given(st.dictionaries(st.sampled_from(list(HEADERS)), st.text()), st.binary())
def test_whatever_comes_fails_the_check(headers: dict[str, str], body: bytes) -> None:
    """Hostile headers and bodies give CheckFailed, never another error."""
    with pytest.raises(CheckFailed):
        webhook().check(headers, body)


@pytest.mark.parametrize(
    "timestamp", ["-1", "1e9", "\u0661", "1614265330.0", " 1614265330", "9" * 5000]
)
def test_malformed_timestamps_fail_even_signed(timestamp: str) -> None:
    """A sender with the secret and a broken clock is refused, and not an error within."""
    with pytest.raises(CheckFailed):
        webhook().check(HEADERS | {"webhook-timestamp": timestamp}, BODY)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\n", "é"])
def test_ids_that_could_be_read_in_two_ways_are_not_signed(message_id: str) -> None:
    """A dot would let id and timestamp be cut elsewhere."""
    with pytest.raises(ValueError, match="message id"):
        webhook().sign(message_id, BODY)


def test_a_message_is_not_read_in_two_ways() -> None:
    """A body that begins with a time and a "." makes no message of that time."""
    later = NOW + 10_000_000
    body = f"{later}.5;up\n".encode()
    signed = webhook().sign(ID, body)
    moved = signed | {"webhook-id": f"{ID}.{NOW}", "webhook-timestamp": str(later)}
    with pytest.raises(CheckFailed, match="webhook-id"):
        webhook(now=later).check(moved, body.partition(b".")[2])


def test_secrets_are_256_fresh_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bytes of the generator, in the form that is easily recognised."""
    source = SeededBytes(8)
    supply(monkeypatch, source)
    one, other = generate_webhook_secret(), generate_webhook_secret()
    assert source.given == 64
    assert one.startswith("whsec_")
    assert len(base64.b64decode(one[6:])) == 32
    with pytest.raises(CheckFailed):
        webhook(one).check(webhook(other).sign(ID, BODY), BODY)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_AAAA", "whsec_!", "whsec_é", "whsec_" + "A" * 88]
)
def test_wrong_secrets_are_refused(secret: str) -> None:
    """Too short, too long or not base64; what is allowed is said."""
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        Webhook(secret)
    with pytest.raises(ValueError, match="needs a secret"):
        Webhook()


def test_the_repr_hides_the_secret() -> None:
    """Neither as text nor as bytes."""
    assert repr(webhook()) == "Webhook(<1 hidden>, tolerance=300)"
